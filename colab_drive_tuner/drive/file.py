"""Values for files and quotas of Drive."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from colab_drive_tuner.errors import UsageError

FOLDER = "application/vnd.google-apps.folder"
SHORTCUT = "application/vnd.google-apps.shortcut"

FIELDS = (
    "id,name,mimeType,parents,size,md5Checksum,sha256Checksum,createdTime,modifiedTime,properties,"
    "webViewLink,owners(emailAddress),trashed,driveId,shortcutDetails(targetId),"
    "capabilities(canAddChildren)"
)
"""Fields requested in every call, so that a `DriveFile` is always complete."""


@dataclass(frozen=True)
class DriveFile:
    """A file, folder or shortcut in Drive, as described by the server."""

    id: str
    name: str
    mime_type: str = "application/octet-stream"
    parents: tuple[str, ...] = ()
    size: int = 0
    """Size in bytes; 0 for folders and Workspace documents."""
    md5: str | None = None
    sha256: str | None = None
    created: float = 0.0
    """Seconds since 1970 by the server's clock."""
    modified: float = 0.0
    properties: Mapping[str, str] = field(default_factory=dict)
    web_view_link: str | None = None
    owners: tuple[str, ...] = ()
    """E-mail addresses; empty in a shared drive, where files have no owner."""
    trashed: bool = False
    drive_id: str | None = None
    """The id of its shared drive; None in a user's My Drive."""
    target_id: str | None = None
    """The id of a shortcut's target."""
    can_add_children: bool = True
    """False for a folder that this account may only read."""

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return self.mime_type == FOLDER

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "DriveFile":
        """Create one from a v3 `File` resource; absent fields have their defaults."""
        return cls(
            id=data["id"],
            name=data.get("name", ""),
            mime_type=data.get("mimeType", "application/octet-stream"),
            parents=tuple(data.get("parents", ())),
            size=int(data.get("size", 0)),
            md5=data.get("md5Checksum"),
            sha256=data.get("sha256Checksum"),
            created=seconds(data.get("createdTime")),
            modified=seconds(data.get("modifiedTime")),
            properties=dict(data.get("properties", {})),
            web_view_link=data.get("webViewLink"),
            owners=tuple(owner.get("emailAddress", "") for owner in data.get("owners", ())),
            trashed=bool(data.get("trashed", False)),
            drive_id=data.get("driveId"),
            target_id=data.get("shortcutDetails", {}).get("targetId"),
            can_add_children=bool(data.get("capabilities", {}).get("canAddChildren", True)),
        )


@dataclass(frozen=True)
class Quota:
    """Used and available storage of an account."""

    used: int
    limit: int | None
    """Bytes; None: unlimited. 0 for a service account, which has no storage."""


def checked_text(text: object, what: str = "name") -> str:
    """Return the text; raise `UsageError` if it is none, or cannot be sent to Drive."""
    if not isinstance(text, str):
        raise UsageError(f"A {what} in Google Drive is a text, not {text!r}.")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError(
            f"{text!r} cannot be a {what} in Google Drive: it contains half a character."
        ) from None
    return text


def checked_mime_type(mime_type: str) -> str:
    """Return the type; raise `UsageError` if it cannot be the value of an HTTP header."""
    if not re.fullmatch("[!-~]([ -~]*[!-~])?", checked_text(mime_type, "MIME type")):
        raise UsageError(f"{mime_type!r} is not a MIME type, such as 'text/plain'.")
    return mime_type


def checked_properties(properties: Mapping[str, str | None]) -> dict[str, str | None]:
    """Return the properties as a dict; raise `UsageError` if Drive could not store them."""
    for key, value in properties.items():
        text = "" if value is None else value
        pair = checked_text(key, "property") + checked_text(text, "property's value")
        if len(pair.encode()) > 124:
            raise UsageError(
                f"The property {key!r} is too long: key and value may have 124 bytes at most."
            )
    return dict(properties)


def seconds(rfc3339: str | None) -> float:
    """Convert a time in Drive's format to seconds since 1970; None to 0."""
    if rfc3339 is None:
        return 0.0
    moment = datetime.fromisoformat(rfc3339)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
