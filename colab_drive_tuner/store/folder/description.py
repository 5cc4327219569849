"""Descriptions of ids in a folder store: small checksummed files, validated when they are read.

Others may be able to write to the folder, and disks fail. So a line begins with the checksum of the
rest, and a description of a file outside of its folder is invalid.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from colab_drive_tuner.store.protocol import LATEST_TIME

ROOT = "root"
ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
TOP = "folder"
"""The key under which a folder's index describes the folder itself."""
_FILE_NAME = re.compile(r"[^./\\\0][^/\\\0]*")


@dataclass(frozen=True)
class Description:
    """The file or folder that an id was used for; changed only when it is trashed or renamed."""

    id: str
    name: str
    parent: str
    """The id of its folder; empty if that is the folder that contains the index."""
    file: str
    """The visible file name in the parent's folder: `name` in a form that file systems accept."""
    created: float
    is_folder: bool
    properties: dict[str, str]
    """The properties at its creation; later changes are stored separately."""
    nonce: str
    """The name of the hidden file that holds the content until it has its visible name."""
    trashed: str = ""
    """The file name in the trash; empty if it was never trashed."""


def encode(described: Description) -> bytes:
    """Return the content of a description's file."""
    return seal(vars(described))


def decode(content: bytes, key: str) -> Description | None:
    """Return the description of the id `key`; None if the bytes are invalid or of another id."""
    values = unseal(content)
    try:
        described = Description(**values)
    except TypeError:
        return None
    texts = ("id", "name", "parent", "file", "nonce", "trashed")
    valid = (
        all(isinstance(getattr(described, field), str) for field in texts)
        and isinstance(described.created, float)
        and 0 <= described.created <= LATEST_TIME
        and isinstance(described.is_folder, bool)
        and are_properties(described.properties)
        and ID.fullmatch(described.id)
        and (key == TOP or (described.id == key and described.parent != key))
        and (not described.parent or ID.fullmatch(described.parent))
        and (described.parent or described.is_folder or described.file)
        and all(_FILE_NAME.fullmatch(name) for name in (described.file, described.trashed) if name)
        and re.fullmatch("[0-9a-f]{32}", described.nonce)
    )
    return described if valid else None


def encode_properties(key: str, properties: Mapping[str, str]) -> bytes:
    """Return the content of the file with the properties of the id `key`."""
    return seal({"id": key, "properties": dict(properties)})


def decode_properties(content: bytes, key: str) -> dict[str, str] | None:
    """Return the properties of the id `key`; None if the bytes are invalid."""
    values = unseal(content)
    found = values.get("properties")
    return found if values.get("id") == key and are_properties(found) else None


def are_properties(value: object) -> bool:
    """Return whether it is a dict of strings."""
    return isinstance(value, dict) and all(
        isinstance(text, str) for pair in value.items() for text in pair
    )


def seal(values: Mapping[str, Any]) -> bytes:
    """Return one line of JSON that begins with its checksum."""
    body = json.dumps(values).encode()
    return hashlib.sha256(body).hexdigest()[:16].encode() + b" " + body


def unseal(content: bytes) -> dict[str, Any]:
    """Return the values passed to `seal`; empty if the checksum does not match."""
    check, _, body = content.strip().partition(b" ")
    if hashlib.sha256(body).hexdigest()[:16].encode() != check:
        return {}
    try:
        values = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}
