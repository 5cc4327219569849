"""Description of an id in a folder store: the bytes of a small file, read with suspicion.

Others may be able to write to the folder, and disks fail: a line begins with a checksum of the
rest, and a description that names a file outside of its place describes nothing.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

ROOT = "root"
ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
TOP = "folder"
"""The key under which a folder's index describes the folder itself."""
_FILE_NAME = re.compile(r"[^./\\\0][^/\\\0]*")


@dataclass(frozen=True)
class Description:
    """What an id was used for: written once, changed only when it goes into the trash."""

    id: str
    name: str
    parent: str
    """The id of the folder it lies in; empty: directly in the folder that has the index."""
    file: str
    """The visible file name in the parent's folder: `name`, as far as a disk can bear it."""
    created: float
    is_folder: bool
    properties: dict[str, str]
    """Those of the create; what is set later is kept beside."""
    nonce: str
    """Names the hidden file in which the content waited for its visible name."""
    trashed: str = ""
    """The file name in the trash; empty: it was never put there."""


def encode(described: Description) -> bytes:
    """The content of a description's file."""
    return seal(vars(described))


def decode(content: bytes, key: str) -> Description | None:
    """The description of the id `key`; None: the bytes are not one, or not of this id."""
    values = unseal(content)
    try:
        described = Description(**values)
    except TypeError:
        return None
    texts = ("id", "name", "parent", "file", "nonce", "trashed")
    honest = (
        all(isinstance(getattr(described, field), str) for field in texts)
        and isinstance(described.created, float)
        and isinstance(described.is_folder, bool)
        and are_properties(described.properties)
        and ID.fullmatch(described.id)
        and (key == TOP or (described.id == key and described.parent != key))
        and (not described.parent or ID.fullmatch(described.parent))
        and (described.parent or described.is_folder or described.file)
        and all(_FILE_NAME.fullmatch(name) for name in (described.file, described.trashed) if name)
        and re.fullmatch("[0-9a-f]{32}", described.nonce)
    )
    return described if honest else None


def encode_properties(key: str, properties: Mapping[str, str]) -> bytes:
    """The content of the file with the properties of the id `key`."""
    return seal({"id": key, "properties": dict(properties)})


def decode_properties(content: bytes, key: str) -> dict[str, str] | None:
    """The properties of the id `key`; None: the bytes are none."""
    values = unseal(content)
    found = values.get("properties")
    return found if values.get("id") == key and are_properties(found) else None


def are_properties(value: object) -> bool:
    """Whether it is a dict of texts."""
    return isinstance(value, dict) and all(
        isinstance(text, str) for pair in value.items() for text in pair
    )


def seal(values: Mapping[str, Any]) -> bytes:
    """One line of JSON behind its checksum."""
    body = json.dumps(values).encode()
    return hashlib.sha256(body).hexdigest()[:16].encode() + b" " + body


def unseal(content: bytes) -> dict[str, Any]:
    """What `seal` was given; empty where the checksum does not fit."""
    check, _, body = content.strip().partition(b" ")
    if hashlib.sha256(body).hexdigest()[:16].encode() != check:
        return {}
    try:
        values = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}
