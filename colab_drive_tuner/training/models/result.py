"""Taking a trial's result apart: the model goes to `best/`, plain data goes into the record."""

import sys
from collections.abc import Mapping
from typing import Any

from colab_drive_tuner.training.memory import loaded_keras


def is_keras_model(value: object) -> bool:
    """Whether `value` is a Keras model; where Keras is not loaded, nothing is."""
    keras = loaded_keras()
    return keras is not None and isinstance(value, keras.Model)


def split_result(result: Any) -> tuple[Any, Any | None]:
    """Return `(result without its Keras model, the model or None)`.

    The model is the one under `"model"`, else the first one found at the top of the dict. Whatever
    else is no plain data stays where it is: encoding the result names it in its error. `result`
    itself is not changed.
    """
    if "keras" not in sys.modules or not isinstance(result, Mapping):
        return result, None
    for key in ("model", *result):
        if is_keras_model(result.get(key)):
            return {k: v for k, v in result.items() if k != key}, result[key]
    return result, None
