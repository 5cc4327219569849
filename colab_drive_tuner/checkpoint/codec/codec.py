"""Codec for plain data: every value is restored exactly, or refused when it is encoded.

It is used for trial documents, attachments and backups of unfinished trials. The bytes are msgpack
with strict types and extension types for values that msgpack lacks, so decoding untrusted bytes
runs no code. A tuple, set or array is encoded as a list that begins with a marker, so that one flat
pass of msgpack's C code reads and writes everything. Unknown extension codes are errors, so later
versions can add some.
"""

import os
import struct
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any

import msgpack
import numpy as np
from msgpack import ExtType

from colab_drive_tuner.checkpoint.codec.extensions import (
    ARRAY,
    FROZENSET,
    READERS,
    SET,
    TUPLE,
    WRITERS,
    read_array,
    write_array,
    write_scalar,
)
from colab_drive_tuner.checkpoint.codec.plain_data import (
    ATOMS,
    MAX_DEPTH,
    explain,
    is_exact,
    keys_collide,
)
from colab_drive_tuner.journal.chain.record import check_lengths

_SPLICE = 127  # placeholder code for spliced content; never in the result of `encode`
_TOKEN = os.urandom(16)
"""Data of the placeholders: no value can contain it, since it never leaves `_pack`."""
_LARGE = 1 << 16
"""Size, in bytes, from which an array's content is spliced in instead of copied by msgpack."""
_CHUNK = 1 << 24
"""Bytes of an array's content per chunk; while reading, one chunk is in memory twice."""
_DEEPEST = MAX_DEPTH + 50
"""Maximum nesting of lists and maps: that of a result, and of the document around it."""
_NO_HEADERS = bytes(
    byte for byte in range(256) if not (0x80 <= byte <= 0x9F or 0xDC <= byte <= 0xDF)
)
"""The bytes with which no list or map begins."""
_FEW = 2000
"""Number of keys with equal hashes that does not make a dict slow."""

_IMPOSTORS = frozenset({bytearray, memoryview, ExtType, msgpack.Timestamp})
"""Types that msgpack would encode without an error and decode as another type."""


_LEAVES = ATOMS - {datetime}
"""Immutable types that can always be encoded; a datetime may have an unsupported time zone."""
_CAPTURE_DEPTH = 6
"""Maximum nesting of values that `capture` copies."""


class CodecError(ValueError):
    """The bytes were not written by `encode`: damaged, truncated, hostile or of a later version."""


def encode(value: Any, *, where: str = "result") -> bytes:
    """Return `value` as bytes, which `decode` turns into an equal value of the same types.

    Plain data are None, bool, int of any size, float, complex, str, bytes, list, tuple, dict (any
    plain keys, order kept), set, frozenset, datetime, date, timedelta, and numpy scalars and arrays
    of every dtype without objects. Anything else, subclasses of these included, raises
    NotPlainDataError, which names its location as a path that begins with `where`.
    """
    return b"".join(encode_pieces(value, where=where))


def encode_pieces(
    value: Any, *, where: str = "result", foreign: bool = False
) -> list[bytes | memoryview]:
    """Encode in pieces to be joined, without copying the content of large arrays.

    With `foreign`, arrays may have the dtypes that ml_dtypes adds to numpy, which must then be
    imported before decoding, too; and the value may be nested as deeply as `decode` allows.
    """
    try:
        pieces = _pack(value, foreign=foreign)
    except (TypeError, ValueError, OverflowError, RecursionError):
        raise explain(value, where, _reason) from None
    if not is_exact(value, _IMPOSTORS, _DEEPEST if foreign else MAX_DEPTH):
        raise explain(value, where, _reason)
    return pieces


def _pack(
    value: Any, *, foreign: bool = False, unicode_errors: str | None = None
) -> list[bytes | memoryview]:
    spliced: list[tuple[bytes, bytes | memoryview]] = []

    def splice(head: bytes, content: bytes | memoryview) -> ExtType:
        spliced.append((head, content))
        return ExtType(_SPLICE, _TOKEN)

    def extend(item: Any) -> Any:
        write = WRITERS.get(type(item))
        if write is not None:
            return write(item)
        if type(item) is Captured:
            return splice(b"", item.encode())
        if isinstance(item, np.generic) and type(item) is item.dtype.type:
            return write_scalar(item, foreign=foreign)
        if type(item) is not np.ndarray:
            raise ValueError("it is not plain data")
        marker, content = write_array(item, foreign=foreign)
        if len(content) < _LARGE:
            return [marker, content.tobytes()]
        chunks = [content[start : start + _CHUNK] for start in range(0, len(content), _CHUNK)]
        return [marker, *(splice(b"\xc6" + len(c).to_bytes(4, "big"), c) for c in chunks)]

    packer = msgpack.Packer(
        strict_types=True, default=extend, unicode_errors=unicode_errors, buf_size=1 << 11
    )
    try:
        packed: bytes = packer.pack(value)
    except UnicodeEncodeError:  # lone surrogates are rare, and "surrogatepass" is slower
        return _pack(value, foreign=foreign, unicode_errors="surrogatepass")
    if not spliced:
        return [packed]
    pieces: list[bytes | memoryview] = []
    between = packed.split(b"\xd8" + bytes([_SPLICE]) + _TOKEN)
    for piece, (header, content) in zip(between, spliced, strict=False):
        pieces += (piece, header, content)
    return [*pieces, between[-1]]


def _reason(item: Any) -> str | None:
    if type(item) in _IMPOSTORS:
        return "it is not plain data"
    try:
        _pack(item)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        return str(error)
    return None


class Captured:
    """A value copied or encoded by `capture`; later changes to the original do not affect it."""

    __slots__ = ("_copy", "_encoded")

    def __init__(self, copy: Any, encoded: bytes | None = None) -> None:
        self._copy, self._encoded = copy, encoded

    def encode(self) -> bytes:
        """Return the encoded value; never fails."""
        return b"".join(_pack(self._copy)) if self._encoded is None else self._encoded

    def within(self) -> Any:
        """Return the object that represents the value inside another captured value."""
        return self._copy if self._encoded is None else self


def capture(value: Any) -> Captured:
    """Take a value on the training thread, at the least cost; the writer encodes it later.

    An ordinary value is copied, in a fraction of the time of encoding it; any other is encoded.
    Parts that are captured already are used as they are. Raises the errors of `encode`.
    """
    with suppress(_UnusualError):
        return Captured(_copy(value, _CAPTURE_DEPTH))
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
        copy = value.copy()
        if _LEAVES.issuperset(map(type, copy)):
            return copy
        return [_copy(item, depth - 1) for item in copy]
    if kind is dict and _LEAVES.issuperset(map(type, value)):
        return {
            key: item if type(item) in _LEAVES else _copy(item, depth - 1)
            for key, item in value.items()
        }
    if kind is tuple:
        if _LEAVES.issuperset(map(type, value)):
            return value
        return tuple(_copy(item, depth - 1) for item in value)
    if kind is Captured:
        return value.within()
    if kind is datetime and value.tzinfo is None:
        return value
    raise _UnusualError


def decode(data: bytes | memoryview) -> Any:
    """Return the value in `data` or raise CodecError; runs no code, even for hostile bytes."""
    try:
        check_lengths(data)
        try:
            return _decode(data, _Hooks(check_keys=False))
        except _ManyKeysError:
            return _decode(data, _Hooks(check_keys=True))
    except CodecError:
        raise
    except msgpack.OutOfData as error:
        raise CodecError("the data ends in the middle of a value") from error
    except (ValueError, TypeError, OverflowError, struct.error, msgpack.UnpackException) as error:
        raise CodecError(f"this is not encoded data: {error or type(error).__name__}") from error
    except (MemoryError, RecursionError) as error:
        raise CodecError("this is not encoded data: it asks for absurd amounts") from error


class _Marker(partial[Any]):
    """First item of a list, called with the other items to build the value they represent."""


def _hashed(kind: type, members: list[Any]) -> Any:
    _check_keys(members)
    return kind(members)


_MARKERS = {
    TUPLE: _Marker(tuple),
    SET: _Marker(_hashed, set),
    FROZENSET: _Marker(_hashed, frozenset),
}


class _ManyKeysError(Exception):
    """Many values may have equal hashes, so keys must be checked."""


class _Hooks:
    """Hooks for msgpack during one pass over the bytes; `stray` counts misplaced markers.

    Unless `check_keys`, the pass ends with _ManyKeysError when many keys could have equal hashes:
    big and complex numbers, tuples and frozensets can be crafted to collide.
    """

    def __init__(self, *, check_keys: bool) -> None:
        self.stray = self.extensions = 0
        self.check_keys = check_keys

    def extension(self, code: int, data: bytes) -> Any:
        self.extensions += 1
        if self.extensions > _FEW and not self.check_keys:
            raise _ManyKeysError
        read = READERS.get(code)
        if read is not None:
            return read(data)
        self.stray += 1
        if code == ARRAY:
            return _Marker(read_array, data)
        marker = _MARKERS.get(code)
        if marker is None or data:
            raise CodecError(f"extension {code} is unknown: written by a later version, or damaged")
        return marker

    def array(self, items: list[Any]) -> Any:
        if items and type(items[0]) is _Marker:
            self.stray -= 1
            return items.pop(0)(items)
        return items

    @staticmethod
    def dictionary(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
        _check_keys([key for key, _ in pairs])
        return dict(pairs)


def _check_keys(keys: list[Any]) -> None:
    if keys_collide(keys):
        raise CodecError("this is not encoded data: it has keys that all hash alike")


def _decode(data: bytes | memoryview, hooks: _Hooks) -> Any:
    value = msgpack.unpackb(
        data,
        strict_map_key=False,
        unicode_errors="surrogatepass",
        timestamp=3,  # never written by `encode`; a foreign one becomes plain data
        ext_hook=hooks.extension,
        list_hook=hooks.array,
        object_pairs_hook=hooks.dictionary if hooks.check_keys else None,
    )
    if hooks.stray:
        raise CodecError("this is not encoded data: a marker is misplaced")
    # Copying a value that is nested more deeply than `encode` allows might never end.
    few = len(data) < _LARGE and len(bytes(data).translate(None, _NO_HEADERS)) < _DEEPEST
    if not few and not is_exact(value, levels=_DEEPEST):  # each level needs a header
        raise CodecError("this is not encoded data: it nests too deeply")
    return value
