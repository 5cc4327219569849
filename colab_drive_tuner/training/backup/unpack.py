"""Conversion of a backup's plain data to values, including objects that exist already."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from types import FunctionType, MemberDescriptorType, MethodType
from typing import Any

import keras
import numpy as np

from colab_drive_tuner.training.backup.pack import Packed
from colab_drive_tuner.training.backup.supported_types import (
    BUILTIN_TYPES,
    IMMUTABLE_TYPES_BY_NAME,
    MUTABLE_TYPES_BY_NAME,
    checked_keys,
)
from colab_drive_tuner.training.backup.variable_paths import (
    IncompatibleBackupError,
    attributes_of,
    check_compatible,
    find_by_name,
    identity,
    qualified_name,
    set_value,
    variables_of,
    without_module,
)


class Unpacker:
    """Unpacks values in the order of packing; existing objects change only in `finish`."""

    def __init__(self) -> None:
        self.objects: list[Any] = []
        """The unpacked objects, by the number under which `Packer` registered them."""
        self._actions: list[Callable[[], Any]] = []

    def on_finish(self, action: Callable[[], Any]) -> None:
        """Defer an action to `finish`."""
        self._actions.append(action)

    def finish(self) -> None:
        """Change the objects that are restored in place."""
        for action in self._actions:
            action()

    def unpack(self, packed: Packed, existing: Any = None) -> Any:
        """Return the value; `existing` is the object at its path, which it may have to fit."""
        if not isinstance(packed, tuple):
            return packed
        name, *parts = packed
        if name in IMMUTABLE_TYPES_BY_NAME:
            return IMMUTABLE_TYPES_BY_NAME[name](self.unpack(*parts))
        if name in MUTABLE_TYPES_BY_NAME:
            return self._mutable(existing, name, *parts)
        return getattr(self, f"_unpack_{name}")(existing, *parts)

    def _unpack_tuple(self, existing: Any, *items: Packed) -> tuple[Any, ...]:
        # It may have fewer items.
        known = existing if isinstance(existing, tuple | list) else ()
        return tuple(
            self.unpack(item, known[n] if n < len(known) else None) for n, item in enumerate(items)
        )

    def _unpack_frozenset(self, _: Any, *items: Packed) -> frozenset[Any]:
        return frozenset(checked_keys(self._unpack_tuple(None, *items)))

    def _unpack_same(self, _: Any, number: int) -> Any:
        return self.objects[number]

    def _unpack_here(self, existing: Any, name: str) -> Any:
        if identity(existing) != name:
            raise IncompatibleBackupError(f"{without_module(name)} is missing")
        return existing

    def _mutable(
        self, existing: Any, name: str, in_place: bool, args: Packed, state: Packed
    ) -> Any:
        cls, kind = MUTABLE_TYPES_BY_NAME[name]
        made_from = self.unpack(args)
        if in_place and (
            type(existing) is not cls or not _same_args(kind.args(existing), made_from)
        ):
            raise IncompatibleBackupError(f"a {name} is missing or different")
        make = cls if kind.create is None else partial(kind.create, made_from)
        target = existing if in_place else make()
        self.objects.append(target)
        content = self.unpack(state, kind.state(existing) if type(existing) is cls else None)
        if in_place:
            # A state that cannot be set must be found before anything is changed.
            kind.set_state(cls() if issubclass(cls, dict) else make(), content)
            self.on_finish(lambda: kind.set_state(target, content))
        else:
            kind.set_state(target, content)
        return target

    def _unpack_ndarray(self, existing: Any, in_place: bool, array: Any) -> Any:
        target = existing if in_place else array
        if in_place:
            self._refuse_other_array(existing, array.shape, array.dtype)
            self.on_finish(lambda: existing.__setitem__(..., array))
        self.objects.append(target)
        return target

    def _unpack_objects(self, existing: Any, in_place: bool, shape: Packed, *items: Packed) -> Any:
        if math.prod(shape) != len(items):
            raise ValueError("an array's shape does not agree with its items")
        made = np.empty(len(items), object)
        if in_place:
            self._refuse_other_array(existing, tuple(shape), made.dtype)
        target = existing if in_place else made.reshape(shape)
        self.objects.append(target)
        known = existing.reshape(-1) if in_place else [None] * len(items)
        for number, item in enumerate(items):
            made[number] = self.unpack(item, known[number])
        if in_place:
            self.on_finish(lambda: existing.__setitem__(..., made.reshape(shape)))
        return target

    @staticmethod
    def _refuse_other_array(existing: Any, shape: tuple[int, ...], dtype: Any) -> None:
        fits = type(existing) is np.ndarray and (existing.shape, existing.dtype) == (shape, dtype)
        if not fits or not existing.flags.writeable:
            raise IncompatibleBackupError(f"an array of shape {shape} is missing or different")

    def _unpack_tensor(self, _: Any, array: Any) -> Any:
        return keras.ops.convert_to_tensor(array, dtype=array.dtype.name)

    def _unpack_variables(self, existing: Any, name: str, arrays: dict[str, Any]) -> Any:
        if qualified_name(type(existing)) != name:
            raise IncompatibleBackupError(f"{without_module(name)} is missing")
        found = variables_of(existing)
        check_compatible({path: found[path] for path in arrays.keys() & found.keys()}, arrays)
        self.objects.append(existing)
        for path, array in arrays.items():
            self.on_finish(partial(set_value, found[path], array))
        return existing

    def _unpack_method(self, _: Any, number: int, name: str) -> Any:
        owner = self.objects[number]
        for kind in type(owner).__mro__:
            if isinstance(function := vars(kind).get(name), FunctionType):
                return MethodType(function, owner)
        raise IncompatibleBackupError(f"{type(owner).__qualname__} has no method {name!r}")

    def _unpack_function(self, _: Any, name: str) -> Any:
        if isinstance(function := find_by_name(name), FunctionType):
            return function
        raise IncompatibleBackupError(f"the function {without_module(name)} is missing")

    def _unpack_namedtuple(self, existing: Any, name: str, *items: Packed) -> Any:
        kind = _class(name, existing)
        values = self._unpack_tuple(existing, *items)
        if not issubclass(kind, tuple) or len(getattr(kind, "_fields", ())) != len(values):
            raise IncompatibleBackupError(f"{without_module(name)} has other fields")
        return tuple.__new__(kind, values)

    def _unpack_enum(self, existing: Any, name: str, member: str) -> Any:
        members = getattr(_class(name, existing), "_member_map_", {})
        if member not in members:
            raise IncompatibleBackupError(f"{without_module(name)} has no member {member!r}")
        return members[member]

    def _unpack_object(
        self, existing: Any, in_place: bool, name: str, attributes: dict[str, Any]
    ) -> Any:
        kind = _class(name, existing)
        if in_place and kind is not type(existing):
            raise IncompatibleBackupError(f"{without_module(name)} is missing")
        if not in_place and issubclass(kind, BUILTIN_TYPES):
            raise IncompatibleBackupError(f"{without_module(name)} is a different class")
        target = existing if in_place else object.__new__(kind)
        self.objects.append(target)
        known = attributes_of(existing) if qualified_name(type(existing)) == name else {}
        values = {key: self.unpack(item, known.get(key)) for key, item in attributes.items()}
        if in_place:
            if lacking := [key for key in values if not _has_room(target, key)]:
                raise IncompatibleBackupError(
                    f"{without_module(name)} has no attribute {lacking[0]!r}"
                )
            self.on_finish(lambda: set_attributes(target, values))
        else:
            set_attributes(target, values)
        return target


def _is_slot(target: Any, key: str) -> bool:
    return isinstance(getattr(type(target), key, None), MemberDescriptorType)


def _has_room(target: Any, key: str) -> bool:
    """Return whether an object can have an attribute of that name."""
    return isinstance(getattr(target, "__dict__", None), dict) or _is_slot(target, key)


def set_attributes(target: Any, values: Mapping[str, Any]) -> None:
    """Set attributes of an object without calling any code of its class."""
    own = getattr(target, "__dict__", None)
    for key, value in values.items():
        if isinstance(own, dict) and not _is_slot(target, key):
            own[key] = value
        else:
            object.__setattr__(target, key, value)


def _class(name: str, existing: Any) -> type:
    """Return the class that a backup names: the one of `existing`, or a user-defined one."""
    kind = type(existing) if qualified_name(type(existing)) == name else find_by_name(name)
    if not isinstance(kind, type):
        raise IncompatibleBackupError(f"the class {without_module(name)} is missing")
    return kind


def _same_args(existing: Any, other: Any) -> bool:
    """Return whether two constructor arguments agree; a generator's seeds may differ."""
    if isinstance(existing, tuple) and isinstance(other, tuple):
        return existing[:1] == other[:1]
    return bool(existing == other)
