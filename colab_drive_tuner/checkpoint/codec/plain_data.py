"""Plain data, which a trial's result must be: its types, and errors that name what is not plain."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime, timedelta
from enum import Enum
from typing import Any

import numpy as np

from colab_drive_tuner.errors import NotPlainDataError
from colab_drive_tuner.text import text_of

MAX_DEPTH = 200
"""Maximum nesting of containers."""

NUMPY_SCALARS: tuple[type[np.generic], ...] = (
    np.bool_,
    np.int8,
    np.int16,
    np.int32,
    np.int64,
    np.uint8,
    np.uint16,
    np.uint32,
    np.uint64,
    np.float16,
    np.float32,
    np.float64,
    np.complex64,
    np.complex128,
)
"""numpy's scalars of fixed size. Their order is part of the format: only append to it."""

ATOMS = frozenset(
    {type(None), bool, int, float, complex, str, bytes, datetime, date, timedelta, *NUMPY_SCALARS}
)
_CONTAINERS = frozenset({dict, list, tuple, set, frozenset})
_TENSOR_PACKAGES = frozenset({"tensorflow", "keras", "torch", "jax", "jaxlib"})

_MAX_ALIKE = 64
"""Limit of keys with equal hashes, which take quadratic time; numbers up to 64 bits have <= 33."""

Reason = Callable[[Any], str | None]
"""Return why a value other than a container cannot be recorded, or None if it can."""


def keys_collide(keys: Iterable[Any]) -> bool:
    """Return whether many keys have equal hashes, which happens only in an attack.

    Python randomizes only the hashes of str and bytes; numbers and tuples can be crafted to
    collide. Raises TypeError for an unhashable key.
    """
    hashes = [hash(key) for key in keys if type(key) is not str and type(key) is not bytes]
    return len(hashes) > _MAX_ALIKE and max(Counter(hashes).values()) > _MAX_ALIKE


def is_exact(value: Any, impostors: frozenset[type] = frozenset(), levels: int = MAX_DEPTH) -> bool:
    """Return whether `value` has no object of an impostor type and is nested at most `levels` deep.

    Walks level by level, at the speed of C if all members of a container are atoms.
    """
    level = [value]
    for _ in range(levels):
        below: list[Any] = []
        for item in level:
            kind = type(item)
            if kind in _CONTAINERS:
                if not ATOMS.issuperset(map(type, item)):
                    below.extend(item)
                if kind is dict and not ATOMS.issuperset(map(type, item.values())):
                    below.extend(item.values())
            elif kind in impostors:
                return False
        if not below:
            return True
        level = below
    return False


def explain(value: Any, where: str, reason: Reason) -> NotPlainDataError:
    """Return the error that names the first object in `value` that cannot be recorded."""
    for path, item, depth, in_itself in _walk(value, where, 0, set()):
        if in_itself:
            text = f"{path} contains itself; return data without cycles."
        elif depth >= MAX_DEPTH:
            text = f"{where} is nested more than {MAX_DEPTH} levels deep; return flatter data."
        elif type(item) in _CONTAINERS or (why := reason(item)) is None:
            continue
        else:
            text = f"{path} is {_name(item)}, which cannot be recorded: {why}. {_hint(item)}"
        return NotPlainDataError(text)
    return NotPlainDataError(f"{where} cannot be recorded; return plain data.")


def _walk(
    value: Any, path: str, depth: int, above: set[int]
) -> Iterator[tuple[str, Any, int, bool]]:
    """Yield (path, item, depth, whether it contains itself), depth first, keys before values."""
    kind = type(value)
    in_itself = id(value) in above
    yield path, value, depth, in_itself
    if kind not in _CONTAINERS or in_itself or depth >= MAX_DEPTH:
        return
    above.add(id(value))
    if kind is dict:
        for key in value:
            yield from _walk(key, f"a key of {path}", depth + 1, above)
        for key, item in value.items():
            yield from _walk(item, f"{path}[{_short(key)}]", depth + 1, above)
    elif kind is list or kind is tuple:
        for index, item in enumerate(value):
            yield from _walk(item, f"{path}[{index}]", depth + 1, above)
    else:
        for item in value:
            yield from _walk(item, f"an element of {path}", depth + 1, above)
    above.discard(id(value))


def _short(key: Any) -> str:
    text = text_of(key, repr)
    return text if len(text) <= 60 else text[:57] + "..."


def _name(value: Any) -> str:
    kind = type(value)
    module = kind.__module__
    name = kind.__qualname__ if module == "builtins" else f"{module}.{kind.__qualname__}"
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


def _hint(value: Any) -> str:
    kind = type(value)
    if isinstance(value, Enum):
        return "Return `x.value`."
    if hasattr(kind, "get_weights") and hasattr(kind, "fit"):
        return "Of Keras models, a trial keeps the one under `model`; return `x.get_weights()`."
    if kind.__module__.partition(".")[0] in _TENSOR_PACKAGES:
        if isinstance(getattr(value, "history", None), dict):  # what `fit` returns
            return "Return its dict, `x.history`."
        if hasattr(kind, "__float__"):
            return "Return `float(x)` of a scalar, or `numpy.asarray(x)`."
    if isinstance(value, np.ndarray | np.generic):
        return "Return `x.tolist()`, or an ordinary numpy array of numbers, times or text."
    if isinstance(value, bytearray | memoryview):
        return "Return `bytes(x)`."
    for base in (bool, int, float, complex, str, bytes, dict, list, tuple, set, frozenset):
        if isinstance(value, base):
            return f"Return `{base.__name__}(x)`."
    return (
        "Return plain data (numbers, text, lists, dicts, arrays). A trial's result can have bytes, "
        "such as a pickle, under `attachments`."
    )
