"""Plain data to bytes and back: every value returns exactly as it was, or is refused.

Trial documents, attachments and backups of half-done trials are written so. The bytes are msgpack,
with strict types and extension types for what msgpack has no word for, so reading them runs no
code, whoever wrote them. A tuple, set or array is a list that begins with a marker, so that one
flat pass of msgpack's C code reads and writes everything. An extension code that this version does
not know is an error, which leaves later versions free to add some.
"""

import os
import struct
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
from colab_drive_tuner.checkpoint.codec.plain_data import MAX_DEPTH, explain, is_exact, keys_collide
from colab_drive_tuner.journal.chain.record import check_lengths

_SPLICE = 127  # stands where array content or an encoded value goes; never in what `encode` returns
_TOKEN = os.urandom(16)
"""What marks a splice in this process: no value can hold it, since it never leaves `_pack`."""
_LARGE = 1 << 16
"""Arrays of so many bytes are not copied through msgpack but spliced in, once."""
_CHUNK = 1 << 24
"""Bytes of an array's content that stand together; reading, so much is in memory twice."""
_DEEPEST = MAX_DEPTH + 50
"""Levels of lists and maps, one in another: what a result may have, and a document around it."""
_NO_HEADERS = bytes(
    byte for byte in range(256) if not (0x80 <= byte <= 0x9F or 0xDC <= byte <= 0xDF)
)
"""The bytes with which no list or map begins."""
_FEW = 2000
"""So many keys that hash alike make no dict slow."""

_IMPOSTORS = frozenset({bytearray, memoryview, ExtType, msgpack.Timestamp})
"""What msgpack would write without asking and read back as something else."""


class CodecError(ValueError):
    """The bytes are not what `encode` writes: damaged, cut, hostile or of a later version."""


def encode(value: Any, *, where: str = "result") -> bytes:
    """Return `value` as bytes, from which `decode` makes an equal value of the same types.

    Plain are None, bool, int of any size, float, complex, str, bytes, list, tuple, dict (any plain
    keys, order kept), set, frozenset, datetime, date, timedelta, and numpy scalars and arrays of
    every dtype without objects. Anything else, subclasses of these included, raises
    NotPlainDataError, which names its place as a path that begins with `where`.
    """
    return b"".join(encode_pieces(value, where=where))


def encode_pieces(
    value: Any, *, where: str = "result", foreign: bool = False
) -> list[bytes | memoryview]:
    """As `encode`, in pieces to be joined: the content of a large array is one, and not copied.

    With `foreign`, arrays may be of the dtypes that ml_dtypes adds to numpy; where they are
    decoded that package must have been imported, too. The value may nest as deeply as `decode`
    takes it.
    """
    try:
        pieces = _pack(value, foreign=foreign)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise explain(value, where, _reason) from error
    if not is_exact(value, _IMPOSTORS, _DEEPEST if foreign else MAX_DEPTH):
        raise explain(value, where, _reason)
    return pieces


class Taken:
    """A value as `taking.take` saw it: no later change reaches it, so encoding it can wait."""

    __slots__ = ("_copy", "_encoded")

    def __init__(self, copy: Any, encoded: bytes | None = None) -> None:
        self._copy, self._encoded = copy, encoded

    def encode(self) -> bytes:
        """What `encode` made of the value, or makes of it now; never fails."""
        return b"".join(_pack(self._copy)) if self._encoded is None else self._encoded

    def within(self) -> Any:
        """What stands for the value within another one."""
        return self._copy if self._encoded is None else self


def _pack(
    value: Any, *, foreign: bool = False, unicode_errors: str | None = None
) -> list[bytes | memoryview]:
    """The bytes of `value` in pieces."""
    spliced: list[tuple[bytes, bytes | memoryview]] = []

    def splice(head: bytes, content: bytes | memoryview) -> ExtType:
        spliced.append((head, content))
        return ExtType(_SPLICE, _TOKEN)

    def extend(item: Any) -> Any:
        write = WRITERS.get(type(item))
        if write is not None:
            return write(item)
        if type(item) is Taken:
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
    except UnicodeEncodeError:  # lone surrogates; rare, and this way is slower
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


def decode(data: bytes | memoryview) -> Any:
    """Return the one value in `data`, or raise CodecError; runs no code, whatever the bytes are."""
    try:
        check_lengths(data)
        try:
            return _decode(data, _Reading(careful=False))
        except _ManyKeysError:
            return _decode(data, _Reading(careful=True))
    except CodecError:
        raise
    except msgpack.OutOfData as error:
        raise CodecError("the data ends in the middle of a value") from error
    except (ValueError, TypeError, OverflowError, struct.error, msgpack.UnpackException) as error:
        raise CodecError(f"this is not encoded data: {error or type(error).__name__}") from error
    except (MemoryError, RecursionError) as error:
        raise CodecError("this is not encoded data: it asks for absurd amounts") from error


class _Marker(partial[Any]):
    """Stands at the head of a list, and makes what the list is instead of its other items."""


def _hashed(kind: type, members: list[Any]) -> Any:
    _check_keys(members)
    return kind(members)


_MARKERS = {
    TUPLE: _Marker(tuple),
    SET: _Marker(_hashed, set),
    FROZENSET: _Marker(_hashed, frozenset),
}


class _ManyKeysError(Exception):
    """So many values that may hash alike were met that keys have to be looked at."""


class _Reading:
    """The hooks of one pass over bytes; knows how many markers were met outside of their place.

    Without `careful`, _ManyKeysError ends the pass when keys could be many that hash alike: of big
    or complex numbers, tuples and frozensets anybody can make any number that have one hash.
    """

    def __init__(self, *, careful: bool) -> None:
        self.stray = self.extensions = 0
        self.careful = careful

    def extension(self, code: int, data: bytes) -> Any:
        self.extensions += 1
        if self.extensions > _FEW and not self.careful:
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


def _decode(data: bytes | memoryview, reading: _Reading) -> Any:
    value = msgpack.unpackb(
        data,
        strict_map_key=False,
        unicode_errors="surrogatepass",
        timestamp=3,  # we never write one; this makes a strange one at least plain data
        ext_hook=reading.extension,
        list_hook=reading.array,
        object_pairs_hook=reading.dictionary if reading.careful else None,
    )
    if reading.stray:
        raise CodecError("this is not encoded data: a marker stands alone")
    # Of a value that nests more deeply than `encode` writes, a copy might never end.
    few = len(data) < _LARGE and len(bytes(data).translate(None, _NO_HEADERS)) < _DEEPEST
    if not few and not is_exact(value, levels=_DEEPEST):  # each level needs a header
        raise CodecError("this is not encoded data: it nests too deeply")
    return value
