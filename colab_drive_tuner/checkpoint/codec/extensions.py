"""Extension types of the codec: code, writer and reader for each type that msgpack lacks.

Codes and bytes are part of the format. Readers get untrusted bytes and raise ValueError, or an
error of struct or msgpack, for any that the writers here cannot produce.
"""

import re
import struct
import sys
from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import msgpack
import numpy as np
from msgpack import ExtType

from colab_drive_tuner.checkpoint.codec.arrays import (
    build_array,
    build_dtype,
    content_of,
    describe_dtype,
)
from colab_drive_tuner.checkpoint.codec.plain_data import NUMPY_SCALARS

# Never give a code a new meaning.
TUPLE, SET, FROZENSET = 1, 2, 3
_INT, _COMPLEX = 4, 5
_DATETIME, _DATE, _TIMEDELTA = 8, 9, 10
ARRAY, _SCALAR, _NUMPY_STR, _NUMPY_BYTES = 16, 17, 18, 19
_FIXED = 32  # and upwards: the scalars of NUMPY_SCALARS


def write_array(array: np.ndarray[Any, Any], *, foreign: bool) -> tuple[ExtType, memoryview]:
    """Return the description of an array and its content."""
    order = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
    if order == "C":
        array = np.asarray(array, order="C")
    head = [describe_dtype(array.dtype, foreign=foreign), array.shape, order]
    content = content_of(array).data if array.size else memoryview(b"")
    return ExtType(ARRAY, msgpack.packb(head)), content


def read_array(head: bytes, chunks: list[Any]) -> np.ndarray[Any, Any]:
    """Build the array that `write_array` described; its content may be in several chunks."""
    spec, shape, order = msgpack.unpackb(head)
    if any(type(chunk) is not bytes for chunk in chunks):
        raise ValueError("an array's content is not bytes")
    return build_array(build_dtype(spec), shape, chunks, order=order)


def write_scalar(scalar: np.generic, *, foreign: bool) -> ExtType:
    """Write a numpy scalar that has no extension code."""
    spec = describe_dtype(scalar.dtype, foreign=foreign)
    return ExtType(_SCALAR, msgpack.packb([spec, scalar.tobytes()]))


def _read_scalar(data: bytes) -> Any:
    spec, content = msgpack.unpackb(data)
    return build_array(build_dtype(spec), (), [content])[()]


def _write_int(number: int) -> ExtType:
    return ExtType(_INT, number.to_bytes(number.bit_length() // 8 + 1, "little", signed=True))


def _write_datetime(moment: datetime) -> ExtType:
    """Write a datetime as text: "~" if `fold` is 1, the ISO format, and the time zone."""
    zone = moment.tzinfo
    if zone is None:
        text = moment.isoformat()
    elif type(zone) is timezone:
        # As pickle does, which distinguishes an explicit name from a generated one.
        names = zone.__reduce__()[1][1:]
        text = " ".join((moment.isoformat(), *names))
    elif type(zone) is ZoneInfo and zone.key is not None:
        text = f"{moment.replace(tzinfo=None).isoformat()} {zone.key}"
    else:
        kind = type(zone).__qualname__
        raise ValueError(f"its time zone is a {kind}; use `.astimezone(datetime.timezone.utc)`")
    return ExtType(_DATETIME, ("~" * moment.fold + text).encode("utf-8", "surrogatepass"))


def _read_datetime(data: bytes) -> datetime:
    text = data.decode("utf-8", "surrogatepass")
    written, named, name = text.removeprefix("~").partition(" ")
    moment = datetime.fromisoformat(written)
    if text[0] == "~":
        moment = moment.replace(fold=1)
    if not named:
        return moment
    offset = moment.utcoffset()
    return moment.replace(tzinfo=find_zone(name) if offset is None else timezone(offset, name))


def find_zone(key: str) -> ZoneInfo:
    """Return the time zone of that name; raise ValueError if invalid or not on this machine."""
    if not re.fullmatch(r"[A-Za-z0-9_+-]{1,40}(?:/[A-Za-z0-9_+-]{1,40}){0,3}", key):
        raise ValueError("a time zone has an invalid name")
    try:
        return ZoneInfo(key)
    except (KeyError, OSError) as error:
        message = f"this machine has no time zone {key!r}; `pip install tzdata` adds it"
        raise ValueError(message) from error


_STRUCTS = {np.float64: struct.Struct("<d"), np.int64: struct.Struct("<q")}
"""For the most frequent types in trials: several times as fast as numpy's functions."""


def _write_fixed(code: int, kind: type[np.generic]) -> Callable[[Any], ExtType]:
    pack = _STRUCTS[kind].pack if kind in _STRUCTS else kind.tobytes
    # Equivalent to ExtType(code, ...), without its checks.
    return lambda scalar: tuple.__new__(ExtType, (code, pack(scalar)))


def _read_fixed(kind: type[np.generic]) -> Callable[[bytes], Any]:
    if kind in _STRUCTS:
        unpack = _STRUCTS[kind].unpack
        return lambda data: kind(*unpack(data))
    dtype = np.dtype(kind).newbyteorder("<")

    def read(data: bytes) -> Any:
        (number,) = np.frombuffer(data, dtype)
        return number

    return read


def _marked(code: int) -> Callable[[Any], list[Any]]:
    marker = ExtType(code, b"")
    return lambda items: [marker, *items]


WRITERS: dict[type, Callable[[Any], Any]] = {
    tuple: _marked(TUPLE),
    set: _marked(SET),
    frozenset: _marked(FROZENSET),
    int: _write_int,  # called only for integers of more than 64 bits
    complex: lambda z: ExtType(_COMPLEX, struct.pack("<dd", z.real, z.imag)),
    datetime: _write_datetime,
    date: lambda day: ExtType(_DATE, day.isoformat().encode()),
    timedelta: lambda span: ExtType(
        _TIMEDELTA, struct.pack("<iii", span.days, span.seconds, span.microseconds)
    ),
    np.str_: lambda text: ExtType(_NUMPY_STR, text.encode("utf-8", "surrogatepass")),
    np.bytes_: lambda data: ExtType(_NUMPY_BYTES, bytes(data)),
}
"""By type, the function that returns the object for msgpack to write."""
if sys.byteorder == "little":  # big-endian machines write them with their dtype, like arrays
    WRITERS |= {kind: _write_fixed(_FIXED + i, kind) for i, kind in enumerate(NUMPY_SCALARS)}

READERS: dict[int, Callable[[bytes], Any]] = {
    _INT: lambda data: int.from_bytes(data, "little", signed=True),
    _COMPLEX: lambda data: complex(*struct.unpack("<dd", data)),
    _DATETIME: _read_datetime,
    _DATE: lambda data: date.fromisoformat(data.decode()),
    _TIMEDELTA: lambda data: timedelta(*struct.unpack("<iii", data)),
    _SCALAR: _read_scalar,
    _NUMPY_STR: lambda data: np.str_(data.decode("utf-8", "surrogatepass")),
    _NUMPY_BYTES: np.bytes_,
    **{_FIXED + i: _read_fixed(kind) for i, kind in enumerate(NUMPY_SCALARS)},
}
"""By code, the function that reads a value's bytes."""
