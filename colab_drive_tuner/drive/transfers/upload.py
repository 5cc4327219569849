"""Uploads to Drive: small in one request, large in a resumable session that survives breaks.

Constant memory whatever the size. Google's client builds the request that begins either way. The
loop over the resumable protocol is ours because its media classes neither rewind a stream after a
503 nor can be given a deadline; the multipart body is ours because its boundaries are drawn from
the global `random`, where an upload in the background would change what training draws next.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from colab_drive_tuner.drive.file import DriveFile
from colab_drive_tuner.drive.requests.calls import Calls
from colab_drive_tuner.drive.requests.retry import TryAgainError
from colab_drive_tuner.drive.requests.transport import Answer, Request, Transport, same_origin
from colab_drive_tuner.drive.transfers.source import Source, Window
from colab_drive_tuner.errors import StoreError

SESSION_OVER = frozenset(range(400, 500)) - {401, 403, 408, 409, 429}
"""Answers after which a session is of no use; the rest is about the file, or passes."""

Progress = Callable[[int, int | None], None]
"""Called with the bytes that have been transferred, and those there are in all where known."""


@dataclass(frozen=True)
class Target:
    """Which call takes the content: a creation or an update."""

    session: Request
    """As Google's client builds it: the beginning of an upload session."""
    mime_type: str
    what: str


def upload(
    calls: Calls, target: Target, source: Source, progress: Progress | None = None
) -> DriveFile:
    """Send all of `source`: one request up to 5 MB, else a session; return Drive's description.

    The policy's patience starts anew with every piece that Drive has acknowledged.
    """
    whole = source.all()
    if whole is None:
        return _Session(calls, target, source, progress).run()
    file = calls.policy.run(lambda: _send_whole(calls.transport, target, whole), target.what)
    if progress is not None:
        progress(len(whole), len(whole))
    return file


def _send_whole(transport: Transport, target: Target, content: bytes) -> DriveFile:
    boundary, metadata = secrets.token_hex(16), target.session.body
    body = b"".join(
        (
            f"--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n".encode(),
            metadata if isinstance(metadata, bytes) else b"{}",
            f"\r\n--{boundary}\r\nContent-Type: {target.mime_type}\r\n\r\n".encode(),
            content,
            f"\r\n--{boundary}--\r\n".encode(),
        )
    )
    request = target.session.having(
        url=target.session.url.replace("uploadType=resumable", "uploadType=multipart"),
        headers={"content-type": f"multipart/related; boundary={boundary}"},
        body=body,
    )
    answer = transport.send(request, target.what)
    return answer.read(DriveFile.from_json)


class _Session:
    """One resumable upload: what Drive has acknowledged, and how to go on after a break."""

    def __init__(
        self, calls: Calls, target: Target, source: Source, progress: Progress | None
    ) -> None:
        self._transport, self._policy, self._target = calls.transport, calls.policy, target
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
        headers = {"X-Upload-Content-Type": self._target.mime_type}
        if self._source.size is not None:
            headers["X-Upload-Content-Length"] = str(self._source.size)
        session = self._target.session
        answer = self._transport.send(session.having(headers=headers), self._target.what)
        link = answer.headers.get("Location", "")
        if not same_origin(link, session.url):
            raise TryAgainError("it opened no upload session")
        return link

    def _put(self, body: bytes | Window, span: str) -> DriveFile | None:
        assert self._link is not None  # noqa: S101  # _step opens the session first
        headers = {"Content-Range": span, "Content-Length": str(len(body))}
        request = Request("PUT", self._link, headers, body, secret=True)
        answer = self._transport.send(request, self._target.what, accept={308, *SESSION_OVER})
        if answer.status == 308:
            self._offset = self._acknowledged(answer)
            self._sure = True
            return None
        if answer.status in SESSION_OVER:
            # The session is gone. Its file may exist all the same: the reserved id will tell.
            self._link = None
            if not self._source.can_restart:
                raise StoreError(
                    f"Google Drive ended {self._target.what} early ({answer.status}), and its "
                    "source cannot be read again; upload it from a file."
                )
            raise TryAgainError(f"it ended the upload session with {answer.status}")
        self._offset = self._source.size or 0
        return answer.read(DriveFile.from_json)

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
