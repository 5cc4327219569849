"""Notes that sessions leave in the spools of this machine; a damaged note counts as missing."""

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

from colab_drive_tuner.local_files import read_file
from colab_drive_tuner.machine import LARGEST_NOTE, state_folder

ABOUT, LOCK, OWNERS, RUNNING, SEARCH = "about.txt", "lock", "owners", "running", "search"
TID = struct.Struct("=qq")
"""A trial's number and its complement, so that damage is detected."""

_OWNER = re.compile(rb"[0-9a-f]{32}")

log = logging.getLogger(__name__)


class KnownFolder(NamedTuple):
    """Folder in which this machine last found a search."""

    id: str
    first: str
    """Reserved id of record 0, which identifies the search."""


def read_running(path: Path) -> int | None:
    """Return the trial noted in a file `running`, or None."""
    content = _read(path)
    if len(content) != TID.size:
        return None
    tid: int
    tid, complement = TID.unpack(content)
    return tid if complement == ~tid else None


def read_owners(path: Path) -> list[str] | None:
    """Return the sessions noted in a file `owners`; None if it is damaged."""
    owners = _read(path).split()
    valid = all(map(_OWNER.fullmatch, owners))
    return [owner.decode("ascii") for owner in owners] if valid else None


def read_known_folder(path: Path) -> KnownFolder | None:
    """Return the folder noted in a file `search`, or None."""
    try:
        known = KnownFolder(**json.loads(_read(path)))
    except (ValueError, TypeError, RecursionError):
        return None
    return known if all(isinstance(text, str) and text for text in known) else None


def known_folder(location: str, name: str) -> KnownFolder | None:
    """Return where this machine last found a search; None if unknown."""
    return read_known_folder(spool_folder(location, name) / SEARCH)


def known_folders(location: str) -> list[tuple[str, KnownFolder, Path]]:
    """Return (name, folder, path of the note) of each search that this machine ran in a store."""
    ours = [(name, spool / SEARCH) for name, where, spool in known_searches() if where == location]
    return [(name, found, note) for name, note in ours if (found := read_known_folder(note))]


def spooled_searches(location: str) -> list[tuple[str, str]]:
    """Return name and id of record 0, if known, of the searches of a store with spooled items."""
    spools = sorted({file.parent for file in (state_folder() / "spool").glob("*/*.spool")})
    found = [(read_about(spool / ABOUT), read_known_folder(spool / SEARCH)) for spool in spools]
    return [
        (about[0], known.first if known else "")
        for about, known in found
        if about is not None and about[1] == location
    ]


def known_searches() -> Iterator[tuple[str, str, Path]]:
    """Yield name, location and spool of each search run on this machine; raises `StoreError`."""
    for about in sorted((state_folder() / "spool").glob(f"*/{ABOUT}")):
        described = read_about(about)
        if described is not None:
            yield *described, about.parent


def read_about(path: Path) -> tuple[str, str] | None:
    """Return name and location of the search that a spool's `about.txt` describes, or None."""
    try:
        name, _, location = _read(path).decode("utf-8").rstrip("\n").partition("\n")
    except UnicodeDecodeError:
        return None
    return (name, location) if path.parent.name == _key(location, name) else None


def _read(path: Path) -> bytes:
    """Return the content of a note: empty if it is missing, invalid for all if unreadable."""
    try:
        return read_file(path, LARGEST_NOTE)
    except OSError as error:
        if not os.path.lexists(path):
            return b""
        log.warning("%s cannot be read: %s", path, error)
        return b"\xff"


def spool_folder(location: str, name: str) -> Path:
    """Return the folder of a search's spool on this machine."""
    return state_folder() / "spool" / _key(location, name)


def _key(location: str, name: str) -> str:
    return hashlib.sha256(msgpack.packb([location, name])).hexdigest()[:24]
