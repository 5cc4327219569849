"""Memory between trials: what a finished trial's models held is given back before the next one.

Keras keeps a global state (the names it has given, graphs, caches) that grows with every model.
`free_memory` clears it, so models that the user still holds from an earlier trial stay usable, but
layers made later are named from the start again. Settings of the session, such as mixed precision,
live in that same state; they are put back as they were before the first trial, whatever a trial
changed.
"""

import gc
import sys
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class KerasSettings:
    """Keras settings that a user makes once, in a cell, and that `clear_session` would forget."""

    dtype_policy: Any = None
    distribution: Any = None
    interactive_logging: bool = True
    traceback_filtering: bool = True


def keras_settings() -> KerasSettings:
    """The settings in force; Keras's own defaults where Keras is not loaded."""
    keras = sys.modules.get("keras")
    if keras is None:
        return KerasSettings()
    return KerasSettings(
        keras.config.dtype_policy(),
        keras.distribution.distribution(),
        keras.config.is_interactive_logging_enabled(),
        keras.config.is_traceback_filtering_enabled(),
    )


def free_memory(settings: KerasSettings | None = None) -> None:
    """Give back what the last trial held; leave Keras with `settings` (None: those in force).

    Where Keras is loaded: `keras.utils.clear_session(free_memory=True)`, which drops Keras's global
    state, TensorFlow's default graph and kernel caches, and collects garbage. Elsewhere: garbage
    collection only. The caller drops its own references to the trial's model first.
    """
    keras = sys.modules.get("keras")
    if keras is None:
        gc.collect()
        return
    kept = settings or keras_settings()
    keras.utils.clear_session(free_memory=True)
    if kept.dtype_policy is not None:
        keras.config.set_dtype_policy(kept.dtype_policy)
    if kept.distribution is not None:
        keras.distribution.set_distribution(kept.distribution)
    if not kept.interactive_logging:
        keras.config.disable_interactive_logging()
    if not kept.traceback_filtering:
        keras.config.disable_traceback_filtering()
