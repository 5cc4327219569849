"""Plain data of a backup back into values, and into the objects that a new process has already."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from types import FunctionType, MemberDescriptorType, MethodType
from typing import Any, ClassVar

import keras
import numpy as np

from colab_drive_tuner.training.backup.kinds import (
    BUILT_IN,
    KINDS_BY_NAME,
    VALUES_BY_NAME,
    checked_keys,
    find,
    identity,
    name_of,
    short,
)
from colab_drive_tuner.training.backup.pack import Packed
from colab_drive_tuner.training.backup.variables import (
    DoesNotFitError,
    attributes_of,
    refuse_misfits,
    set_value,
    variables_of,
)


class Unpacker:
    """Makes values of packed ones, in the order in which they were packed.

    Objects that are here already change only when `finish` is called: until then everything can
    still turn out not to fit.
    """

    def __init__(self) -> None:
        self.met: list[Any] = []
        self._actions: list[Callable[[], Any]] = []

    def when_finished(self, action: Callable[[], Any]) -> None:
        """Leave something for `finish` to do."""
        self._actions.append(action)

    def finish(self) -> None:
        """Change what is restored in place."""
        for action in self._actions:
            action()

    def unpack(self, packed: Packed, here: Any = None) -> Any:
        """The value, where the process has `here`; `DoesNotFitError` where that is another thing.

        Data that no `Packer` made raises TypeError, ValueError, KeyError or IndexError.
        """
        if not isinstance(packed, tuple):
            return packed
        name, *parts = packed
        if name in VALUES_BY_NAME:
            return VALUES_BY_NAME[name](self.unpack(*parts))
        if name in KINDS_BY_NAME:
            return self._mutable(here, name, *parts)
        return self._KINDS[name](self, here, *parts)

    def _tuple(self, here: Any, *items: Packed) -> tuple[Any, ...]:
        known = here if isinstance(here, tuple | list) else ()  # it may have grown since
        return tuple(
            self.unpack(item, known[n] if n < len(known) else None) for n, item in enumerate(items)
        )

    def _frozenset(self, _: Any, *items: Packed) -> frozenset[Any]:
        return frozenset(checked_keys(self._tuple(None, *items)))

    def _same(self, _: Any, number: int) -> Any:
        return self.met[number]

    def _here(self, here: Any, name: str) -> Any:
        if identity(here) != name:
            raise DoesNotFitError(f"{short(name)} is not here")
        return here

    def _mutable(self, here: Any, name: str, in_place: bool, head: Packed, body: Packed) -> Any:
        cls, kind = KINDS_BY_NAME[name]
        made_from = self.unpack(head)
        if in_place and (type(here) is not cls or not _alike(kind.head(here), made_from)):
            raise DoesNotFitError(f"a {name} is not here, or is another one")
        target = here if in_place else kind.make(made_from)
        self.met.append(target)
        content = self.unpack(body, kind.body(here) if type(here) is cls else None)
        if in_place:
            # What cannot be filled in must be found before anything is changed.
            kind.fill(cls() if issubclass(cls, dict) else kind.make(made_from), content)
            self.when_finished(lambda: kind.fill(target, content))
        else:
            kind.fill(target, content)
        return target

    def _array(self, here: Any, in_place: bool, array: Any) -> Any:
        target = here if in_place else array
        if in_place:
            self._refuse_other_array(here, array.shape, array.dtype)
            self.when_finished(lambda: here.__setitem__(..., array))
        self.met.append(target)
        return target

    def _objects(self, here: Any, in_place: bool, shape: Packed, *items: Packed) -> Any:
        if math.prod(shape) != len(items):
            raise ValueError("an array's shape does not agree with its items")
        made = np.empty(len(items), object)
        if in_place:
            self._refuse_other_array(here, tuple(shape), made.dtype)
        target = here if in_place else made.reshape(shape)
        self.met.append(target)
        known = here.reshape(-1) if in_place else [None] * len(items)
        for number, item in enumerate(items):
            made[number] = self.unpack(item, known[number])
        if in_place:
            self.when_finished(lambda: here.__setitem__(..., made.reshape(shape)))
        return target

    @staticmethod
    def _refuse_other_array(here: Any, shape: tuple[int, ...], dtype: Any) -> None:
        fits = type(here) is np.ndarray and (here.shape, here.dtype) == (shape, dtype)
        if not fits or not here.flags.writeable:
            raise DoesNotFitError(f"an array of {shape} is not here, or is another one")

    def _tensor(self, _: Any, array: Any) -> Any:
        return keras.ops.convert_to_tensor(array, dtype=array.dtype.name)

    def _variables(self, here: Any, name: str, arrays: dict[str, Any]) -> Any:
        if name_of(type(here)) != name:
            raise DoesNotFitError(f"{short(name)} is not here")
        found = variables_of(here)
        refuse_misfits({path: found[path] for path in arrays.keys() & found.keys()}, arrays)
        self.met.append(here)
        for path, array in arrays.items():
            self.when_finished(partial(set_value, found[path], array))
        return here

    def _method(self, _: Any, number: int, name: str) -> Any:
        owner = self.met[number]
        for kind in type(owner).__mro__:
            if isinstance(function := vars(kind).get(name), FunctionType):
                return MethodType(function, owner)
        raise DoesNotFitError(f"{type(owner).__qualname__} has no method {name!r}")

    def _function(self, _: Any, name: str) -> Any:
        if isinstance(function := find(name), FunctionType):
            return function
        raise DoesNotFitError(f"the function {short(name)} is not here")

    def _namedtuple(self, here: Any, name: str, *items: Packed) -> Any:
        kind = _class(name, here)
        values = self._tuple(here, *items)
        if not issubclass(kind, tuple) or len(getattr(kind, "_fields", ())) != len(values):
            raise DoesNotFitError(f"{short(name)} has other fields")
        return tuple.__new__(kind, values)

    def _enum(self, here: Any, name: str, member: str) -> Any:
        members = getattr(_class(name, here), "_member_map_", {})
        if member not in members:
            raise DoesNotFitError(f"{short(name)} has no member {member!r}")
        return members[member]

    def _object(self, here: Any, in_place: bool, name: str, attributes: dict[str, Any]) -> Any:
        kind = _class(name, here)
        if in_place and kind is not type(here):
            raise DoesNotFitError(f"{short(name)} is not here")
        if not in_place and issubclass(kind, BUILT_IN):
            raise DoesNotFitError(f"{short(name)} is another class")
        target = here if in_place else object.__new__(kind)
        self.met.append(target)
        known = attributes_of(here) if name_of(type(here)) == name else {}
        values = {key: self.unpack(item, known.get(key)) for key, item in attributes.items()}
        if in_place:
            if lacking := [key for key in values if not _has_room(target, key)]:
                raise DoesNotFitError(f"{short(name)} has no attribute {lacking[0]!r}")
            self.when_finished(lambda: set_attributes(target, values))
        else:
            set_attributes(target, values)
        return target

    _KINDS: ClassVar[dict[str, Callable[..., Any]]] = {
        "tuple": _tuple,
        "frozenset": _frozenset,
        "same": _same,
        "here": _here,
        "ndarray": _array,
        "objects": _objects,
        "tensor": _tensor,
        "variables": _variables,
        "method": _method,
        "function": _function,
        "namedtuple": _namedtuple,
        "enum": _enum,
        "object": _object,
    }


def _is_slot(target: Any, key: str) -> bool:
    return isinstance(getattr(type(target), key, None), MemberDescriptorType)


def _has_room(target: Any, key: str) -> bool:
    """Whether an object can have an attribute of that name."""
    return isinstance(getattr(target, "__dict__", None), dict) or _is_slot(target, key)


def set_attributes(target: Any, values: Mapping[str, Any]) -> None:
    """Set attributes of an object without calling anything of its class."""
    own = getattr(target, "__dict__", None)
    for key, value in values.items():
        if isinstance(own, dict) and not _is_slot(target, key):
            own[key] = value
        else:
            object.__setattr__(target, key, value)


def _class(name: str, here: Any) -> type:
    """The class that a backup names: that of the object here, or the user's own."""
    kind = type(here) if name_of(type(here)) == name else find(name)
    if not isinstance(kind, type):
        raise DoesNotFitError(f"the class {short(name)} is not here")
    return kind


def _alike(here: Any, there: Any) -> bool:
    """Whether two heads are the same; the seeds of a generator may be others."""
    if isinstance(here, tuple) and isinstance(there, tuple):
        return here[:1] == there[:1]
    return bool(here == there)
