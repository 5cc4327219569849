"""Descriptions of ids in a folder store: small checksummed files, each stored twice.

Others may be able to write to the folder, and disks fail. So a line begins with the checksum of the
rest, a description of a file outside of its folder is invalid, and a damaged file is restored from
its copy.
"""

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Generic, TypeVar

from colab_drive_tuner.errors import RefusedError
from colab_drive_tuner.local_files import sync_folder
from colab_drive_tuner.store.folder import disk
from colab_drive_tuner.store.protocol import LATEST_TIME

Value = TypeVar("Value")

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


_FIELDS = frozenset(field.name for field in fields(Description))


def encode(described: Description) -> bytes:
    """Return the content of a description's file."""
    return seal(vars(described))


def decode(content: bytes, key: str) -> Description | None:
    """Return the description of the id `key`; None if the bytes are invalid or of another id.

    Values that only a newer version knows are ignored.
    """
    values = unseal(content)
    try:
        described = Description(**{name: values[name] for name in values.keys() & _FIELDS})
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


class MirroredFiles(Generic[Value]):
    """The files of one kind, `<home>/<kind>/<key>`, each with a copy in `<home>/copies`.

    The copy is written once the original is durable, and is not itself synced: if there is a copy,
    there was an original. Both are separate files, so that no write affects both.
    """

    def __init__(self, home: Path, kind: str, decode: Callable[[bytes, str], Value | None]) -> None:
        self._home, self._decode = home, decode
        self.folder = home / kind
        self._copies = home / "copies" / kind
        self._places = [f"{folder}{os.sep}" for folder in (self.folder, self._copies)]

    def path(self, key: str) -> Path:
        """Return the path of the original."""
        return self.folder / key

    def __iter__(self) -> Iterator[str]:
        """Yield each key with an original or a copy."""
        found = {*disk.list_names(self.folder), *disk.list_names(self._copies)}
        return (key for key in sorted(found) if not key.startswith("."))

    def has(self, key: str) -> bool:
        """Return whether there is a file for the key, valid or not."""
        return any(os.path.lexists(place + key) for place in self._places)

    def read(self, key: str) -> Value | None:
        """Return the value, None if there is none; `ChecksumError` if both files are damaged."""
        path = self.path(key)
        content = _read(path)
        value = None if content is None else self._decode(content, key)
        if value is not None:
            return value
        copy = self.read_copy(key)
        if copy is None:
            if content is None:
                return None
            raise disk.damaged_error(path)
        value = self._decode(copy, key)
        if value is None:
            raise disk.damaged_error(*([] if content is None else [path]), self._copies / key)
        # Errors are ignored: a read-only folder can still be read.
        with contextlib.suppress(OSError), disk.written_aside(self._home, copy) as temporary:
            disk.ensure_folders(self._home, self.folder.name)
            if content is None:
                os.link(temporary, path)  # never overwrites one that is restored concurrently
            else:
                temporary.replace(path)
            sync_folder(self.folder)
        return value

    def read_copy(self, key: str) -> bytes | None:
        """Return the bytes of the copy."""
        return _read(self._copies / key)

    def write(self, key: str, content: bytes) -> None:
        """Replace the value; the original is durable when this returns."""
        disk.ensure_folders(self._home, self.folder.name)
        with disk.written_aside(self._home, content) as temporary:
            temporary.replace(self.path(key))
        sync_folder(self.folder)
        self.write_copy(key, content)

    def rewrite(self, key: str, content: bytes) -> None:
        """Like `write`, but original and copy never have different contents."""
        disk.remove(self._copies / key)
        with contextlib.suppress(FileNotFoundError):  # no copy was ever written
            sync_folder(self._copies)
        self.write(key, content)

    def write_copy(self, key: str, content: bytes) -> None:
        """Write the copy, without syncing it."""
        path = disk.ensure_folders(self._home, "copies", self.folder.name) / key
        with contextlib.suppress(FileExistsError):  # written concurrently
            path.unlink(missing_ok=True)  # it could be a symbolic link
            disk.write_new(path, content)


def _read(path: Path) -> bytes | None:
    """Return the bytes of one file; empty, which is invalid, if it is not a plain file."""
    try:
        return disk.read_small(path)
    except RefusedError:
        return b""
