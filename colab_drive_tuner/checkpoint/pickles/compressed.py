"""Bounded decompression of gzip, bz2, xz, lzma, zlib and zip files that hold one pickle."""

import bz2
import io
import lzma
import zipfile
import zlib
from typing import Any

from colab_drive_tuner.checkpoint.pickles.interpreter import RefusedPickleError

_FREE = 64 << 20
_GROWTH = 200
"""A file may unpack to `_GROWTH` times its size plus `_FREE`; pickles compress to a tenth."""
_BLOCK = 1 << 20
_FED = 1 << 13
"""Bytes fed to a decompressor at once; small, since a file of a million streams copies the rest
of the fed bytes for each stream."""
_NOT_READ = {
    b"\x04\x22\x4d\x18": "compressed by lz4: decompress it first",
    b"\x28\xb5\x2f\xfd": "compressed by Zstandard: decompress it first",
    b"\x1f\x9d": "compressed by compress: decompress it first",
    b"SQLite format 3\0": "an SQLite database, not a pickle",
    b"\x89HDF\r\n": "an HDF5 file, not a pickle",
    b"\x93NUMPY": "an array saved by numpy, not a pickle",
}


def decompress(data: bytes, most: int) -> bytes:
    """Decompress `data`, or return it unchanged if it is not compressed.

    Raises RefusedPickleError for more than `most` bytes, for an implausible compression ratio, for
    damage, and for a format that Python's standard library cannot read.
    """
    for beginning, what in _NOT_READ.items():
        if data.startswith(beginning):
            raise RefusedPickleError(f"it is {what}")
    most = min(most, _GROWTH * len(data) + _FREE)
    if data.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _only_member(data, most)
    kind, start = _kind(data)
    if start is not None:
        try:
            data = _inflate(start, data, most)
        except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            raise RefusedPickleError(f"it is a damaged {kind} file: {error}") from error
    if data[257:262] == b"ustar" and not data[99]:  # after a name of at most 100 bytes
        raise RefusedPickleError("it is a tar archive: unpack it and name the pickle")
    return data


def _kind(data: bytes) -> tuple[str, Any]:
    """Return the compression's name and a factory of its decompressor, by the first bytes."""
    if data.startswith(b"\x1f\x8b"):
        return "gzip", lambda: zlib.decompressobj(31)
    if data.startswith(b"BZh"):
        return "bz2", bz2.BZ2Decompressor
    if data.startswith(b"\xfd7zXZ\0"):
        return "xz", lzma.LZMADecompressor
    if data.startswith(b"]\0\0") and len(data) > 12 and data[12] in (0, 0xFF):
        return "lzma", lambda: lzma.LZMADecompressor(lzma.FORMAT_ALONE)
    # zlib's header; no valid pickle begins with "x", which would append to an empty stack.
    if data[:1] == b"x" and len(data) > 1 and int.from_bytes(data[:2], "big") % 31 == 0:
        return "zlib", zlib.decompressobj
    return "", None


def _inflate(start: Any, data: bytes, most: int) -> bytes:
    """Decompress all concatenated streams in `data`, as `gzip.open` does."""
    file, whole = io.BytesIO(data), bytearray()
    fed = file.read(_FED)
    while fed:
        stream = start()
        while not stream.eof:
            before = len(whole)
            whole += stream.decompress(fed, _BLOCK)
            _check_size(len(whole), most)
            fed = getattr(stream, "unconsumed_tail", b"")  # zlib's; the others keep it
            if not fed and len(whole) == before and not stream.eof:
                fed = file.read(_FED)
                if not fed:
                    raise EOFError("it is truncated")
        fed = stream.unused_data.lstrip(b"\0") or file.read(_FED).lstrip(b"\0")  # padding
    return bytes(whole)


def _only_member(data: bytes, most: int) -> bytes:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            if len(members) != 1:
                raise RefusedPickleError(
                    f"it is a zip file of {len(members)} files: unpack it and name the pickle"
                )
            with archive.open(members[0]) as file:
                whole = file.read(most + 1)
    except RefusedPickleError:
        raise
    except (
        *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, EOFError),
        *(ValueError, RuntimeError),  # encrypted, or in an odd method
    ) as error:
        raise RefusedPickleError(f"it is a zip file that cannot be read: {error}") from error
    _check_size(len(whole), most)
    return whole


def _check_size(size: int, most: int) -> None:
    if size > most:
        raise RefusedPickleError(
            f"it would unpack to more than {most >> 20} MiB: if you trust it, unpack it yourself"
        )
