"""Release of a finished trial's memory before the next trial, and pacing of garbage collection.

Keras has a global state (layer names in use, graphs, caches) that grows with every model.
`free_memory` clears it: models of an earlier trial that the user still holds stay usable, but names
of new layers are numbered from the start again. Session settings such as mixed precision are part
of that state; they are reset to their values before the first trial.

TensorFlow registers every custom gradient that it traces, for the lifetime of the process, and each
holds its whole graph. Keras's optimizers trace one per train function, so every fitted model leaks,
several megabytes for the smallest. There is no public API to unregister one; `free_memory` removes
those registered during the trial. Only differentiating again a `tf.function` traced in an earlier
trial would need them.
"""

import gc
import math
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Self

FULL_SHARE = 0.01
"""Share of the time that paced full garbage collections may take."""
_USUAL, _NEVER = 10, 2**31 - 1
"""Thresholds of full collections: Python's default, and one that is never reached."""


@dataclass(frozen=True)
class KerasSettings:
    """Keras settings that a user makes once per session, and that `clear_session` would reset."""

    dtype_policy: Any
    distribution: Any
    interactive_logging: bool
    traceback_filtering: bool
    gradients: frozenset[str]
    """Names of TensorFlow's custom gradients so far."""


def loaded_keras() -> Any:
    """Return Keras if it has been imported, else None; wait for a thread that is importing it."""
    if "keras" not in sys.modules:
        return None
    try:
        return import_module("keras")
    except ImportError:  # it failed in that thread
        return None


def is_keras_model(value: object) -> bool:
    """Return whether `value` is a Keras model; False if Keras is not loaded."""
    keras = loaded_keras()
    return keras is not None and isinstance(value, keras.Model)


def split_result(result: Any) -> tuple[Any, Any | None]:
    """Return the result without its Keras model, and the model: under `model`, else the first."""
    if "keras" not in sys.modules or not isinstance(result, Mapping):
        return result, None
    for key in ("model", *result):
        if is_keras_model(result.get(key)):
            return {k: v for k, v in result.items() if k != key}, result[key]
    return result, None


def keras_settings() -> KerasSettings | None:
    """Return the current settings; None if Keras is not loaded."""
    keras = loaded_keras()
    if keras is None:
        return None
    return KerasSettings(
        keras.config.dtype_policy(),
        keras.distribution.distribution(),
        keras.config.is_interactive_logging_enabled(),
        keras.config.is_traceback_filtering_enabled(),
        frozenset(_custom_gradients(_gradients())),
    )


def keras_grew(settings: KerasSettings | None) -> bool:
    """Return whether Keras's state has grown since `settings` were read: call `free_memory` then.

    Clearing and collecting takes a tenth of a second or more, which an objective that creates no
    Keras objects need not wait for. Keras records each name in use in a private attribute; if
    another Keras version has moved it, the result is True.
    """
    state = sys.modules.get("keras.src.backend.common.global_state")
    tracker = getattr(state, "GLOBAL_STATE_TRACKER", None)
    return tracker is None or hasattr(tracker, "object_name_uids") or keras_settings() != settings


class KerasMemory:
    """Memory of Keras in this process, freed when the last of the running trials ends."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running = 0
        self._keras: KerasSettings | None = None

    def begin(self) -> None:
        """Count a trial that starts; the first one after Keras was imported notes its settings."""
        with self._lock:
            self._running += 1
            self._keras = self._keras or keras_settings()

    def end(self, *, free: bool) -> None:
        """Free Keras's memory, unless another trial is still training in this process."""
        with self._lock:
            self._running -= 1
            idle = self._running == 0
            if free and idle and "keras" in sys.modules and keras_grew(self._keras):
                free_memory(self._keras)


class PacedCollections:
    """Context manager that limits full garbage collections to 1 % of the time.

    A full collection stops all threads while it visits every object. In a process that holds mostly
    trial documents, whose number grows, Python runs one per 25 % of growth: a tenth of a second,
    every few seconds. Collections of younger generations are not affected.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._began, self._until = clock, 0.0, -math.inf

    def __enter__(self) -> Self:
        before = gc.get_threshold()[2]
        # Not the one that another search in this process has set for a while.
        self._before = before if before != _NEVER else _USUAL
        gc.callbacks.append(self._on_collection)
        return self

    def __exit__(self, *_: object) -> None:
        gc.callbacks.remove(self._on_collection)
        self._allow()

    def tick(self) -> None:
        """Allow the next full collection if it is due; call this often."""
        if self._clock() >= self._until < math.inf:
            self._until = math.inf
            self._allow()

    def _allow(self) -> None:
        young, middle, full = gc.get_threshold()
        if full == _NEVER:  # otherwise other code has changed the threshold
            gc.set_threshold(young, middle, self._before)

    def _on_collection(self, phase: str, info: Mapping[str, int]) -> None:
        if info["generation"] < 2:
            return
        if phase == "start":
            self._began = self._clock()
        else:
            now = self._clock()
            self._until = now + (now - self._began) / FULL_SHARE
            gc.set_threshold(*gc.get_threshold()[:2], _NEVER)


def free_memory(settings: KerasSettings | None = None) -> None:
    """Release the last trial's memory, and set Keras to `settings` (None: keep the current ones).

    If Keras is loaded, remove TensorFlow's custom gradients that are not in `settings`, then call
    `keras.utils.clear_session(free_memory=True)`, which drops Keras's global state and TensorFlow's
    default graph and kernel caches, and collects garbage. Otherwise only collect garbage. The
    caller must drop its own references to the trial's model first.
    """
    keras, kept = loaded_keras(), settings or keras_settings()
    if keras is None or kept is None:
        gc.collect()
        return
    gradients = _gradients()
    for name in _custom_gradients(gradients) - kept.gradients:
        del gradients[name]
    keras.utils.clear_session(free_memory=True)
    keras.config.set_dtype_policy(kept.dtype_policy)
    if kept.distribution is not None:
        keras.distribution.set_distribution(kept.distribution)
    if not kept.interactive_logging:
        keras.config.disable_interactive_logging()
    if not kept.traceback_filtering:
        keras.config.disable_traceback_filtering()


def _gradients() -> dict[str, Any]:
    """Return TensorFlow's registry of gradients; empty if there is none, or if it has moved."""
    ops = sys.modules.get("tensorflow.python.framework.ops")
    registry = getattr(getattr(ops, "gradient_registry", None), "_registry", None)
    return registry if isinstance(registry, dict) else {}


def _custom_gradients(gradients: dict[str, Any]) -> set[str]:
    """Return the names of gradients registered by tracing; excludes TensorFlow's own."""
    # A copy: other threads may be tracing.
    return {name for name in list(gradients) if name.startswith("CustomGradient-")}
