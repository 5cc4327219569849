"""Lookup of the training loop that calls a callback: Keras's `fit`, or a custom loop."""

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import keras


@dataclass(frozen=True)
class TrainingLoop:
    """The loop that calls a callback, as far as known.

    Keras passes a callback its model but not the other callbacks, whose state a backup needs.
    """

    callbacks: list[Any] = field(default_factory=list)
    """All callbacks, if they are in a CallbackList."""
    model: Any = None
    epochs: float = math.inf
    fit: dict[str, Any] = field(default_factory=dict)
    """Local variables of Keras's `fit`; empty in a custom loop."""
    outer: list[Any] = field(default_factory=list)
    """All callbacks of the `fit` calls during which this one runs, in one of their callbacks."""


def find_training_loop(callback: Any) -> TrainingLoop:
    """Return the loop that is calling `callback`, found by inspecting the call stack."""
    frame: FrameType | None = sys._getframe(1)
    owner: Any = None
    found = TrainingLoop()
    while frame is not None:
        variables = frame.f_locals
        caller = variables.get("self")
        if isinstance(caller, keras.callbacks.CallbackList) and callback in caller.callbacks:
            owner, params = caller, getattr(caller, "params", None) or {}
            model, epochs = getattr(caller, "model", None), params.get("epochs") or math.inf
            found = TrainingLoop(caller.callbacks, model, epochs)
        elif owner is not None and variables.get("callbacks") is owner and _is_keras(frame):
            fit, outer = dict(variables), list(_fit_callbacks(frame.f_back))
            return TrainingLoop(found.callbacks, caller, fit["epochs"], fit, outer)
        frame = frame.f_back
    return found


def _fit_callbacks(frame: FrameType | None) -> Iterator[Any]:
    """Yield the callbacks of every `fit` that is running in `frame` or above."""
    while frame is not None:
        if _is_keras(frame):
            yield from getattr(frame.f_locals.get("callbacks"), "callbacks", ())
        frame = frame.f_back


def _is_keras(frame: FrameType) -> bool:
    name = str(frame.f_globals.get("__name__"))
    return name.startswith("keras.") and frame.f_code.co_name == "fit"
