"""The `fit` that is calling a callback: its callback list and its arguments."""

import sys
from types import FrameType
from typing import Any

import keras

from colab_drive_tuner.errors import UsageError


def calling_fit(callback: Any) -> dict[str, Any]:
    """The variables of the `fit` that is calling `callback`; at least its list of `callbacks`.

    Keras hands a callback its model and nothing of its fellows, whose states a backup needs; the
    list is found as the `self` of one of the frames below.
    """
    frame: FrameType | None = sys._getframe(1)
    found: dict[str, Any] = {}
    while frame is not None:
        variables = frame.f_locals
        owner = variables.get("self")
        if isinstance(owner, keras.callbacks.CallbackList) and callback in owner.callbacks:
            found = {"callbacks": owner}
        elif found and variables.get("callbacks") is found["callbacks"]:
            return dict(variables)
        frame = frame.f_back
    if found:
        return found
    name = type(callback).__name__
    raise UsageError(f"{name} works in `fit(callbacks=[...])`, or in a keras CallbackList.")
