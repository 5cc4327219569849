"""Downloads from Drive: resumed after an interruption, and verified.

The download class of Google's client holds 100 MiB in memory and verifies no checksum.
"""

import hashlib
from dataclasses import dataclass
from typing import BinaryIO

from colab_drive_tuner.drive.file import DriveFile
from colab_drive_tuner.drive.requests.calls import ALL_DRIVES, Calls, checked_id
from colab_drive_tuner.drive.requests.retry_and_refusal import TryAgainError
from colab_drive_tuner.drive.requests.transport import Download, Request
from colab_drive_tuner.errors import ChecksumError
from colab_drive_tuner.progress_bars import Progress

PROGRESS_BYTES = 256 * 1024
"""Bytes that count as progress: a server that sends fewer within the patience is stuck."""
ATTEMPTS = 4
"""Number of downloads of a file whose checksum does not match."""


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
            with self.calls.transport.download(request, self._what) as answer:
                if answer.status == 416:
                    return True  # the file became shorter, as `mismatch` reports
                if before and not self._continues(answer, before):
                    self._start_again()
                self._receive(answer)
        except TryAgainError:
            if self._received - before >= PROGRESS_BYTES:
                return False
            raise
        return True

    @staticmethod
    def _continues(answer: Download, at: int) -> bool:
        content_range = answer.headers.get("Content-Range", "")
        return answer.status == 206 and content_range.startswith(f"bytes {at}-")

    def _receive(self, answer: Download) -> None:
        marked, policy = self._received, self.calls.policy
        deadline = policy.clock() + policy.patience
        for block in answer.blocks:
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
