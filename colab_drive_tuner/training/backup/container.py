"""Backup files: plain data with arrays, in one file that proves itself whole.

    magic, 8 bytes | length of the header, 8 bytes | header | the arrays' bytes | sha256 of all that

The header is msgpack: the data with a number in each array's place, and the arrays' types and
shapes. Nothing in such a file can run code, and no array can be larger than the file.
"""

import hashlib
import math
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgpack
import numpy as np

from colab_drive_tuner.errors import ChecksumError

_MAGIC = b"CDTBACK1"
_LENGTH = struct.Struct(">Q")
_DIGEST = 32
_ARRAY, _SCALAR, _TUPLE = 1, 2, 3
_BLOCK = 1 << 20


def write_container(path: Path, tree: Any) -> None:
    """Write plain data (None, bool, int, float, str, bytes, list, tuple, dict, numpy) to `path`."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for piece in _pieces(tree):
            digest.update(piece)
            file.write(piece)
        file.write(digest.digest())


def digest_of(tree: Any) -> bytes:
    """A checksum of plain data: the same for the same data."""
    digest = hashlib.sha256()
    for piece in _pieces(tree):
        digest.update(piece)
    return digest.digest()


def _pieces(tree: Any) -> Iterator[bytes | memoryview]:
    """What a file of `tree` consists of, but for its checksum."""
    arrays: list[np.ndarray[Any, Any]] = []

    def extend(value: Any) -> msgpack.ExtType:
        if isinstance(value, tuple):
            return msgpack.ExtType(_TUPLE, pack(list(value)))
        if isinstance(value, np.ndarray | np.generic) and dtype_name(value.dtype):
            arrays.append(np.asarray(value))
            kind = _ARRAY if isinstance(value, np.ndarray) else _SCALAR
            return msgpack.ExtType(kind, msgpack.packb(len(arrays) - 1))
        raise TypeError(f"{type(value).__name__} is no plain data")

    def pack(value: Any) -> bytes:
        packed: bytes = msgpack.packb(value, default=extend, strict_types=True)
        return packed

    body = pack(tree)
    layout = [[dtype_name(array.dtype), list(array.shape)] for array in arrays]
    header: bytes = msgpack.packb([body, layout])
    yield from (_MAGIC, _LENGTH.pack(len(header)), header)
    yield from map(as_bytes, arrays)


def read_container(path: Path) -> Any:
    """What `write_container` wrote, bit for bit; `ChecksumError` for anything else."""
    size = path.stat().st_size
    start = len(_MAGIC) + _LENGTH.size
    with path.open("rb") as file:
        digest = hashlib.sha256()
        left = size - _DIGEST
        while left > 0 and (block := file.read(min(_BLOCK, left))):
            digest.update(block)
            left -= len(block)
        if size < start + _DIGEST or file.read() != digest.digest():
            raise ChecksumError(f"{path.name} is not whole: its checksum differs.")
        file.seek(0)
        magic, (length,) = file.read(len(_MAGIC)), _LENGTH.unpack(file.read(_LENGTH.size))
        if magic != _MAGIC or length > size:
            raise ChecksumError(f"{path.name} is no backup of this version.")
        try:
            body, layout = msgpack.unpackb(file.read(length), strict_map_key=False)
            arrays = [_array(file.read, name, shape, size) for name, shape in layout]
            return _unpacked(body, arrays)
        except (ValueError, TypeError, IndexError, AttributeError, msgpack.UnpackException) as e:
            raise ChecksumError(f"{path.name} is no readable backup: {e}") from e


def dtype_name(dtype: np.dtype[Any]) -> str | None:
    """The name by which numpy makes this type again; None for objects and records."""
    for name in (dtype.name, dtype.str):
        with suppress(TypeError):
            if not dtype.hasobject and np.dtype(name) == dtype:
                return name
    return None


def as_bytes(array: np.ndarray[Any, Any] | np.generic) -> memoryview:
    """The array's bytes, row by row; without a copy where it lies like that in memory."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _array(read: Any, name: str, shape: list[int], most: int) -> np.ndarray[Any, Any]:
    dtype = np.dtype(name)
    size = math.prod(shape) * dtype.itemsize
    if dtype.hasobject or min(shape, default=0) < 0 or size > most:
        raise ValueError(f"no array has type {name} and shape {shape} here")
    array = np.empty(shape, dtype)
    if size:
        as_bytes(array)[:] = read(size)
    return array


def _unpacked(body: bytes, arrays: list[np.ndarray[Any, Any]]) -> Any:
    def extended(code: int, data: bytes) -> Any:
        if code == _TUPLE:
            return tuple(_unpacked(data, arrays))
        array = arrays[msgpack.unpackb(data)]
        return array if code == _ARRAY else array[()]

    return msgpack.unpackb(body, ext_hook=extended, strict_map_key=False)
