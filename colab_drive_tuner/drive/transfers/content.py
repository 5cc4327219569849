"""Content of files: sent with its checksum, and sent again where it arrived altered."""

from collections.abc import Mapping
from io import BytesIO
from typing import Any

from colab_drive_tuner.drive.file import DriveFile
from colab_drive_tuner.drive.requests.calls import DESCRIBED, Calls, checked
from colab_drive_tuner.drive.transfers.source import Source
from colab_drive_tuner.drive.transfers.upload import Progress, Target, upload
from colab_drive_tuner.errors import ChecksumError


def create_content(
    calls: Calls, body: Mapping[str, Any], source: Source, progress: Progress | None
) -> DriveFile:
    """A new file that `body` describes; not `verified` yet."""
    mime_type = body["mimeType"]
    request = calls.files.create(body=body, media_body=_media(mime_type), **DESCRIBED)
    return upload(
        calls, Target(request, mime_type, f"the upload of {body['name']!r}"), source, progress
    )


def replace_content(calls: Calls, file_id: str, source: Source, mime_type: str) -> DriveFile:
    """The file with other content; not `verified` yet."""
    request = calls.files.update(
        fileId=checked(file_id), body={}, media_body=_media(mime_type), **DESCRIBED
    )
    return upload(calls, Target(request, mime_type, f"new content for the file {file_id}"), source)


def verified(calls: Calls, file: DriveFile, source: Source) -> DriveFile:
    """The file, once Drive names the sum of what was to be sent; sends it again if need be."""
    source.finish()
    if not source.is_held_by(file):
        # Perhaps the description was altered on its way, and not the content.
        file = calls.get(file.id)
    if not source.is_held_by(file) and source.can_restart:
        file = replace_content(calls, file.id, source, file.mime_type)
    if source.is_held_by(file):
        return file
    raise ChecksumError(
        f"What Drive stored as {file.name!r} ({file.id}) is not what was sent: its sum is "
        f"{file.sha256} instead of {source.sha256}. Upload it again."
    )


def _media(mime_type: str) -> Any:
    """What Google's client takes as `media_body` and builds the beginning of a session of."""
    from googleapiclient.http import MediaIoBaseUpload

    return MediaIoBaseUpload(BytesIO(), mime_type, resumable=True)
