"""Notes that sessions leave in the spools of this machine; a damaged one counts as none."""

import hashlib
import json
import logging
import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgpack

from colab_drive_tuner.machine import state_folder

ABOUT, LOCK, OWNERS, RUNNING, SEARCH = "about.txt", "lock", "owners", "running", "search"
TID = struct.Struct("=qq")
"""The number of a trial and its complement, so that anything else is recognised."""

_OWNER = re.compile(rb"[0-9a-f]{32}")

log = logging.getLogger(__name__)


class KnownFolder(NamedTuple):
    """The folder in which this machine last found a search."""

    id: str
    first: str
    """The reserved id of record 0, which tells one search from another."""


def read_running(path: Path) -> int | None:
    """The trial that a file `running` notes; None where it notes none."""
    content = _read(path)
    if len(content) != TID.size:
        return None
    tid: int
    tid, complement = TID.unpack(content)
    return tid if complement == ~tid else None


def read_owners(path: Path) -> list[str] | None:
    """The sessions that a file `owners` notes; None where it is damaged."""
    owners = _read(path).split()
    whole = all(map(_OWNER.fullmatch, owners)) and path.is_file() == os.path.lexists(path)
    return [owner.decode("ascii") for owner in owners] if whole else None


def read_known_folder(path: Path) -> KnownFolder | None:
    """The folder that a file `search` notes; None where it notes none."""
    try:
        known = KnownFolder(**json.loads(_read(path)))
    except (ValueError, TypeError, RecursionError):
        return None
    return known if all(isinstance(text, str) and text for text in known) else None


def known_folders(location: str) -> list[tuple[str, KnownFolder, Path]]:
    """The searches that this machine ran in a store: name, folder, and the note that says so."""
    ours = [(name, spool / SEARCH) for name, where, spool in known_searches() if where == location]
    return [(name, found, note) for name, note in ours if (found := read_known_folder(note))]


def known_searches() -> Iterator[tuple[str, str, Path]]:
    """Name, location and spool of each search that this machine has run; raises `StoreError`."""
    for about in sorted((state_folder() / "spool").glob(f"*/{ABOUT}")):
        described = read_about(about)
        if described is not None:
            yield *described, about.parent


def read_about(path: Path) -> tuple[str, str] | None:
    """Name and location of the search whose spool a file `about.txt` describes, if it does."""
    try:
        name, _, location = _read(path).decode("utf-8").rstrip("\n").partition("\n")
    except UnicodeDecodeError:
        return None
    return (name, location) if path.parent.name == _key(location, name) else None


def _read(path: Path) -> bytes:
    """The content of a note; empty where there is none, or it cannot be read."""
    try:
        if path.is_file():  # a pipe would be waited for
            return path.read_bytes()
    except OSError as error:
        log.warning("%s cannot be read: %s", path, error)
    return b""


def spool_folder(location: str, name: str) -> Path:
    """Where this machine keeps the spool of a search."""
    return state_folder() / "spool" / _key(location, name)


def _key(location: str, name: str) -> str:
    return hashlib.sha256(msgpack.packb([location, name])).hexdigest()[:24]
