"""What a training is made of between two epochs: variables, and what its callbacks remember.

Of a callback every plain attribute counts that has changed since `fit` began: EarlyStopping's
patience used up, ReduceLROnPlateau's cooldown, ModelCheckpoint's best, History's history, and those
of the user's own callbacks. What has not changed is configuration and stays as the code says it.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

import keras
import numpy as np

from colab_drive_tuner.training.container import as_bytes, dtype_name

_NOT_STATE = {"params", "_params", "model", "_model"}
_LARGEST_INT = 2**63


class DoesNotFitError(Exception):
    """The backup is of a model that is built differently."""


class _NotPlainError(Exception):
    pass


def capture_model(model: Any) -> dict[str, Any]:
    """Copies of all variables of the model and its optimizers, and how they were built."""
    optimizers = _optimizers(model)
    return {
        "variables": [_copied(variable) for variable in model.variables],
        "optimizers": {
            name: [_copied(variable) for variable in optimizer.variables]
            for name, optimizer in optimizers.items()
        },
        "build": _plain_or_none(model.get_build_config()),
        "trains": {name: _trained(model, optimizer) for name, optimizer in optimizers.items()},
    }


def restore_model(model: Any, state: Mapping[str, Any]) -> None:
    """Set all variables, building what was built; or `DoesNotFitError`, with nothing set."""
    if not model.built and state["build"]:
        model.build_from_config(state["build"])
    optimizers = _optimizers(model)
    if optimizers.keys() != state["optimizers"].keys():
        raise DoesNotFitError("it has other optimizers")
    variables = model.variables
    pairs = _paired(variables, state["variables"])
    for name, optimizer in optimizers.items():
        if state["trains"][name] and not optimizer.built:
            optimizer.build([variables[place] for place in state["trains"][name]])
        pairs += _paired(optimizer.variables, state["optimizers"][name])
    for variable, array in pairs:
        variable.assign(array)


def remembered(callbacks: Iterable[Any]) -> dict[str, dict[str, Any]]:
    """Copies of the plain attributes of each callback, by its class and number among its like."""
    return changed(callbacks, {})


def changed(
    callbacks: Iterable[Any], before: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Of what is remembered now, what was not so before; nothing else is copied."""
    states: dict[str, dict[str, Any]] = {}
    for key, callback in _keyed(callbacks):
        states[key], known = {}, before.get(key, {})
        for name, value in vars(callback).items():
            # A monitor flips the sign of min_delta when it first looks, and would flip it again.
            if name in _NOT_STATE or (name == "min_delta" and hasattr(callback, "monitor_op")):
                continue
            if name in known and _same(value, known[name]):
                continue
            with suppress(_NotPlainError, RecursionError):
                states[key][name] = _plain(value)
    return states


def remind(callbacks: Iterable[Any], states: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Give callbacks back what they had remembered; return the keys that fit none of them."""
    found = dict(_keyed(callbacks))
    for key in states.keys() & found.keys():
        vars(found[key]).update(states[key])
    return sorted(key for key in states.keys() - found.keys() if states[key])


def _keyed(callbacks: Iterable[Any]) -> list[tuple[str, Any]]:
    seen: dict[str, int] = {}
    keyed = []
    for callback in callbacks:
        if isinstance(callback, keras.callbacks.ProgbarLogger):
            continue  # what is on the screen is no state
        name = f"{type(callback).__module__}.{type(callback).__qualname__}"
        seen[name] = seen.get(name, 0) + 1
        keyed.append((f"{name}#{seen[name]}", callback))
    return keyed


def _optimizers(model: Any) -> dict[str, Any]:
    """What the model and the layers and models within it hold as optimizers, by where it is held.

    That is an attribute, or in the lists and dicts of one; `optimizer` is where `compile` puts it.
    """
    found: dict[str, Any] = {}
    seen: set[int] = set()

    def look(value: Any, place: str) -> None:
        if id(value) in seen:
            return
        if isinstance(value, keras.optimizers.Optimizer):
            seen.add(id(value))
            found[place] = value
        elif isinstance(value, list | tuple | dict):
            seen.add(id(value))
            # A key may be anything, and look different in another process: its place does not.
            items = value.values() if isinstance(value, dict) else value
            for number, item in enumerate(items):
                look(item, f"{place}[{number}]")

    for number, layer in enumerate(model._flatten_layers()):  # the first is the model itself
        for name, value in sorted(vars(layer).items()):
            look(value, f"{number}.{name}" if number else name)
    return found


def _trained(model: Any, optimizer: Any) -> list[int]:
    """Which of the model's variables an optimizer was built for, when it first applied gradients.

    A model with a training step of its own may have several optimizers, each for a part of it.
    """
    places = {id(variable): place for place, variable in enumerate(model.variables)}
    return [places[id(v)] for v in optimizer._trainable_variables if id(v) in places]


def _copied(variable: Any) -> np.ndarray[Any, Any]:
    """The variable's value, in memory that training will not change."""
    if keras.backend.backend() == "tensorflow":
        array = variable.value.numpy()  # one copy; convert_to_numpy makes two
    else:
        array = keras.ops.convert_to_numpy(variable)
    return array if array.flags.owndata else array.copy()  # type: ignore[no-any-return]


def _paired(variables: list[Any], arrays: list[Any]) -> list[tuple[Any, Any]]:
    if len(variables) != len(arrays):
        raise DoesNotFitError(f"it has {len(arrays)} variables, and the model {len(variables)}")
    for variable, array in zip(variables, arrays, strict=True):
        here = (tuple(variable.shape), keras.backend.standardize_dtype(variable.dtype))
        there = (array.shape, array.dtype.name)
        if here != there:
            raise DoesNotFitError(f"{variable.path} was {there} and is {here}")
    return list(zip(variables, arrays, strict=True))


def _plain_or_none(value: Any) -> Any:
    try:
        return _plain(value)
    except _NotPlainError:
        return None


def _plain(value: Any) -> Any:
    """A deep copy of plain data, or `_NotPlainError`."""
    kind = type(value)
    if value is None or kind in (bool, float, bytes) or (kind is str and _is_text(value)):
        return value
    if kind is int and -_LARGEST_INT <= value < _LARGEST_INT:
        return value
    if (kind is np.ndarray or isinstance(value, np.generic)) and dtype_name(value.dtype):
        return value.copy()
    if kind in (list, tuple):
        return kind(_plain(item) for item in value)
    if kind is dict and all(type(key) in (str, int) for key in value):
        return {_plain(key): _plain(item) for key, item in value.items()}
    raise _NotPlainError


def _is_text(value: str) -> bool:
    """Whether a string can be written: a file name that is no UTF-8 cannot."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _same(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray | np.generic):
        alike = one.dtype == other.dtype and one.shape == other.shape
        return alike and np.array_equal(as_bytes(one), as_bytes(other))
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    return bool(one == other)
