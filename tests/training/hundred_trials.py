"""Program that runs a hundred small Keras trials and prints its memory use.

Prints the resident megabytes after each trial from the tenth on.
"""

import sys
from pathlib import Path

import keras
import numpy as np
from hyperopt import hp

from colab_drive_tuner.search.resume import resume_search

X = np.random.default_rng(0).normal(size=(64, 8, 8, 1)).astype("float32")
Y = X.sum(axis=(1, 2, 3))[:, None]
SEEN: list[float] = []


def resident() -> float:
    """Return the resident memory of this process in megabytes."""
    line = next(
        line for line in Path("/proc/self/status").read_text().splitlines() if "VmRSS" in line
    )
    return int(line.split()[1]) / 1e3


def objective(filters):
    """Fit a convolutional model twice and return it in the result."""
    SEEN.append(resident())
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(int(filters), 3, activation="relu"),
            keras.layers.Dropout(0.2),
            keras.layers.Flatten(),
            keras.layers.Dense(1),
        ]
    )
    model.compile("adam", "mse")
    model.fit(X, Y, batch_size=32, verbose=0, validation_split=0.25)
    history = model.fit(X, Y, batch_size=32, verbose=0)
    return {"loss": history.history["loss"][-1], "status": "ok", "model": model}


if __name__ == "__main__":
    root, free = sys.argv[1:]
    resume_search(
        objective,
        space=hp.quniform("filters", 2, 9, 1),
        name="hundred",
        store=Path(root),
        algo="rand",
        seed=1,
        max_evals=100,
        progress=False,
        free_memory=bool(int(free)),
    )
    SEEN.append(resident())
    sys.stdout.write("\n".join(f"{megabytes:.1f}" for megabytes in SEEN[10:]) + "\n")
