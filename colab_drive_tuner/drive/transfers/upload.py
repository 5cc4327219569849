"""Uploads to Drive: small content in one request, large content in a resumable session.

Memory is constant. Google's client only builds the first request. Its media classes neither rewind
a stream after a 503 nor support a deadline, and draw multipart boundaries from the global `random`,
so that a background upload would affect training.
"""

import secrets
from dataclasses import dataclass

from colab_drive_tuner.drive.file import DriveFile
from colab_drive_tuner.drive.requests.calls import Calls
from colab_drive_tuner.drive.requests.retry_policy import TryAgainError
from colab_drive_tuner.drive.requests.transport import Answer, Request, Transport, same_origin
from colab_drive_tuner.drive.transfers.source import Source, Window
from colab_drive_tuner.errors import StoreError
from colab_drive_tuner.progress_line import Progress

SESSION_OVER = frozenset(range(400, 500)) - {401, 403, 408, 409, 429}
"""Statuses after which a session is unusable; others concern the file or are temporary."""


@dataclass(frozen=True)
class Target:
    """The call that receives the content: a creation or an update."""

    session_request: Request
    """The request that opens an upload session, built by Google's client."""
    mime_type: str
    what: str


def upload(
    calls: Calls, target: Target, source: Source, progress: Progress | None = None
) -> DriveFile:
    """Upload the source, in one request up to 5 MB, else in a session; return the file.

    The policy's patience starts again with every part that Drive acknowledges.
    """
    whole = source.small_content()
    if whole is None:
        return _Session(calls, target, source, progress).run()
    file = calls.policy.run(lambda: _send_whole(calls.transport, target, whole), target.what)
    if progress is not None:
        progress(len(whole), len(whole))
    return file


def _send_whole(transport: Transport, target: Target, content: bytes) -> DriveFile:
    boundary, metadata = secrets.token_hex(16), target.session_request.body
    body = b"".join(
        (
            f"--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n".encode(),
            metadata if isinstance(metadata, bytes) else b"{}",
            f"\r\n--{boundary}\r\nContent-Type: {target.mime_type}\r\n\r\n".encode(),
            content,
            f"\r\n--{boundary}--\r\n".encode(),
        )
    )
    request = target.session_request.with_changes(
        url=target.session_request.url.replace("uploadType=resumable", "uploadType=multipart"),
        headers={"content-type": f"multipart/related; boundary={boundary}"},
        body=body,
    )
    answer = transport.send(request, target.what)
    return answer.read(DriveFile.from_json)


class _Session:
    """A resumable upload: the offset that Drive has acknowledged, and the steps after it."""

    def __init__(
        self, calls: Calls, target: Target, source: Source, progress: Progress | None
    ) -> None:
        self._transport, self._policy, self._target = calls.transport, calls.policy, target
        self._source, self._progress = source, progress
        self._session_url: str | None = None
        self._offset = 0
        self._offset_known = True
        """Whether `_offset` is Drive's; otherwise it must be requested after an interruption."""

    def run(self) -> DriveFile:
        while True:
            file = self._policy.run(self._step, self._target.what)
            if file is not None:
                self._report_progress(self._offset)
                return file

    def _step(self) -> DriveFile | None:
        """Make one request; return the file if it is complete, None if there was progress."""
        if self._session_url is None:
            self._session_url = self._open_session()
            self._offset, self._offset_known = 0, True
        before = self._offset
        if not self._offset_known:
            # An empty body requests the offset.
            file = self._put(b"", f"bytes */{self._total()}")
            if file is not None or self._offset > before:
                return file
            before = self._offset
        window = self._source.window(self._offset, self._report_progress)
        self._offset_known = False
        if len(window):
            file = self._put(window, f"bytes {window.start}-{window.end - 1}/{self._total()}")
        else:
            file = self._put(b"", f"bytes */{self._total()}")
        if file is None and self._offset <= before:
            raise TryAgainError("it accepted none of the sent bytes")
        if self._offset > window.end:
            raise StoreError(
                f"Google Drive acknowledged more of {self._target.what} than was sent; try again."
            )
        return file

    def _total(self) -> str:
        return "*" if self._source.size is None else str(self._source.size)

    def _open_session(self) -> str:
        headers = {"X-Upload-Content-Type": self._target.mime_type}
        if self._source.size is not None:
            headers["X-Upload-Content-Length"] = str(self._source.size)
        session = self._target.session_request
        answer = self._transport.send(session.with_changes(headers=headers), self._target.what)
        link = answer.headers.get("Location", "")
        if not same_origin(link, session.url):
            raise TryAgainError("it opened no upload session")
        return link

    def _put(self, body: bytes | Window, span: str) -> DriveFile | None:
        assert self._session_url is not None  # noqa: S101  # opened by _step
        headers = {"Content-Range": span, "Content-Length": str(len(body))}
        request = Request("PUT", self._session_url, headers, body, secret=True)
        answer = self._transport.send(request, self._target.what, accept={308, *SESSION_OVER})
        if answer.status == 308:
            self._offset = self._acknowledged(answer)
            self._offset_known = True
            return None
        if answer.status in SESSION_OVER:
            # The file may exist all the same; then its reserved id is refused as taken.
            self._session_url = None
            if not self._source.can_restart:
                raise StoreError(
                    f"Google Drive ended {self._target.what} early ({answer.status}), and its "
                    "source cannot be read again; upload it from a file."
                )
            raise TryAgainError(f"it ended the upload session with {answer.status}")
        self._offset = self._source.size or 0
        return answer.read(DriveFile.from_json)

    def _acknowledged(self, answer: Answer) -> int:
        received_range = answer.headers.get("Range", "")
        if not received_range:
            return 0
        end = received_range.rpartition("-")[2]
        if not end.isdecimal():
            raise TryAgainError("it did not report how much has arrived")
        return int(end) + 1

    def _report_progress(self, position: int) -> None:
        if self._progress is not None:
            self._progress(position, self._source.size)
