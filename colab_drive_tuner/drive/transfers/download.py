"""Downloads from Drive: resumed after a break, verified, and only then given the final name.

The loop is ours: the download class of Google's client holds 100 MiB in memory, and checks no sum.
"""

import hashlib
from typing import BinaryIO

from colab_drive_tuner.drive.file import DriveFile
from colab_drive_tuner.drive.requests.calls import EVERYWHERE, Calls, checked
from colab_drive_tuner.drive.requests.retry import TryAgainError
from colab_drive_tuner.drive.requests.transport import Download, Request
from colab_drive_tuner.drive.transfers.upload import Progress
from colab_drive_tuner.errors import ChecksumError

ENOUGH = 256 * 1024
"""Bytes that count as progress: a server that sends less in the whole patience is stuck."""
TRIES = 4
"""How often a content is fetched whose sum is not the one that Drive names."""


def download(calls: Calls, file_id: str, sink: BinaryIO, progress: Progress | None = None) -> None:
    """Write a file's whole content to `sink`, an empty seekable stream.

    After a break it goes on behind what has arrived. Raises `ChecksumError` if, again and again,
    all bytes came and their sum is not the one that Drive names.
    """
    request = calls.files.get_media(fileId=checked(file_id), **EVERYWHERE)
    wrong = ""
    # Described each time, too: the file may have been replaced while it was fetched.
    for _ in range(TRIES):
        file = calls.get(file_id)
        fetch = _Fetch(calls, request, file, sink, progress)
        fetch.run()
        wrong = fetch.mismatch()
        if not wrong:
            return
    raise ChecksumError(
        f"The bytes of {file.name!r} ({file.id}) arrived altered, {TRIES} times: {wrong}. Try "
        "again; if it stays so, the copy in Drive is not what was uploaded."
    )


class _Fetch:
    def __init__(
        self,
        calls: Calls,
        request: Request,
        file: DriveFile,
        sink: BinaryIO,
        progress: Progress | None,
    ) -> None:
        self._transport, self._policy, self._request = calls.transport, calls.policy, request
        self._file, self._sink, self._progress = file, sink, progress
        self._what = f"a download of {file.name!r}"
        self._start_again()

    def _start_again(self) -> None:
        self._sink.seek(0)
        self._sink.truncate()
        self._have = 0
        # Files of long ago have no sha256.
        old = self._file.sha256 is None
        self._sum = hashlib.md5(usedforsecurity=False) if old else hashlib.sha256()

    def run(self) -> None:
        """Fetch until as many bytes are there as Drive says that the file has."""
        while not self._policy.run(self._attempt, self._what):
            pass

    def mismatch(self) -> str:
        """What is wrong with the bytes that came; empty if nothing is."""
        if self._have != self._file.size:
            return f"{self._have} bytes instead of {self._file.size}"
        expected = self._file.sha256 or self._file.md5
        found = self._sum.hexdigest()
        if expected is not None and found != expected:
            return f"their sum is {found} instead of {expected}"
        return ""

    def _attempt(self) -> bool:
        """True when all is there; False when a break came after enough progress to begin anew."""
        before = self._have
        if before and before == self._file.size:
            return True
        headers = {"accept-encoding": "identity"}
        if before:
            headers["range"] = f"bytes={before}-"
        try:
            with self._transport.download(
                self._request.having(headers=headers), self._what
            ) as answer:
                if before and not self._continues(answer, before):
                    self._start_again()
                self._take(answer)
        except TryAgainError:
            if self._have - before >= ENOUGH:
                return False
            raise
        return True

    @staticmethod
    def _continues(answer: Download, at: int) -> bool:
        said = answer.headers.get("Content-Range", "")
        return answer.status == 206 and said.startswith(f"bytes {at}-")

    def _take(self, answer: Download) -> None:
        marked = self._have
        deadline = self._policy.clock() + self._policy.patience
        for block in answer.blocks:
            self._sink.write(block)
            self._sum.update(block)
            self._have += len(block)
            if self._progress is not None:
                self._progress(self._have, self._file.size)
            if self._have > self._file.size:
                return
            if self._have - marked >= ENOUGH:
                marked, deadline = self._have, self._policy.clock() + self._policy.patience
            elif self._policy.clock() > deadline:
                raise TryAgainError("the content came too slowly")
        if self._have < self._file.size:
            raise TryAgainError("the content was cut off")
