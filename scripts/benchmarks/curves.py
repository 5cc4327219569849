"""Learning curves to search on: each configuration of a finite space trained once, for real.

`digits` is a convolutional network for scikit-learn's digits, `text` a bag of embedded words that
tells from which package of Python's standard library a docstring comes.
"""

import ast
import itertools
import re
import sysconfig
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

PACKAGES = ("asyncio", "email", "http", "importlib", "logging", "multiprocessing", "tkinter", "xml")
WORDS, LENGTH = 4000, 40
SPACES: dict[str, dict[str, list[Any]]] = {
    "digits": {
        "filters": [4, 16],
        "rate": [1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2],
        "dropout": [0.0, 0.25, 0.5],
        "batch": [64, 256],
    },
    "text": {
        "units": [8, 64],
        "rate": [3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1],
        "dropout": [0.0, 0.3, 0.6],
        "batch": [64, 256],
    },
}


def configurations(name: str) -> list[dict[str, Any]]:
    """All points of a space."""
    space = SPACES[name]
    return [dict(zip(space, values, strict=True)) for values in itertools.product(*space.values())]


def train(*, name: str, epochs: int) -> list[list[float]]:
    """The validation loss of each configuration, epoch by epoch."""
    import keras

    x, y, x_val, y_val = DATA[name]()
    curves = []
    for point in configurations(name):
        keras.utils.clear_session()
        keras.utils.set_random_seed(1)
        model = keras.Sequential(LAYERS[name](point))
        model.add(keras.layers.Dropout(point["dropout"]))
        model.add(keras.layers.Dense(int(y.max()) + 1, activation="softmax"))
        model.compile(keras.optimizers.Adam(point["rate"]), "sparse_categorical_crossentropy")
        fitted = model.fit(
            x,
            y,
            batch_size=point["batch"],
            epochs=epochs,
            verbose=0,
            validation_data=(x_val, y_val),
        )
        curves.append([float(loss) for loss in fitted.history["val_loss"]])
    return curves


def _digits() -> Any:
    import numpy as np
    from sklearn.datasets import load_digits

    images, classes = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8, 1).astype("float32") / 16
    order = np.random.default_rng(0).permutation(len(images))
    images, classes = images[order], classes[order]
    return images[:1200], classes[:1200], images[1200:], classes[1200:]


def _digits_layers(point: dict[str, Any]) -> list[Any]:
    from keras import Input, layers

    convolution = layers.Conv2D(point["filters"], 3, activation="relu")
    return [Input((8, 8, 1)), convolution, layers.MaxPooling2D(), layers.Flatten()]


def _text() -> Any:
    import numpy as np

    texts, classes = zip(*_docstrings(), strict=True)
    x = np.zeros((len(texts), LENGTH), "int32")
    for row, text in enumerate(texts):
        words = re.findall(r"[a-z]+", text.lower())[:LENGTH]
        x[row, : len(words)] = [1 + zlib.crc32(word.encode()) % (WORDS - 1) for word in words]
    y = np.array(classes)
    order = np.random.default_rng(0).permutation(len(x))
    x, y = x[order], y[order]
    cut = len(x) * 3 // 4
    return x[:cut], y[:cut], x[cut:], y[cut:]


def _docstrings() -> Iterator[tuple[str, int]]:
    """Docstrings of four words and more, with the number of their package."""
    home = Path(sysconfig.get_path("stdlib"))
    documented = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module
    for number, package in enumerate(PACKAGES):
        for path in sorted((home / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                text = ast.get_docstring(node) if isinstance(node, documented) else None
                if text and len(text.split()) >= 4:
                    yield text, number


def _text_layers(point: dict[str, Any]) -> list[Any]:
    from keras import Input, layers

    words = layers.Embedding(WORDS, point["units"])
    return [Input((LENGTH,), dtype="int32"), words, layers.GlobalAveragePooling1D()]


DATA: dict[str, Callable[[], Any]] = {"digits": _digits, "text": _text}
LAYERS = {"digits": _digits_layers, "text": _text_layers}
"""The layers before dropout and the one of the classes."""
