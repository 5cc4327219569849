"""Content to Drive: small in one request, large in a resumable session that survives breaks.

Constant memory whatever the size. The loop over the resumable protocol is ours because the media
classes of Google's client neither rewind a stream after a 503 nor can be given a deadline.
"""

import hashlib
import json
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from colab_drive_tuner.drive.file import FIELDS, DriveFile
from colab_drive_tuner.drive.retry import RetryPolicy, TryAgainError
from colab_drive_tuner.drive.transport import BLOCK, Answer, Transport
from colab_drive_tuner.errors import StoreError, UsageError

Progress = Callable[[int, int | None], None]
"""Called with the bytes that have been transferred, and those there are in all where known."""

SMALL = 5_000_000
"""Bytes up to which Drive takes content in one request."""
WINDOW = 32 * 1024 * 1024
"""Bytes of one request of a session, read from the source as they leave."""
BUFFER = 8 * 1024 * 1024
"""The same for a source that cannot be read twice: it is held until it has been acknowledged."""


@dataclass(frozen=True)
class Target:
    """Which call takes the content: a creation or an update, and what else it says."""

    method: str
    url: str
    metadata: Mapping[str, Any]
    mime_type: str
    what: str

    @property
    def params(self) -> dict[str, str]:
        """The parameters of either way of uploading."""
        return {"supportsAllDrives": "true", "fields": FIELDS}


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
        else:
            yield cls(content)

    def finish(self) -> int:
        """Read what nobody has read yet, so that `sha256` is the whole's, and return the size."""
        while self.size is None:
            self._fill(self._held_at + len(self._held))
        while self.seekable and self._hashed < self.size:
            self.read_at(self._hashed, BUFFER)
        return self.size

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


def upload(
    transport: Transport,
    policy: RetryPolicy,
    target: Target,
    source: Source,
    progress: Progress | None = None,
) -> DriveFile:
    """Send all of `source`: one request up to 5 MB, else a session; return Drive's description.

    The patience of `policy` starts anew with every piece that Drive has acknowledged.
    """
    whole = source.all()
    if whole is None:
        return _Session(transport, policy, target, source, progress).run()
    file = policy.run(lambda: _send_whole(transport, target, whole), target.what)
    if progress is not None:
        progress(len(whole), len(whole))
    return file


def _send_whole(transport: Transport, target: Target, content: bytes) -> DriveFile:
    boundary = secrets.token_hex(16)
    metadata = json.dumps(target.metadata).encode()
    body = b"".join(
        (
            f"--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n".encode(),
            metadata,
            f"\r\n--{boundary}\r\nContent-Type: {target.mime_type}\r\n\r\n".encode(),
            content,
            f"\r\n--{boundary}--\r\n".encode(),
        )
    )
    answer = transport.send(
        target.method,
        target.url,
        target.what,
        params={**target.params, "uploadType": "multipart"},
        headers={"Content-Type": f"multipart/related; boundary={boundary}"},
        body=body,
    )
    return DriveFile.from_json(answer.json())


class _Session:
    """One resumable upload: what Drive has acknowledged, and how to go on after a break."""

    def __init__(
        self,
        transport: Transport,
        policy: RetryPolicy,
        target: Target,
        source: Source,
        progress: Progress | None,
    ) -> None:
        self._transport, self._policy, self._target = transport, policy, target
        self._source, self._progress = source, progress
        self._link: str | None = None
        self._offset = 0
        self._sure = True
        """Whether `_offset` is what Drive has, or must be asked for after a break."""

    def run(self) -> DriveFile:
        while True:
            file = self._policy.run(self._step, self._target.what)
            if file is not None:
                self._tick(self._offset)
                return file

    def _step(self) -> DriveFile | None:
        """Do one thing; the file once it is complete, None when something was achieved."""
        if self._link is None:
            self._link = self._begin()
            self._offset, self._sure = 0, True
        before = self._offset
        if not self._sure:
            # An empty body: only the question how much has arrived.
            file = self._put(b"", f"bytes */{self._total()}")
            if file is not None or self._offset > before:
                return file
            before = self._offset
        window = self._source.window(self._offset, self._tick)
        self._sure = False
        if len(window):
            span = f"bytes {window.start}-{window.end - 1}/{self._total()}"
            file = self._put(window, span)
        else:
            file = self._put(b"", f"bytes */{self._total()}")
        if file is None and self._offset <= before:
            raise TryAgainError("it took none of the bytes that were sent")
        if self._offset > window.end:
            raise StoreError(
                f"Google Drive acknowledged more of {self._target.what} than was sent; try again."
            )
        return file

    def _total(self) -> str:
        return "*" if self._source.size is None else str(self._source.size)

    def _begin(self) -> str:
        headers = {
            "Content-Type": "application/json; charset=UTF-8",
            "X-Upload-Content-Type": self._target.mime_type,
        }
        if self._source.size is not None:
            headers["X-Upload-Content-Length"] = str(self._source.size)
        answer = self._transport.send(
            self._target.method,
            self._target.url,
            self._target.what,
            params={**self._target.params, "uploadType": "resumable"},
            headers=headers,
            body=json.dumps(self._target.metadata).encode(),
        )
        link = answer.headers.get("Location", "")
        if not _may_be_trusted(link, self._target.url):
            raise TryAgainError("it opened no upload session")
        return link

    def _put(self, body: bytes | Window, span: str) -> DriveFile | None:
        assert self._link is not None  # noqa: S101  # _step opens the session first
        answer = self._transport.send(
            "PUT",
            self._link,
            self._target.what,
            headers={"Content-Range": span, "Content-Length": str(len(body))},
            body=body,
            accept=(308, 400, 404, 410),
        )
        if answer.status == 308:
            self._offset = self._acknowledged(answer)
            self._sure = True
            return None
        if answer.status in {400, 404, 410}:
            # The session is gone. Its file may exist all the same: the reserved id will tell.
            self._link = None
            if not self._source.can_restart:
                raise StoreError(
                    f"The upload session of {self._target.what} ended early, and its source cannot "
                    "be read again; upload it from a file."
                )
            raise TryAgainError(f"it ended the upload session with {answer.status}")
        self._offset = self._source.size or 0
        return DriveFile.from_json(answer.json())

    def _acknowledged(self, answer: Answer) -> int:
        said = answer.headers.get("Range", "")
        if not said:
            return 0
        end = said.rpartition("-")[2]
        if not end.isdecimal():
            raise TryAgainError("it did not say how much has arrived")
        return int(end) + 1

    def _tick(self, position: int) -> None:
        if self._progress is not None:
            self._progress(position, self._source.size)


def _may_be_trusted(link: str, url: str) -> bool:
    """Whether our token may be sent to this address, which a server told us."""
    there, here = urlsplit(link), urlsplit(url)
    if there.scheme == "https" and here.scheme == "https":
        return (there.hostname or "").endswith(".googleapis.com")
    return (there.scheme, there.netloc) == (here.scheme, here.netloc)
