"""Trial documents to bytes and back: every plain value returns exactly as it was, or is refused.

The bytes are msgpack, with strict types and extension types for what msgpack has no word for, so
reading them runs no code, whoever wrote them. A tuple or set is an array that begins with a marker,
so that one flat pass of msgpack's C code reads and writes everything. An extension code that this
version does not know is an error, which leaves later versions free to add some.
"""

import os
import struct
import sys
from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any

import msgpack
import numpy as np
from msgpack import ExtType

from colab_drive_tuner.checkpoint.arrays import build_array, build_dtype, content_of, describe_dtype
from colab_drive_tuner.checkpoint.datetimes import (
    read_date,
    read_datetime,
    read_timedelta,
    write_date,
    write_datetime,
    write_timedelta,
)
from colab_drive_tuner.checkpoint.plain_data import (
    MAX_DEPTH,
    NUMPY_SCALARS,
    explain,
    is_exact,
    keys_collide,
    nests_deeper,
)

# Extension codes: part of the format. Never give one a new meaning.
_TUPLE, _SET, _FROZENSET = 1, 2, 3
_INT, _COMPLEX = 4, 5
_DATETIME, _DATE, _TIMEDELTA = 8, 9, 10
_ARRAY, _SCALAR, _NUMPY_STR, _NUMPY_BYTES = 16, 17, 18, 19
_FIXED = 32  # and upwards: the scalars of NUMPY_SCALARS
_SPLICE = 127  # stands where a large array or an encoded value goes; never in what `encode` returns

_TOKEN = os.urandom(16)
"""What marks a splice in this process: no value can hold it, since it never leaves `_pack`."""
_LARGE = 1 << 16
"""Arrays of so many bytes are not copied through msgpack but spliced in, once."""
_SKIM = 1 << 13
"""Input of so many bytes is skimmed first; in shorter input no header can claim much memory."""
_DEEPEST = MAX_DEPTH + 50
"""Levels of lists and maps, one in another: what a result may have, and a document around it."""
_NO_HEADERS = bytes(
    byte for byte in range(256) if not (0x80 <= byte <= 0x9F or 0xDC <= byte <= 0xDF)
)
"""The bytes with which no list or map begins."""
_MAX_EXTENSION = 2**32 - 1
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
    try:
        encoded = _join(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise explain(value, where, _reason) from error
    if not is_exact(value, _IMPOSTORS):
        raise explain(value, where, _reason)
    return encoded


class Taken:
    """A value as `taking.take` saw it: no later change reaches it, so encoding it can wait."""

    __slots__ = ("_copy", "_encoded")

    def __init__(self, copy: Any, encoded: bytes | None = None) -> None:
        self._copy, self._encoded = copy, encoded

    def encode(self) -> bytes:
        """What `encode` made of the value, or makes of it now; never fails."""
        return _join(self._copy) if self._encoded is None else self._encoded

    def within(self) -> Any:
        """What stands for the value within another one."""
        return self._copy if self._encoded is None else self


def _join(value: Any) -> bytes:
    try:
        return b"".join(_pack(value, "strict"))
    except UnicodeEncodeError:  # lone surrogates; rare, and this way is slower
        return b"".join(_pack(value, "surrogatepass"))


def _pack(value: Any, unicode_errors: str) -> list[bytes | memoryview]:
    """The bytes of `value` in pieces; a large array is one, and not copied."""
    spliced: list[tuple[bytes, bytes | memoryview]] = []

    def splice(head: bytes, content: bytes | memoryview) -> ExtType:
        spliced.append((head, content))
        return ExtType(_SPLICE, _TOKEN)

    def extend(item: Any) -> Any:
        extension = _EXTENSIONS.get(type(item))
        if extension is not None:
            return extension(item)
        if type(item) is Taken:
            return splice(b"", item.encode())
        head, content = _write_array(item)
        code = _SCALAR if isinstance(item, np.generic) else _ARRAY
        if len(content) < _LARGE:
            return ExtType(code, b"".join((head, content)))
        size = len(head) + len(content)
        if size > _MAX_EXTENSION:
            raise ValueError("it is larger than 4 GiB")
        return splice(b"\xc9" + size.to_bytes(4, "big") + bytes([code]) + head, content)

    # "strict" is also msgpack's default, but naming it takes the slow way through Python's codecs.
    errors = None if unicode_errors == "strict" else unicode_errors
    packer = msgpack.Packer(
        strict_types=True, default=extend, unicode_errors=errors, buf_size=1 << 11
    )
    packed: bytes = packer.pack(value)
    if not spliced:
        return [packed]
    pieces: list[bytes | memoryview] = []
    between = packed.split(b"\xd8" + bytes([_SPLICE]) + _TOKEN)
    for piece, (header, content) in zip(between, spliced, strict=False):
        pieces += (piece, header, content)
    return [*pieces, between[-1]]


def _write_array(item: Any) -> tuple[bytes, memoryview]:
    """Head and content of an array or scalar of numpy; ValueError, saying why, for all else."""
    if type(item) is np.ndarray:
        array = item
    elif isinstance(item, np.generic) and type(item) is item.dtype.type:
        array = np.asarray(item)
    else:
        raise ValueError("it is not plain data")
    head = msgpack.packb([describe_dtype(array.dtype), array.shape, "C"])
    if not array.flags.c_contiguous:
        if array.flags.f_contiguous:
            head = msgpack.packb([describe_dtype(array.dtype), array.shape, "F"])
        else:
            array = np.ascontiguousarray(array)
    if len(head) >= 1 << 16:
        raise ValueError("its dtype has too many fields")
    content = content_of(array).data if array.size else memoryview(b"")
    return len(head).to_bytes(2, "big") + head, content


def _read_array(data: bytes) -> np.ndarray[Any, Any]:
    end = 2 + int.from_bytes(data[:2], "big")
    head = msgpack.unpackb(data[2:end])
    if type(head) is not list or len(head) != 3:
        raise ValueError("an array has no proper head")
    spec, shape, order = head
    return build_array(build_dtype(spec), shape, memoryview(data)[end:], order=order)


def _write_int(number: int) -> ExtType:
    return ExtType(_INT, number.to_bytes(number.bit_length() // 8 + 1, "little", signed=True))


_TO_BYTES: dict[type, Callable[[Any], bytes]] = {
    np.float64: struct.Struct("<d").pack,
    np.int64: struct.Struct("<q").pack,
}
"""What `tobytes` gives, five times as fast: of most trials, these are most of the objects."""


def _write_fixed(code: int, kind: type[np.generic]) -> Callable[[Any], ExtType]:
    pack = _TO_BYTES.get(kind, kind.tobytes)
    # As ExtType(code, ...), without its checks.
    return lambda scalar: tuple.__new__(ExtType, (code, pack(scalar)))


def _read_fixed(kind: type[np.generic]) -> Callable[[bytes], Any]:
    dtype = np.dtype(kind).newbyteorder("<")

    def read(data: bytes) -> Any:
        if len(data) != dtype.itemsize:
            raise ValueError("a number of numpy has the wrong size")
        return kind(np.frombuffer(data, dtype)[0])

    return read


def _marked(code: int) -> Callable[[Any], list[Any]]:
    marker = ExtType(code, b"")
    return lambda items: [marker, *items]


_EXTENSIONS: dict[type, Callable[[Any], Any]] = {
    tuple: _marked(_TUPLE),
    set: _marked(_SET),
    frozenset: _marked(_FROZENSET),
    int: _write_int,  # asked for only where an int exceeds 64 bits
    complex: lambda z: ExtType(_COMPLEX, struct.pack("<dd", z.real, z.imag)),
    datetime: lambda moment: ExtType(_DATETIME, write_datetime(moment)),
    date: lambda day: ExtType(_DATE, write_date(day)),
    timedelta: lambda span: ExtType(_TIMEDELTA, write_timedelta(span)),
    np.str_: lambda text: ExtType(_NUMPY_STR, text.encode("utf-8", "surrogatepass")),
    np.bytes_: lambda data: ExtType(_NUMPY_BYTES, bytes(data)),
}
if sys.byteorder == "little":  # elsewhere they are written with their dtype, like arrays
    _EXTENSIONS |= {kind: _write_fixed(_FIXED + i, kind) for i, kind in enumerate(NUMPY_SCALARS)}

_READERS: dict[int, Callable[[bytes], Any]] = {
    _DATETIME: read_datetime,
    _DATE: read_date,
    _TIMEDELTA: read_timedelta,
    _ARRAY: _read_array,
    _NUMPY_STR: lambda data: np.str_(data.decode("utf-8", "surrogatepass")),
    _NUMPY_BYTES: np.bytes_,
}
_READERS |= {_FIXED + i: _read_fixed(kind) for i, kind in enumerate(NUMPY_SCALARS)}
_ALIKE_READERS: dict[int, Callable[[bytes], Any]] = {
    _INT: lambda data: int.from_bytes(data, "little", signed=True),
    _COMPLEX: lambda data: complex(*struct.unpack("<dd", data)),
    _SCALAR: lambda data: _read_array(data)[()],
}
_ALIKE_READERS |= {
    _FIXED + i: _READERS.pop(_FIXED + i)
    for i, kind in enumerate(NUMPY_SCALARS)
    if issubclass(kind, np.complexfloating)
}
"""Of these, as of tuples and frozensets, anybody can make any number that have one hash."""


def _reason(item: Any) -> str | None:
    if type(item) in _IMPOSTORS:
        return "it is not plain data"
    try:
        _pack(item, "surrogatepass")
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        return str(error)
    return None


class _Marker:
    """Stands at the head of an array that is a tuple or a set."""

    def __init__(self, build: Callable[[list[Any]], Any]) -> None:
        self.build = build


_MARKERS = {_TUPLE: _Marker(tuple), _SET: _Marker(set), _FROZENSET: _Marker(frozenset)}


class _ManyKeysError(Exception):
    """So many values that may hash alike were met that keys have to be looked at."""


class _Reading:
    """The hooks of one pass over bytes; knows how many markers were met outside of their place.

    Without `careful`, _ManyKeysError ends the pass when keys could be many that hash alike.
    """

    def __init__(self, *, careful: bool) -> None:
        self.stray = self.alike = 0
        self.careful = careful

    def extension(self, code: int, data: bytes) -> Any:
        read = _READERS.get(code)
        if read is not None:
            return read(data)
        self.alike += 1
        if self.alike > _FEW and not self.careful:
            raise _ManyKeysError
        read = _ALIKE_READERS.get(code)
        if read is not None:
            return read(data)
        marker = _MARKERS.get(code)
        if marker is None or data:
            raise CodecError(f"extension {code} is unknown: written by a later version, or damaged")
        self.stray += 1
        return marker

    def array(self, items: list[Any]) -> Any:
        if items and type(items[0]) is _Marker:
            self.stray -= 1
            members = items[1:]
            if items[0].build is not tuple:
                _check_keys(members)
            return items[0].build(members)
        return items

    @staticmethod
    def dictionary(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
        _check_keys([key for key, _ in pairs])
        return dict(pairs)


def _check_keys(keys: list[Any]) -> None:
    if keys_collide(keys):
        raise CodecError("this is not encoded data: it has keys that all hash alike")


def decode(data: bytes | memoryview) -> Any:
    """Return the one value in `data`, or raise CodecError; runs no code, whatever the bytes are."""
    try:
        if len(data) >= _SKIM:
            _skim(data)
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
    if _is_deep(data, value):
        raise CodecError("this is not encoded data: it nests too deeply")
    return value


def _is_deep(data: bytes | memoryview, value: Any) -> bool:
    """Whether the value nests more deeply than `encode` writes; copying it might never end."""
    if len(data) < _DEEPEST or len(bytes(data).translate(None, _NO_HEADERS)) < _DEEPEST:
        return False  # each level needs a header
    return nests_deeper(value, _DEEPEST)


def _skim(data: bytes | memoryview) -> None:
    """Check that what the headers claim is there; msgpack allocates for a list what it claims."""
    unpacker = msgpack.Unpacker(max_buffer_size=max(len(data), 1))
    unpacker.feed(data)
    while unpacker.tell() < len(data):
        unpacker.skip()
