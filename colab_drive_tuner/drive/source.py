"""Sources of uploads (bytes, files and streams), read in windows, so that memory is constant."""

import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO, TextIOBase
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO

from colab_drive_tuner.credentials.http_session import BLOCK
from colab_drive_tuner.drive.file import DriveFile
from colab_drive_tuner.errors import UsageError

WINDOW = 1024 * 1024 * 1024
"""Bytes per request of an upload session."""


class Source:
    """The rest of a stream as content to upload, readable from any offset."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._base = stream, stream.tell()
        digest, self.size = hashlib.sha256(), 0
        while block := self._read(self.size, 1 << 20):
            digest.update(block)
            self.size += len(block)
        self.sha256 = digest.hexdigest()

    @classmethod
    @contextmanager
    def opened(cls, content: bytes | Path | BinaryIO) -> Iterator["Source"]:
        """Open a source of bytes, of a file, or of the rest of a stream."""
        if isinstance(content, bytes):
            yield cls(BytesIO(content))
        elif isinstance(content, Path):
            with content.open("rb") as stream:
                yield cls(stream)
        elif not _is_binary_stream(content):
            raise UsageError(
                "What is uploaded must be bytes, a pathlib.Path or a stream in binary mode, not "
                f"{type(content).__name__}."
            )
        elif content.seekable():
            yield cls(content)
        else:
            with TemporaryFile() as copy:
                shutil.copyfileobj(content, copy)
                copy.seek(0)
                yield cls(copy)

    def matches(self, file: DriveFile) -> bool:
        """Return whether Drive reports exactly these bytes for the file."""
        return file.size == self.size and file.sha256 in {None, self.sha256}

    def window(self, offset: int, tick: Callable[[int], None]) -> "Window":
        """Return the window at `offset`."""
        return Window(self, offset, min(offset + WINDOW, self.size), tick)

    def read_at(self, offset: int, count: int) -> bytes:
        """Read up to `count` bytes at `offset`."""
        data = self._read(offset, count)
        if not data and count:
            raise UsageError("The file became shorter while it was uploaded; upload it again.")
        return data

    def _read(self, offset: int, count: int) -> bytes:
        try:
            self._stream.seek(self._base + offset)
            return self._stream.read(count)
        except OSError as error:
            # Any OSError that is raised within a request counts as one of the network.
            raise UsageError(f"What is uploaded cannot be read: {error}") from error


def _is_binary_stream(content: object) -> bool:
    return hasattr(content, "seekable") and not isinstance(content, TextIOBase)


class Window:
    """A part of a source, as the body of one request."""

    def __init__(self, source: Source, start: int, end: int, tick: Callable[[int], None]) -> None:
        self.start, self.end = start, end
        self._source, self._tick, self._position = source, tick, start

    def __len__(self) -> int:
        return self.end - self.start

    def __iter__(self) -> Iterator[bytes]:
        while block := self.read(BLOCK):
            yield block

    def rewind(self) -> None:
        """Go back to the first byte."""
        self._position = self.start

    def read(self, size: int = -1, /) -> bytes:
        """Return the next bytes, at most `size`."""
        left = self.end - self._position
        data = self._source.read_at(self._position, left if size < 0 else min(size, left))
        self._position += len(data)
        self._tick(self._position)
        return data
