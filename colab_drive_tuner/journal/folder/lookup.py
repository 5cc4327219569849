"""Lookup of a search's folder by name: rule FOLDER, the only one that needs a listing.

Of several folders of one name, the one with the lowest (created, id) wins. A folder with the same
id of record 0 is a copy that somebody made, and no rival. What a user did to a folder by hand is
found out before a new one is created (see moved_folders.py, creation.py).
"""

import contextlib
import hashlib
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from colab_drive_tuner.errors import NotFoundError, SearchDamagedError, SearchNameError
from colab_drive_tuner.store.protocol import Entry, Store

KIND, FIRST, RECORDS = "cdt_kind", "cdt_first", "cdt_records"
EXPORT, HINT, NAMED, HOME = "cdt_export", "cdt_hint", "cdt_named_", "cdt_home"
FREED = "freed"
"""The value of a name's mark once the search was removed or renamed: the name is free again."""
MOVED = "cdt_moved"
"""Where the search of a folder in the trash was moved to."""
EXPORT_NAME = "trials.pkl"
_TURNS = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


class FolderKind(StrEnum):
    """Kind of a folder directly in the root, as its property `KIND` says it."""

    SEARCH = "search"
    COPYING = "copying"
    """A copy of a search in the making."""
    REPAIRING = "repairing"
    """What `repair` makes of a search, in the making."""
    ARCHIVED = "archived"
    """What `repair` left as it was; the search goes on in another folder."""


@dataclass(frozen=True)
class SearchFolder:
    """The folder of a search, and the ids that were fixed when it was created."""

    id: str
    created: float
    first: str
    """The reserved id of record 0."""
    records: str
    """The folder in which records and snapshots lie, for people; readers go by id."""
    export: str
    """The id of `trials.pkl`."""
    hint: str
    """The id of a snapshot, which may be stale or missing."""
    duplicates: tuple["SearchFolder", ...] = field(default=(), compare=False)
    """Other folders of the same name, which lost."""
    marked: bool = field(default=True, compare=False)
    """Whether its properties say that it has borne this name in this store."""

    @property
    def age(self) -> tuple[float, str]:
        """What decides between folders of one name: the lowest wins."""
        return self.created, self.id


def check_name(name: object) -> None:
    """Raise `SearchNameError` unless `name` can be the name of a folder in Drive and on disk."""
    problem = None
    if not isinstance(name, str):
        problem = "is not text"
    elif not name.strip():
        problem = "is empty"
    elif any("\ud800" <= char <= "\udfff" for char in name):
        problem = "contains half of a surrogate pair"
    elif "/" in name or any(map(_controls, name)):
        problem = "contains a slash or a control character"
    elif len(name.encode()) > 120:
        problem = "is longer than 120 bytes of UTF-8"
    elif name.startswith("."):
        problem = "begins with a dot"
    if problem:
        raise SearchNameError(f"The search name {name!r} {problem}: choose another name.")


def _controls(char: str) -> bool:
    """Whether it moves the cursor or turns the direction of writing, instead of being shown.

    What joins emoji is none of these, and a character newer than this Python's tables is not.
    """
    kind, direction = unicodedata.category(char), unicodedata.bidirectional(char)
    return kind in ("Cc", "Zl", "Zp") or direction in _TURNS


def find_folder(store: Store, name: str) -> SearchFolder | None:
    """The folder that bears the name, the winner where there are several; None: none is listed.

    Raises `SearchDamagedError` where one bears it that the store cannot use as it is.
    """
    try:
        listed = [entry for entry in store.list(store.root, name=name) if entry.is_folder]
    except NotFoundError:
        return None  # no store yet: it is made with the first search in it
    for entry in listed:
        if entry.damage:
            raise SearchDamagedError(f"Search {name!r} cannot be used: {entry.damage}")
    entries = [entry for entry in listed if entry.properties.get(KIND) == FolderKind.SEARCH]
    if not entries:
        return None
    found = {described(entry): entry for entry in originals(store, entries)}
    winner, *duplicates = sorted(found, key=lambda folder: folder.age)
    marked = name_marks(store, name).items() <= found[winner].properties.items()
    return replace(winner, duplicates=tuple(duplicates), marked=marked)


def originals(store: Store, entries: Iterable[Entry]) -> list[Entry]:
    """The folders without copies of them, which have the same id of record 0."""
    by_first: dict[str, list[Entry]] = {}
    for entry in entries:
        by_first.setdefault(entry.properties.get(FIRST, entry.id), []).append(entry)
    return [_original(store, same) for same in by_first.values()]


def _original(store: Store, entries: Sequence[Entry]) -> Entry:
    """Of folders with the same id of record 0, the one that is no copy: the records lie in it."""
    first, *copies = sorted(entries, key=lambda entry: (entry.created, entry.id))
    if copies:
        with contextlib.suppress(NotFoundError):  # not made yet, or in the trash
            home = store.stat(described(first).records).parent
            return next((entry for entry in entries if entry.id == home), first)
    return first


def name_marks(store: Store, name: str) -> dict[str, str]:
    """Properties of a folder that has borne this name in this store, whatever became of it."""
    return {_name_key(name): "1", HOME: store.root}


def freed_mark(name: str) -> dict[str, str]:
    """The property of a folder that has borne this name until it was told to give it up."""
    return {_name_key(name): FREED}


def free_name(store: Store, folder: "SearchFolder", name: str) -> None:
    """Take the name's mark from the folder and from the claims in it."""
    for entry in store.find_marked({_name_key(name): "1"}):
        if entry.id == folder.id or entry.parent in (folder.id, folder.records):
            store.set_properties(entry.id, freed_mark(name))
    store.set_properties(folder.id, freed_mark(name))


def _name_key(name: str) -> str:
    return f"{NAMED}{hashlib.sha256(name.encode()).hexdigest()[:16]}"


def is_search(entry: Entry) -> bool:
    """Whether what lies in the root is a search, or a folder too damaged to say what it is."""
    marked = entry.properties.get(KIND) == FolderKind.SEARCH
    return entry.is_folder and (marked or bool(entry.damage))


def described(entry: Entry) -> SearchFolder:
    """The search's folder, by its marks."""
    keys = (FIRST, RECORDS, EXPORT, HINT)
    first, records, export, hint = (entry.properties.get(key, "") for key in keys)
    return SearchFolder(entry.id, entry.created, first, records, export, hint)
