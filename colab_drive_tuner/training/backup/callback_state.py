"""State of the callbacks of a `fit`, saved and restored together or not at all.

A callback's state is every attribute that has changed since `fit` started: EarlyStopping's wait
count, ReduceLROnPlateau's cooldown, History's history, and attributes of the user's own callbacks.
Unchanged attributes are configuration and keep the values that the code gives them.
"""

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import keras
import numpy as np

from colab_drive_tuner.checkpoint.codec.codec import encode_pieces
from colab_drive_tuner.training.backup.pack import (
    FUNCTION_TYPES,
    CannotSaveError,
    Packed,
    Packer,
    is_process_resource,
)
from colab_drive_tuner.training.backup.unpack import Unpacker, set_attributes
from colab_drive_tuner.training.backup.variable_paths import (
    VARIABLE_HOLDERS,
    IncompatibleBackupError,
    attributes_of,
    is_variable,
)

_TRANSIENT: dict[str, frozenset[str]] = {
    "Callback": frozenset({"params", "_params", "model", "_model"}),
    # It flips the sign of min_delta on first use, and would flip a restored value again.
    "MonitorCallback": frozenset({"monitor_op", "min_delta"}),
    "CSVLogger": frozenset({"csv_file", "writer"}),
    "TensorBoard": frozenset(
        {
            *("_writers", "_prev_summary_state", "_summary_module", "_batch_trace_context"),
            *("_batch_start_time", "_epoch_start_time", "_should_write_train_graph"),
            *("_profiler_started", "_is_tracing", "_train_accumulated_time"),
        }
    ),
    "OrbaxCheckpoint": frozenset({"manager"}),
}
"""Attributes that Keras's classes set in every process, by class name; never saved."""


class CallbackStates:
    """Attributes of a `fit`'s callbacks, compared with their values when it started."""

    def __init__(self, callbacks: Iterable[Any], ignore: Collection[str]) -> None:
        self._ignore = frozenset(ignore)
        packer = Packer(omitted=self._omitted)
        values: dict[str, Any] = {}
        for label, callback in key_callbacks(callbacks).values():
            packer.register(callback, label)
            values |= {f"{label}.{name}": value for name, value in self._attributes(callback)}
        self._digests = {path: self._digest(value) for path, value in values.items()}
        for path, value in values.items():
            with suppress(CannotSaveError):  # by_path keeps the objects packed before the error
                packer.pack_or_rollback(value, path)
        self._originals = packer.by_path | values

    def capture(self, callbacks: Iterable[Any], known: frozenset[int]) -> dict[str, Any]:
        """Return what changed since `fit` started, by callback; objects in `known` stay out."""
        packer = Packer(self._originals, known, self._omitted)
        keyed = key_callbacks(callbacks)
        for label, callback in keyed.values():
            packer.register(callback, label)
        states: dict[str, dict[str, Packed]] = {}
        for key, (label, callback) in keyed.items():
            states[key] = {}
            for name, value in self._attributes(callback):
                path = f"{label}.{name}"
                if self._is_unchanged(path, value):
                    continue
                try:
                    packed = packer.pack_or_rollback(value, path)
                    if isinstance(value, FUNCTION_TYPES) and packed[0] == "here":
                        raise CannotSaveError(path, value)  # not the function that `fit` began with
                except CannotSaveError:
                    if type(callback).__module__.startswith("keras."):
                        continue  # Keras's own callbacks initialize such attributes themselves
                    raise
                states[key][name] = packed
        return states

    def _is_unchanged(self, path: str, value: Any) -> bool:
        """Return whether a value is as when `fit` started, or is not training state."""
        if is_process_resource(value) and not _holds_variables(value):
            if not isinstance(value, FUNCTION_TYPES):
                return True
            before = self._originals.get(path)
            return type(before) is type(value) and bool(before == value)
        digest = self._digests.get(path)
        if digest is None or type(value) is not type(self._originals.get(path)):
            return False
        return self._digest(value) == digest

    def _digest(self, value: Any) -> bytes | None:
        try:
            packed = Packer(omitted=self._omitted).pack_or_rollback(value, "")
        except CannotSaveError:
            return None
        digest = hashlib.sha256()
        for piece in encode_pieces(packed, foreign=True):
            digest.update(piece)
        return digest.digest()

    def _attributes(self, callback: Any) -> Iterable[tuple[str, Any]]:
        omitted = self._omitted(callback)
        return [(n, v) for n, v in attributes_of(callback).items() if n not in omitted]

    def _omitted(self, value: Any) -> frozenset[str]:
        """Return the names of an object's attributes that are never saved."""
        names: set[str] = set()
        for kind in type(value).__mro__:
            if kind.__module__.startswith("keras."):
                names |= _TRANSIENT.get(kind.__name__, frozenset())
            if self._ignore:
                prefix = f"{kind.__name__}."
                names |= {n.removeprefix(prefix) for n in self._ignore if n.startswith(prefix)}
        return frozenset(names)


def prepare_callback_restore(
    callbacks: Iterable[Any], states: Mapping[str, Mapping[str, Any]]
) -> Callable[[], None]:
    """Check saved states against the callbacks, and return a function that restores them."""
    found = key_callbacks(callbacks)
    lost = [key for key in states if states[key] and key not in found]
    if lost:
        raise IncompatibleBackupError(f"fit lacks callbacks that had a state: {', '.join(lost)}")
    unpacker = Unpacker()
    unpacker.objects += [found[key][1] if key in found else None for key in states]
    for key, state in states.items():
        if not state:
            continue
        callback = found[key][1]
        current = attributes_of(callback)
        values = {}
        for name, packed in state.items():
            try:
                values[name] = unpacker.unpack(packed, current.get(name))
            except IncompatibleBackupError as error:
                raise IncompatibleBackupError(
                    f"{found[key][0]}.{name} does not fit: {error}"
                ) from error
        unpacker.on_finish(partial(set_attributes, callback, values))
    return unpacker.finish


def key_callbacks(callbacks: Iterable[Any]) -> dict[str, tuple[str, Any]]:
    """Return a label for messages and the callback, keyed by class and number within the class."""
    counts: dict[str, int] = {}
    keyed: dict[str, tuple[str, Any]] = {}
    for callback in callbacks:
        if isinstance(callback, keras.callbacks.ProgbarLogger):
            continue  # it holds only display state
        kind = type(callback)
        key, label = f"{kind.__module__}.{kind.__qualname__}", kind.__name__
        for name in {key, label}:
            counts[name] = counts.get(name, 0) + 1
        number = counts[label]
        keyed[f"{key}#{counts[key]}"] = (label if number == 1 else f"{label}#{number}", callback)
    return keyed


def convert_histories_to_floats(histories: Iterable[Any]) -> None:
    """Convert the last values in each History to floats: a callback may add tensors to the logs."""
    for history in histories:
        for values in history.history.values():
            if values:
                values[-1] = _number(values[-1])


def _number(value: Any) -> Any:
    """Return `value` as a float if it is a single real number of any type; else unchanged."""
    if type(value) is float:
        return value
    if isinstance(value, bool | int | np.generic | np.ndarray) or keras.ops.is_tensor(value):
        try:
            array = np.asarray(keras.ops.convert_to_numpy(value))
            if array.size == 1 and array.dtype.kind not in "cOSUmM":
                return float(array.reshape(())[()])
        except (TypeError, ValueError, NotImplementedError, AttributeError, RuntimeError):
            return value  # such as a symbolic tensor; saving it raises an error that names it
    return value


def _holds_variables(value: Any) -> bool:
    return (
        isinstance(value, (*VARIABLE_HOLDERS, keras.callbacks.Callback))
        or is_variable(value)
        or keras.ops.is_tensor(value)
    )
