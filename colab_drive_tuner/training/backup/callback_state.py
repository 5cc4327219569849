"""State of the callbacks of a `fit`, saved and restored together or not at all.

Of a callback every attribute counts that is not as it was when `fit` began: EarlyStopping's
patience used up, ReduceLROnPlateau's cooldown, History's history, and those of the user's own
callbacks. What has not changed is configuration and stays as the code says it.
"""

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import Any

import keras
import numpy as np

from colab_drive_tuner.checkpoint.codec.codec import encode_pieces
from colab_drive_tuner.training.backup.pack import (
    FUNCTIONS,
    CannotSaveError,
    Packed,
    Packer,
    is_inert,
)
from colab_drive_tuner.training.backup.unpack import Unpacker, set_attributes
from colab_drive_tuner.training.backup.variables import (
    WALKED,
    DoesNotFitError,
    attributes_of,
    is_variable,
)

_SET_ANEW: dict[str, frozenset[str]] = {
    "Callback": frozenset({"params", "_params", "model", "_model"}),
    # It flips the sign of min_delta when it first looks, and would flip it again.
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
"""By Keras's class, the attributes that it sets in every process by itself."""


class CallbackMemory:
    """The attributes of a `fit`'s callbacks, compared with what they were when it began.

    `ignore` names attributes that are left out, as `Class.attribute`.
    """

    def __init__(self, callbacks: Iterable[Any], ignore: Collection[str]) -> None:
        self._ignore = frozenset(ignore)
        self._originals: dict[str, Any] = {}
        self._digests: dict[str, bytes | None] = {}
        packer = Packer(omitted=self._omitted)
        keyed = named(callbacks)
        for label, callback in keyed.values():
            packer.number(callback, label)
            for name, value in self._attributes(callback):
                self._originals[f"{label}.{name}"] = value
        for label, callback in keyed.values():
            for name, value in self._attributes(callback):
                path = f"{label}.{name}"
                self._digests[path] = self._digest(value)
                try:
                    packer.pack_or_forget(value, path)
                except CannotSaveError:
                    continue  # what was found of it is known all the same
        self._originals = packer.found | self._originals

    def capture(self, callbacks: Iterable[Any], known: frozenset[int]) -> dict[str, Any]:
        """What is not as it was when `fit` began, by callback and attribute.

        Raises `CannotSaveError` for an attribute that may have changed and that no backup can hold.
        """
        packer = Packer(self._originals, known, self._omitted)
        keyed = named(callbacks)
        for label, callback in keyed.values():
            packer.number(callback, label)
        states: dict[str, dict[str, Packed]] = {}
        for key, (label, callback) in keyed.items():
            states[key] = {}
            for name, value in self._attributes(callback):
                path = f"{label}.{name}"
                if self._stays(path, value):
                    continue
                try:
                    packed = packer.pack_or_forget(value, path)
                    if isinstance(value, FUNCTIONS) and packed[0] == "here":
                        raise CannotSaveError(path, value)  # another function than at the beginning
                except CannotSaveError:
                    if type(callback).__module__.startswith("keras."):
                        continue  # Keras's own know how to begin
                    raise
                states[key][name] = packed
        return states

    def _stays(self, path: str, value: Any) -> bool:
        """Whether a value is as it was, or is none of the training's memory."""
        if is_inert(value) and not _holds_variables(value):
            if not isinstance(value, FUNCTIONS):
                return True
            before = self._originals.get(path)
            return type(before) is type(value) and bool(before == value)
        digest = self._digests.get(path)
        if digest is None or type(value) is not type(self._originals.get(path)):
            return False
        return self._digest(value) == digest

    def _digest(self, value: Any) -> bytes | None:
        try:
            packed = Packer(omitted=self._omitted).pack_or_forget(value, "")
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
        """The attributes of an object that no backup holds."""
        names: set[str] = set()
        for kind in type(value).__mro__:
            if kind.__module__.startswith("keras."):
                names |= _SET_ANEW.get(kind.__name__, frozenset())
            if self._ignore:
                prefix = f"{kind.__name__}."
                names |= {n.removeprefix(prefix) for n in self._ignore if n.startswith(prefix)}
        return frozenset(names)


def prepare_restore(
    callbacks: Iterable[Any], states: Mapping[str, Mapping[str, Any]]
) -> Callable[[], None]:
    """Compare, and return a function that gives callbacks back what they had remembered.

    Raises `DoesNotFitError`, with nothing changed, where a state has no callback here.
    """
    found = named(callbacks)
    lost = [key for key in states if states[key] and key not in found]
    if lost:
        raise DoesNotFitError(f"callbacks that had a state are not here: {', '.join(lost)}")
    unpacker = Unpacker()
    unpacker.met += [found[key][1] if key in found else None for key in states]
    for key, state in states.items():
        if not state:
            continue
        callback = found[key][1]
        here = attributes_of(callback)
        values = {}
        for name, packed in state.items():
            try:
                values[name] = unpacker.unpack(packed, here.get(name))
            except DoesNotFitError as error:
                raise DoesNotFitError(f"{found[key][0]}.{name} does not fit: {error}") from error
        unpacker.when_finished(partial(set_attributes, callback, values))
    return unpacker.finish


def named(callbacks: Iterable[Any]) -> dict[str, tuple[str, Any]]:
    """Each callback by its class and its number among its like, with a short name for messages."""
    counts: dict[str, int] = {}
    keyed: dict[str, tuple[str, Any]] = {}
    for callback in callbacks:
        if isinstance(callback, keras.callbacks.ProgbarLogger):
            continue  # what is on the screen is no state
        kind = type(callback)
        key, label = f"{kind.__module__}.{kind.__qualname__}", kind.__name__
        for name in {key, label}:
            counts[name] = counts.get(name, 0) + 1
        number = counts[label]
        keyed[f"{key}#{counts[key]}"] = (label if number == 1 else f"{label}#{number}", callback)
    return keyed


def make_plain(histories: Iterable[Any]) -> None:
    """Make floats of the numbers that the last epoch has left in these histories.

    A callback may put a tensor, or an array of one number, among the logs.
    """
    for history in histories:
        for values in history.history.values():
            if values:
                values[-1] = _number(values[-1])


def _number(value: Any) -> Any:
    """A float where `value` is one real number of any kind; else `value`."""
    if type(value) is float:
        return value
    if isinstance(value, bool | int | np.generic | np.ndarray) or keras.ops.is_tensor(value):
        try:
            array = np.asarray(keras.ops.convert_to_numpy(value))
            if array.size == 1 and array.dtype.kind not in "cOSUmM":
                return float(array.reshape(())[()])
        except (TypeError, ValueError, NotImplementedError, AttributeError, RuntimeError):
            return value  # a symbolic tensor, say: whoever saves it names it
    return value


def _holds_variables(value: Any) -> bool:
    return (
        isinstance(value, (*WALKED, keras.callbacks.Callback))
        or is_variable(value)
        or keras.ops.is_tensor(value)
    )
