"""Snapshot of a value on the training thread, at the least cost; the writer encodes it later.

Ordinary values are copied, which takes a fraction of the time of encoding them. A long list of
floats is encoded right away, which is as fast as checking its items.
"""

from datetime import datetime
from typing import Any

import msgpack

from colab_drive_tuner.checkpoint.codec.codec import Captured, encode
from colab_drive_tuner.checkpoint.codec.plain_data import ATOMS

_LEAVES = ATOMS - {datetime}
"""Immutable types that can always be encoded; a datetime may have an unsupported time zone."""
_DEPTH = 6
"""Maximum nesting of ordinary values."""
_LONG = 64
"""Length from which encoding a list of floats is faster than copying it."""


def capture(value: Any) -> Captured:
    """Copy an ordinary value, encode any other. Raises the errors of `encode`.

    Parts of `value` that are captured already are used as they are.
    """
    try:
        return Captured(_copy(value, _DEPTH))
    except _UnusualError:
        return Captured(None, encode(value))


class _UnusualError(Exception):
    """The value may be unsupported, or is expensive to copy: an array, or deeply nested."""


def _copy(value: Any, depth: int) -> Any:
    """Copy containers; return immutable values as they are."""
    kind = type(value)
    if kind in _LEAVES:
        return value
    if depth == 0:
        raise _UnusualError
    if kind is list:
        if len(value) >= _LONG and (encoded := _floats(value)) is not None:
            return Captured(None, encoded)
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
    if kind is Captured:
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
            copy[key] = [item[0]]  # a parameter; trials have many of these
        else:
            copy[key] = _copy(item, depth - 1)
    return copy


def _floats(items: list[Any]) -> bytes | None:
    """Encode a long list if it holds only floats, as fast as checking its items."""
    if type(items[0]) is not float:
        return None
    packer = msgpack.Packer(strict_types=True, buf_size=9 * len(items) + 8)
    try:
        packed: bytes = packer.pack(items)
    except (TypeError, ValueError, OverflowError):
        return None
    # A float takes nine bytes, so the position of each next item's header is known.
    headers = packed[3 if packed[0] == 0xDC else 5 :: 9]
    return packed if headers == b"\xcb" * len(headers) else None
