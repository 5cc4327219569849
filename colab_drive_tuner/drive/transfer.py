"""Verified uploads and downloads, resumed after an interruption, in constant memory.

Small content is uploaded in one request, large content in a session; it is sent again if it arrived
altered. Google's client only builds the first request. Its media classes neither rewind a stream
after a 503 nor support a deadline, and draw multipart boundaries from the global `random`, so that
a background upload would affect training. Its download class holds 100 MiB in memory and verifies
no checksum.
"""

import hashlib
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, BinaryIO

from colab_drive_tuner.drive.file import DriveFile
from colab_drive_tuner.drive.requests.calls import ALL_DRIVES, WITH_FIELDS, Calls, checked_id
from colab_drive_tuner.drive.requests.retry_and_refusal import TryAgainError
from colab_drive_tuner.drive.requests.transport import Answer, Request, same_origin
from colab_drive_tuner.drive.source import Source, Window
from colab_drive_tuner.errors import ChecksumError, StoreError
from colab_drive_tuner.progress_bars import Progress

SMALL = 5_000_000
"""Maximum size in bytes for an upload in one request."""
SESSION_OVER = frozenset(range(400, 500)) - {401, 403, 408, 409, 429}
"""Statuses after which a session is unusable; others concern the file or are temporary."""
PROGRESS_BYTES = 256 * 1024
"""Bytes that count as progress: a server that sends fewer within the patience is stuck."""
ATTEMPTS = 4
"""Number of downloads of a file whose checksum does not match."""


def create_content(
    calls: Calls, body: Mapping[str, Any], source: Source, progress: Progress | None
) -> DriveFile:
    """Create a file described by `body`; not `verified` yet."""
    mime_type = body["mimeType"]
    request = calls.files.create(body=body, media_body=_media(mime_type), **WITH_FIELDS)
    what = f"the upload of {body['name']!r}"
    return _Upload(calls, request, mime_type, what, source, progress).run()


def replace_content(calls: Calls, file_id: str, source: Source, mime_type: str) -> DriveFile:
    """Replace a file's content; not `verified` yet."""
    request = calls.files.update(
        fileId=checked_id(file_id), body={}, media_body=_media(mime_type), **WITH_FIELDS
    )
    return _Upload(calls, request, mime_type, f"new content for the file {file_id}", source).run()


def verified(calls: Calls, file: DriveFile, source: Source) -> DriveFile:
    """Return the file if Drive reports the right checksum; upload it once again if it does not."""
    if not source.matches(file):
        # Perhaps the description was corrupted in transit, and not the content.
        file = calls.get(file.id)
    if not source.matches(file):
        file = replace_content(calls, file.id, source, file.mime_type)
    if source.matches(file):
        return file
    raise ChecksumError(
        f"What Drive stored as {file.name!r} ({file.id}) is not what was sent: its checksum is "
        f"{file.sha256} instead of {source.sha256}. Upload it again."
    )


def _media(mime_type: str) -> Any:
    """Return a `media_body` for which Google's client builds the start of an upload session."""
    from googleapiclient.http import MediaIoBaseUpload

    return MediaIoBaseUpload(BytesIO(), mime_type, resumable=True)


@dataclass
class _Upload:
    """One upload: in one request, or in a session, with the offset that Drive has acknowledged."""

    calls: Calls
    request: Request
    """The request that opens an upload session, built by Google's client."""
    mime_type: str
    what: str
    source: Source
    progress: Progress | None = None
    session_url: str | None = field(default=None, repr=False)
    offset: int = 0
    offset_known: bool = True
    """Whether `offset` is Drive's; otherwise it must be requested after an interruption."""

    def run(self) -> DriveFile:
        """Upload the source and return the file.

        The policy's patience starts again with every part that Drive acknowledges.
        """
        policy = self.calls.policy
        if self.source.size <= SMALL:
            whole = self.source.read_at(0, self.source.size)
            file = policy.run(lambda: self._send_whole(whole), self.what)
            self._report_progress(len(whole))
            return file
        while True:
            finished = policy.run(self._step, self.what)
            if finished is not None:
                self._report_progress(self.offset)
                return finished

    def _send_whole(self, content: bytes) -> DriveFile:
        boundary, metadata = secrets.token_hex(16), self.request.body
        body = b"".join(
            (
                f"--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n".encode(),
                metadata if isinstance(metadata, bytes) else b"{}",
                f"\r\n--{boundary}\r\nContent-Type: {self.mime_type}\r\n\r\n".encode(),
                content,
                f"\r\n--{boundary}--\r\n".encode(),
            )
        )
        request = self.request.with_changes(
            url=self.request.url.replace("uploadType=resumable", "uploadType=multipart"),
            headers={"content-type": f"multipart/related; boundary={boundary}"},
            body=body,
        )
        return self.calls.transport.send(request, self.what).read(DriveFile.from_json)

    def _step(self) -> DriveFile | None:
        """Make one request; return the file if it is complete, None if there was progress."""
        if self.session_url is None:
            self.session_url = self._open_session()
            self.offset, self.offset_known = 0, True
        before = self.offset
        if not self.offset_known:
            file = self._request_offset()
            if file is not None or self.offset > before:
                return file
            before = self.offset
        window = self.source.window(self.offset, self._report_progress)
        self.offset_known = False
        if len(window):
            file = self._put(window, f"bytes {window.start}-{window.end - 1}/{self.source.size}")
        else:
            file = self._request_offset()
        if file is None and self.offset <= before:
            raise TryAgainError("it accepted none of the sent bytes")
        return file

    def _request_offset(self) -> DriveFile | None:
        return self._put(b"", f"bytes */{self.source.size}")

    def _open_session(self) -> str:
        headers = {
            "X-Upload-Content-Type": self.mime_type,
            "X-Upload-Content-Length": str(self.source.size),
        }
        request = self.request.with_changes(headers=headers)
        answer = self.calls.transport.send(request, self.what)
        link = answer.headers.get("Location", "")
        if not same_origin(link, self.request.url):
            raise TryAgainError("it opened no upload session")
        return link

    def _put(self, body: bytes | Window, span: str) -> DriveFile | None:
        assert self.session_url is not None  # noqa: S101  # opened by _step
        headers = {"Content-Range": span, "Content-Length": str(len(body))}
        request = Request("PUT", self.session_url, headers, body, secret=True)
        answer = self.calls.transport.send(request, self.what, accept={308, *SESSION_OVER})
        if answer.status == 308:
            self.offset, self.offset_known = self._acknowledged(answer), True
            return None
        if answer.status in SESSION_OVER:
            # The file may exist all the same; then its reserved id is refused as taken.
            self.session_url = None
            raise TryAgainError(f"it ended the upload session with {answer.status}")
        self.offset = self.source.size
        return answer.read(DriveFile.from_json)

    def _acknowledged(self, answer: Answer) -> int:
        received_range = answer.headers.get("Range", "")
        if not received_range:
            return 0
        end = received_range.rpartition("-")[2]
        if not end.isdecimal():
            raise TryAgainError("it did not report how much has arrived")
        if int(end) >= self.source.size:
            raise StoreError(
                f"Google Drive acknowledged more of {self.what} than was sent; try again."
            )
        return int(end) + 1

    def _report_progress(self, position: int) -> None:
        if self.progress is not None:
            self.progress(position, self.source.size)


def download(calls: Calls, file_id: str, sink: BinaryIO, progress: Progress | None = None) -> None:
    """Write a file's content to `sink`, an empty seekable stream.

    Interrupted downloads are resumed. Raises `ChecksumError` if the complete content has the wrong
    checksum in all attempts.
    """
    request = calls.files.get_media(fileId=checked_id(file_id), **ALL_DRIVES)
    wrong = ""
    # Its description is read each time, because the file may be replaced during the download.
    for _ in range(ATTEMPTS):
        file = calls.get(file_id)
        fetch = _Fetch(calls, request, file, sink, progress)
        fetch.run()
        wrong = fetch.mismatch()
        if not wrong:
            return
    raise ChecksumError(
        f"The bytes of {file.name!r} ({file.id}) arrived altered, {ATTEMPTS} times: {wrong}. Try "
        "again; if it stays so, the copy in Drive is not what was uploaded."
    )


@dataclass
class _Fetch:
    """One download of a file's whole content."""

    calls: Calls
    request: Request
    file: DriveFile
    sink: BinaryIO
    progress: Progress | None

    def __post_init__(self) -> None:
        self._what = f"a download of {self.file.name!r}"
        self._start_again()

    def _start_again(self) -> None:
        self.sink.seek(0)
        self.sink.truncate()
        self._received = 0
        # Old files have no SHA-256.
        old = self.file.sha256 is None
        self._hash = hashlib.md5(usedforsecurity=False) if old else hashlib.sha256()

    def run(self) -> None:
        """Download until the size that Drive reports is reached."""
        while not self.calls.policy.run(self._attempt, self._what):
            pass

    def mismatch(self) -> str:
        """Return what is wrong with the received bytes; empty if nothing is."""
        if self._received != self.file.size:
            return f"{self._received} bytes instead of {self.file.size}"
        expected = self.file.sha256 or self.file.md5
        found = self._hash.hexdigest()
        if expected is not None and found != expected:
            return f"their checksum is {found} instead of {expected}"
        return ""

    def _attempt(self) -> bool:
        """Return True when complete, False after an interruption with enough progress to resume."""
        before = self._received
        if before and before == self.file.size:
            return True
        headers = {"accept-encoding": "identity"}
        if before:
            headers["range"] = f"bytes={before}-"
        try:
            request = self.request.with_changes(headers=headers)
            with self.calls.transport.download(request, self._what) as (answer, blocks):
                if answer.status_code == 416:
                    return True  # the file became shorter, as `mismatch` reports
                span = answer.headers.get("Content-Range", "")
                continues = answer.status_code == 206 and span.startswith(f"bytes {before}-")
                if before and not continues:
                    self._start_again()
                self._receive(blocks)
        except TryAgainError:
            if self._received - before >= PROGRESS_BYTES:
                return False
            raise
        return True

    def _receive(self, blocks: Iterator[bytes]) -> None:
        marked, policy = self._received, self.calls.policy
        deadline = policy.clock() + policy.patience
        for block in blocks:
            self.sink.write(block)
            self._hash.update(block)
            self._received += len(block)
            if self.progress is not None:
                self.progress(self._received, self.file.size)
            if self._received > self.file.size:
                return
            if self._received - marked >= PROGRESS_BYTES:
                marked, deadline = self._received, policy.clock() + policy.patience
            elif policy.clock() > deadline:
                raise TryAgainError("the content came too slowly")
        if self._received < self.file.size:
            raise TryAgainError("the content was cut off")
