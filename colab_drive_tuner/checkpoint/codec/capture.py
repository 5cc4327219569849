"""Taking a value as it is now, at the least cost to the training thread; encoding it can wait.

What training hands over is copied where it is ordinary, which takes a fraction of the time of
encoding it. A long list of floats is the exception: encoding it is as fast as a look at its items.
"""

from datetime import datetime
from typing import Any

import msgpack

from colab_drive_tuner.checkpoint.codec.codec import Taken, encode
from colab_drive_tuner.checkpoint.codec.plain_data import ATOMS

_LEAVES = ATOMS - {datetime}
"""What cannot change, and is encoded whatever its value; the zone of a datetime may be unknown."""
_DEPTH = 6
"""So deep do ordinary values go."""
_LONG = 64
"""A list of so many floats is encoded sooner than copied."""


def take(value: Any) -> Taken:
    """Copy what is ordinary; encode at once what is not. Raises as `encode` does.

    Whatever in `value` was taken before goes in as it is.
    """
    try:
        return Taken(_copy(value, _DEPTH))
    except _UnusualError:
        return Taken(None, encode(value))


class _UnusualError(Exception):
    """A value that may be refused, or is not cheaply copied: an array, a deep nesting."""


def _copy(value: Any, depth: int) -> Any:
    """Dicts and lists copied, what cannot change as it is."""
    kind = type(value)
    if kind in _LEAVES:
        return value
    if depth == 0:
        raise _UnusualError
    if kind is list:
        if len(value) >= _LONG and (encoded := _floats(value)) is not None:
            return Taken(None, encoded)
        copy = value.copy()
        if _LEAVES.issuperset(map(type, copy)):
            return copy
        return [_copy(item, depth - 1) for item in copy]
    if kind is dict and _LEAVES.issuperset(map(type, value)):
        return _copy_dict(value, depth)
    if kind is tuple:
        if _LEAVES.issuperset(map(type, value)):
            return value
        return tuple(_copy(item, depth - 1) for item in value)
    if kind is Taken:
        return value.within()
    if kind is datetime and value.tzinfo is None:
        return value
    raise _UnusualError


def _copy_dict(value: dict[Any, Any], depth: int) -> dict[Any, Any]:
    copy = value.copy()
    for key, item in value.items():
        kind = type(item)
        if kind in _LEAVES:
            continue
        if kind is list and len(item) == 1 and type(item[0]) in _LEAVES:
            copy[key] = [item[0]]  # a parameter; each trial has many
        else:
            copy[key] = _copy(item, depth - 1)
    return copy


def _floats(items: list[Any]) -> bytes | None:
    """The encoding of a long list, if it holds floats alone: as fast as a look at its items."""
    if type(items[0]) is not float:
        return None
    packer = msgpack.Packer(strict_types=True, buf_size=9 * len(items) + 8)
    try:
        packed: bytes = packer.pack(items)
    except (TypeError, ValueError, OverflowError):
        return None
    # If the first item is a float it takes nine bytes, and where the next one begins is known.
    heads = packed[3 if packed[0] == 0xDC else 5 :: 9]
    return packed if heads == b"\xcb" * len(heads) else None
