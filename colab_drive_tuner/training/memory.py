"""Memory between trials: what a finished trial's models held is given back before the next one.

Keras keeps a global state (the names it has given, graphs, caches) that grows with every model.
`free_memory` clears it, so models that the user still holds from an earlier trial stay usable, but
layers made later are named from the start again. Settings of the session, such as mixed precision,
live in that same state; they are put back as they were before the first trial, whatever a trial
changed.

TensorFlow keeps more: every custom gradient that it traces is registered under a name of its own
for as long as the process lives, and holds the whole graph around it. Keras's optimizers trace one
in each train function, so every model that was ever fitted stays, some megabytes for the smallest.
There is no public way to forget one; here those that came up in a trial go with it. What needs
them afterwards: to differentiate, once more, a `tf.function` that was traced in an earlier trial.
"""

import gc
import math
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Self

FULL_SHARE = 0.01
"""The part of the time that full garbage collections may take where they are paced."""
_NEVER = 2**31 - 1


@dataclass(frozen=True)
class KerasSettings:
    """Keras settings that a user makes once, in a cell, and that `clear_session` would forget."""

    dtype_policy: Any = None
    distribution: Any = None
    interactive_logging: bool = True
    traceback_filtering: bool = True
    gradients: frozenset[str] | None = None
    """TensorFlow's custom gradients so far, by name; None: not known, so none is forgotten."""


def loaded_keras() -> Any:
    """Keras where it has been imported, else None; waits for a thread that is importing it."""
    if "keras" not in sys.modules:
        return None
    try:
        return import_module("keras")
    except ImportError:  # it failed in that thread
        return None


def is_keras_model(value: object) -> bool:
    """Whether `value` is a Keras model; where Keras is not loaded, nothing is."""
    keras = loaded_keras()
    return keras is not None and isinstance(value, keras.Model)


def split_result(result: Any) -> tuple[Any, Any | None]:
    """Return `(result without its Keras model, the model or None)`.

    The model is the one under `"model"`, else the first one found at the top of the dict. Whatever
    else is not plain data stays where it is: encoding the result names it in its error. `result`
    itself is not changed.
    """
    if "keras" not in sys.modules or not isinstance(result, Mapping):
        return result, None
    for key in ("model", *result):
        if is_keras_model(result.get(key)):
            return {k: v for k, v in result.items() if k != key}, result[key]
    return result, None


def keras_settings() -> KerasSettings:
    """The settings in force; Keras's own defaults where Keras is not loaded."""
    keras = loaded_keras()
    if keras is None:
        return KerasSettings()
    return KerasSettings(
        keras.config.dtype_policy(),
        keras.distribution.distribution(),
        keras.config.is_interactive_logging_enabled(),
        keras.config.is_traceback_filtering_enabled(),
        frozenset(_custom_gradients(_gradients())),
    )


def keras_grew(settings: KerasSettings | None) -> bool:
    """Whether Keras holds more than when `settings` were noted, so that `free_memory` is worth it.

    To clear and collect takes a tenth of a second and more; an objective that makes nothing of
    Keras, in a process that has imported it, need not wait for that. Keras itself notes each name
    that it gives, in a place that another version may move: then the answer is yes.
    """
    state = sys.modules.get("keras.src.backend.common.global_state")
    given = getattr(state, "GLOBAL_STATE_TRACKER", None)
    return given is None or hasattr(given, "object_name_uids") or keras_settings() != settings


class PacedCollections:
    """Within the block, full garbage collections take at most a hundredth of the time.

    Each one stops all threads while it looks through every object that there is. In a process that
    has little but the documents of trials, whose number grows, Python makes one for each quarter
    more: a tenth of a second, every few seconds. Young objects are collected as ever.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._began, self._until = clock, 0.0, -math.inf

    def __enter__(self) -> Self:
        self._before = gc.get_threshold()[2]
        gc.callbacks.append(self._note)
        return self

    def __exit__(self, *_: object) -> None:
        gc.callbacks.remove(self._note)
        self._allow()

    def tick(self) -> None:
        """Allow the next one, once it is due; to be called often."""
        if self._clock() >= self._until < math.inf:
            self._until = math.inf
            self._allow()

    def _allow(self) -> None:
        young, middle, full = gc.get_threshold()
        if full == _NEVER:  # else somebody has set it meanwhile
            gc.set_threshold(young, middle, self._before)

    def _note(self, phase: str, info: Mapping[str, int]) -> None:
        if info["generation"] < 2:
            return
        if phase == "start":
            self._began = self._clock()
        else:
            now = self._clock()
            self._until = now + (now - self._began) / FULL_SHARE
            gc.set_threshold(*gc.get_threshold()[:2], _NEVER)


def free_memory(settings: KerasSettings | None = None) -> None:
    """Give back what the last trial held; leave Keras with `settings` (None: those in force).

    Where Keras is loaded: TensorFlow's custom gradients that are not among `settings`, then
    `keras.utils.clear_session(free_memory=True)`, which drops Keras's global state, TensorFlow's
    default graph and kernel caches, and collects garbage. Elsewhere: garbage collection only. The
    caller drops its own references to the trial's model first.
    """
    keras = loaded_keras()
    if keras is None:
        gc.collect()
        return
    kept = settings or keras_settings()
    if kept.gradients is not None:
        gradients = _gradients()
        for name in _custom_gradients(gradients) - kept.gradients:
            del gradients[name]
    keras.utils.clear_session(free_memory=True)
    if kept.dtype_policy is not None:
        keras.config.set_dtype_policy(kept.dtype_policy)
    if kept.distribution is not None:
        keras.distribution.set_distribution(kept.distribution)
    if not kept.interactive_logging:
        keras.config.disable_interactive_logging()
    if not kept.traceback_filtering:
        keras.config.disable_traceback_filtering()


def _gradients() -> dict[str, Any]:
    """TensorFlow's registry of gradients; empty where there is none.

    A registry that a later TensorFlow keeps elsewhere is left alone: that costs memory, no search.
    """
    ops = sys.modules.get("tensorflow.python.framework.ops")
    registry = getattr(getattr(ops, "gradient_registry", None), "_registry", None)
    return registry if isinstance(registry, dict) else {}


def _custom_gradients(gradients: dict[str, Any]) -> set[str]:
    """The names of those that were made while something was traced, not of TensorFlow's own."""
    return {name for name in gradients if name.startswith("CustomGradient-")}
