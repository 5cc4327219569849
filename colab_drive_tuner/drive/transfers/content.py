"""Verified uploads: content is sent with its checksum, and sent again if it arrived altered."""

from collections.abc import Mapping
from io import BytesIO
from typing import Any

from colab_drive_tuner.drive.file import DriveFile
from colab_drive_tuner.drive.requests.calls import WITH_FIELDS, Calls, checked_id
from colab_drive_tuner.drive.transfers.source import Source
from colab_drive_tuner.drive.transfers.upload import Target, upload
from colab_drive_tuner.errors import ChecksumError
from colab_drive_tuner.progress_line import Progress


def create_content(
    calls: Calls, body: Mapping[str, Any], source: Source, progress: Progress | None
) -> DriveFile:
    """Create a file described by `body`; not `verified` yet."""
    mime_type = body["mimeType"]
    request = calls.files.create(body=body, media_body=_media(mime_type), **WITH_FIELDS)
    return upload(
        calls, Target(request, mime_type, f"the upload of {body['name']!r}"), source, progress
    )


def replace_content(calls: Calls, file_id: str, source: Source, mime_type: str) -> DriveFile:
    """Replace a file's content; not `verified` yet."""
    request = calls.files.update(
        fileId=checked_id(file_id), body={}, media_body=_media(mime_type), **WITH_FIELDS
    )
    return upload(calls, Target(request, mime_type, f"new content for the file {file_id}"), source)


def verified(calls: Calls, file: DriveFile, source: Source) -> DriveFile:
    """Return the file if Drive reports the right checksum; upload it once again if it does not."""
    source.finish()
    if not source.matches(file):
        # Perhaps the description was corrupted in transit, and not the content.
        file = calls.get(file.id)
    if not source.matches(file) and source.can_restart:
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
