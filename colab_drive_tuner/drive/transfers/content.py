"""Content of files: sent and fetched with its checksum, and sent again where it arrived altered."""

from collections.abc import Mapping
from functools import partial
from typing import Any, BinaryIO

from colab_drive_tuner.drive.file import DriveFile
from colab_drive_tuner.drive.requests.calls import DESCRIBED, EVERYWHERE, Calls, checked
from colab_drive_tuner.drive.transfers.download import download
from colab_drive_tuner.drive.transfers.source import Source
from colab_drive_tuner.drive.transfers.upload import Progress, Target, media, upload
from colab_drive_tuner.errors import ChecksumError


class Content:
    """Uploads and downloads by one set of calls."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def create(
        self, body: Mapping[str, Any], source: Source, progress: Progress | None = None
    ) -> DriveFile:
        """A new file that `body` describes; not `verified` yet."""
        mime_type = body["mimeType"]
        request = self._calls.files.create(body=body, media_body=media(mime_type), **DESCRIBED)
        target = Target(request, mime_type, f"the upload of {body['name']!r}")
        return upload(self._calls.transport, self._calls.policy, target, source, progress)

    def replace(self, file_id: str, source: Source, mime_type: str) -> DriveFile:
        """The file with other content, verified."""
        return self.verified(self._update(file_id, source, mime_type), source)

    def verified(self, file: DriveFile, source: Source) -> DriveFile:
        """The file, once Drive names the sum of what was to be sent; sends it again if need be."""
        source.finish()
        if not source.is_held_by(file):
            # Perhaps the description was altered on its way, and not the content.
            file = self._calls.get(file.id)
        if not source.is_held_by(file) and source.can_restart:
            file = self._update(file.id, source, file.mime_type)
        if source.is_held_by(file):
            return file
        raise ChecksumError(
            f"What Drive stored as {file.name!r} ({file.id}) is not what was sent: its sum is "
            f"{file.sha256} instead of {source.sha256}. Upload it again."
        )

    def download(self, file_id: str, sink: BinaryIO, progress: Progress | None = None) -> None:
        """Write the file's content to `sink`, verified."""
        calls, describe = self._calls, partial(self._calls.get, file_id)
        request = calls.files.get_media(fileId=checked(file_id), **EVERYWHERE)
        download(calls.transport, calls.policy, request, describe, sink, progress=progress)

    def _update(self, file_id: str, source: Source, mime_type: str) -> DriveFile:
        request = self._calls.files.update(
            fileId=checked(file_id), body={}, media_body=media(mime_type), **DESCRIBED
        )
        target = Target(request, mime_type, f"new content for the file {file_id}")
        return upload(self._calls.transport, self._calls.policy, target, source)
