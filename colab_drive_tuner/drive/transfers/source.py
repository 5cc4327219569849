"""Sources of uploads (bytes, files and streams), read in windows while their checksum is computed.

A file is read again after an interruption; a stream that cannot be rewound is buffered until Drive
has acknowledged it. Memory does not depend on the size.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO, TextIOBase
from pathlib import Path
from typing import BinaryIO

from colab_drive_tuner.credentials.http_session import BLOCK
from colab_drive_tuner.drive.file import DriveFile
from colab_drive_tuner.errors import StoreError, UsageError

SMALL = 5_000_000
"""Maximum size in bytes for an upload in one request."""
WINDOW = 1024 * 1024 * 1024
"""Bytes per request of an upload session, for a source that is read while it is sent."""
BUFFER = 8 * 1024 * 1024
"""Bytes per request for a source that cannot be read again, which must be buffered."""


class Source:
    """Content to upload, read once from start to end, or again from an earlier offset."""

    def __init__(self, content: bytes | BinaryIO) -> None:
        self._stream: BinaryIO = BytesIO(content) if isinstance(content, bytes) else content
        self.seekable = self._stream.seekable()
        self._base = self._stream.tell() if self.seekable else 0
        self.size: int | None = None
        if self.seekable:
            self.size = self._stream.seek(0, 2) - self._base
            self._stream.seek(self._base)
        self._hash = hashlib.sha256()
        self._hashed = 0
        self._buffer = b""
        self._buffer_start = 0

    @classmethod
    @contextmanager
    def opened(cls, content: bytes | Path | BinaryIO) -> Iterator["Source"]:
        """Open a source of bytes, of a file, or of the rest of a stream."""
        if isinstance(content, Path):
            with content.open("rb") as stream:
                yield cls(stream)
        elif isinstance(content, bytes) or _is_binary_stream(content):
            yield cls(content)
        else:
            raise UsageError(
                "What is uploaded must be bytes, a pathlib.Path or a stream in binary mode, not "
                f"{type(content).__name__}."
            )

    def finish(self) -> None:
        """Read the rest, so that `sha256` and `size` are those of the whole content."""
        while self.size is None:
            self._fill_buffer(self._buffer_start + len(self._buffer))
        while self.seekable and self._hashed < self.size:
            self.read_at(self._hashed, BUFFER)

    def matches(self, file: DriveFile) -> bool:
        """Return whether Drive reports exactly these bytes for the file; requires `finish`."""
        return file.size == self.size and file.sha256 in {None, self.sha256}

    @property
    def can_restart(self) -> bool:
        """Whether the first byte can still be read."""
        return self.seekable or self._buffer_start == 0

    @property
    def sha256(self) -> str:
        """The checksum of everything read so far."""
        return self._hash.hexdigest()

    def window(self, offset: int, tick: Callable[[int], None]) -> "Window":
        """Return the window at `offset`; afterwards `size` is known if the source ends in it."""
        if self.size is not None and self.seekable:
            return Window(self, offset, min(WINDOW, self.size - offset), tick)
        self._fill_buffer(offset)
        return Window(self, offset, len(self._buffer), tick)

    def read_at(self, offset: int, count: int) -> bytes:
        """Read `count` bytes at `offset`, and add new ones to the checksum."""
        if self.seekable:
            try:
                self._stream.seek(self._base + offset)
                data = self._stream.read(count)
            except OSError as error:
                # Any OSError that is raised within a request counts as one of the network.
                raise UsageError(f"What is uploaded cannot be read: {error}") from error
            if not data and count:
                raise UsageError("The file became shorter while it was uploaded; upload it again.")
            self._update_hash(offset, data)
            return data
        start = offset - self._buffer_start
        return self._buffer[start : start + count]

    def small_content(self) -> bytes | None:
        """Return the whole content if it is small enough for one request, otherwise None."""
        if not self.seekable:
            self._fill_buffer(0)
        if self.size is None or self.size > SMALL:
            return None
        return self.read_at(0, self.size)

    def _fill_buffer(self, offset: int) -> None:
        """Drop buffered bytes before `offset`, and read until the buffer is full."""
        if not self._buffer_start <= offset <= self._buffer_start + len(self._buffer):
            raise StoreError(
                "Google Drive lost a part of the upload that it had acknowledged; upload it again."
            )
        self._buffer = self._buffer[offset - self._buffer_start :]
        self._buffer_start = offset
        parts, count = [self._buffer], len(self._buffer)
        while count < BUFFER and self.size is None:
            data = self._stream.read(BUFFER - count)
            if data:
                self._update_hash(offset + count, data)
                parts.append(data)
                count += len(data)
            else:
                self.size = offset + count
        self._buffer = b"".join(parts)

    def _update_hash(self, offset: int, data: bytes) -> None:
        fresh = offset + len(data) - self._hashed
        if fresh > 0:
            self._hash.update(memoryview(data)[len(data) - fresh :])
            self._hashed += fresh


def _is_binary_stream(content: object) -> bool:
    return hasattr(content, "seekable") and not isinstance(content, TextIOBase)


class Window:
    """A part of a source, as the body of one request."""

    def __init__(
        self, source: Source, start: int, length: int, tick: Callable[[int], None]
    ) -> None:
        self.start, self.end = start, start + length
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
