"""Sources of uploads: bytes, a file or a stream, in pieces, with the checksum on the way.

A file is read again after a break; a stream that cannot be rewound is held piece by piece until
Drive has acknowledged it. Either way memory does not depend on the size.
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
"""Bytes up to which Drive takes content in one request."""
WINDOW = 1024 * 1024 * 1024
"""Bytes of one request of a session, read from the source as they leave: memory needs no less."""
BUFFER = 8 * 1024 * 1024
"""The same for a source that cannot be read twice: it is held until it has been acknowledged."""


class Source:
    """What is to be uploaded: read once from front to back, or again from a known offset."""

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
        self._held = b""
        self._held_at = 0

    @classmethod
    @contextmanager
    def opened(cls, content: bytes | Path | BinaryIO) -> Iterator["Source"]:
        """A source of bytes, of a file, or of what is left of a stream."""
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
        """Read what nobody has read yet, so that `sha256` and `size` are the whole's."""
        while self.size is None:
            self._fill(self._held_at + len(self._held))
        while self.seekable and self._hashed < self.size:
            self.read_at(self._hashed, BUFFER)

    def is_held_by(self, file: DriveFile) -> bool:
        """Whether Drive says that the file has exactly these bytes; for a finished source."""
        return file.size == self.size and file.sha256 in {None, self.sha256}

    @property
    def can_restart(self) -> bool:
        """Whether the first byte can still be read."""
        return self.seekable or self._held_at == 0

    @property
    def sha256(self) -> str:
        """The sum of everything that has been read so far."""
        return self._hash.hexdigest()

    def window(self, offset: int, tick: Callable[[int], None]) -> "Window":
        """The next bytes from `offset` on; where the source ends in it, `size` is known after."""
        if self.size is not None and self.seekable:
            return Window(self, offset, min(WINDOW, self.size - offset), tick)
        self._fill(offset)
        return Window(self, offset, len(self._held), tick)

    def read_at(self, offset: int, count: int) -> bytes:
        """Read `count` bytes that lie at `offset`, adding to the sum what is new."""
        if self.seekable:
            self._stream.seek(self._base + offset)
            data = self._stream.read(count)
            if not data and count:
                raise UsageError("The file became shorter while it was uploaded; upload it again.")
            self._learn(offset, data)
            return data
        start = offset - self._held_at
        return self._held[start : start + count]

    def all(self) -> bytes | None:
        """The whole content where it is small enough for one request, else None."""
        if self.seekable:
            small = self.size is not None and self.size <= SMALL
            return self.read_at(0, self.size) if small and self.size else b"" if small else None
        self._fill(0)
        return self._held if self.size is not None and self.size <= SMALL else None

    def _fill(self, offset: int) -> None:
        """Hold the bytes from `offset` on, and read on until the buffer is full."""
        if not self._held_at <= offset <= self._held_at + len(self._held):
            raise StoreError(
                "Google Drive lost a part of the upload that it had acknowledged; upload it again."
            )
        self._held = self._held[offset - self._held_at :]
        self._held_at = offset
        parts, count = [self._held], len(self._held)
        while count < BUFFER and self.size is None:
            data = self._stream.read(BUFFER - count)
            if data:
                self._learn(offset + count, data)
                parts.append(data)
                count += len(data)
            else:
                self.size = offset + count
        self._held = b"".join(parts)

    def _learn(self, offset: int, data: bytes) -> None:
        fresh = offset + len(data) - self._hashed
        if fresh > 0:
            self._hash.update(memoryview(data)[len(data) - fresh :])
            self._hashed += fresh


def _is_binary_stream(content: object) -> bool:
    return hasattr(content, "seekable") and not isinstance(content, TextIOBase)


class Window:
    """A stretch of a source as the body of one request."""

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
        """Start again from the first byte."""
        self._position = self.start

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes, at most `size`."""
        left = self.end - self._position
        data = self._source.read_at(self._position, left if size < 0 else min(size, left))
        self._position += len(data)
        self._tick(self._position)
        return data
