"""Name and properties of a search's folder: its kind, its ids, the marks of its names."""

import hashlib
import unicodedata
from dataclasses import dataclass, field
from enum import StrEnum

from colab_drive_tuner.errors import SearchNameError
from colab_drive_tuner.store.protocol import Entry, Store

NAMED, FREED = "cdt_named_", "freed"
"""Begin of a name's mark, and of its value, before the time, once the name was given up."""
_MOST_FREED = 12
"""Number of given-up names that a folder notes, so that other machines know that they are free."""
EXPORT_NAME = "trials.pkl"
_DIRECTION_CONTROLS = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


class Property(StrEnum):
    """Properties of a search's folder; its claims have `HOME`, too."""

    KIND = "cdt_kind"
    FIRST = "cdt_first"
    RECORDS = "cdt_records"
    EXPORT = "cdt_export"
    HINT = "cdt_hint"
    HOME = "cdt_home"
    """Id of the folder that contains all searches."""
    MOVED = "cdt_moved"
    """On a trashed folder: where its search was moved to."""


class FolderKind(StrEnum):
    """Kind of a folder in the root, stored in its property `KIND`."""

    SEARCH = "search"
    COPYING = "copying"
    """Unfinished copy of a search."""
    REPAIRING = "repairing"
    """Unfinished result of `repair`."""
    ARCHIVED = "archived"
    """Original of a repaired search, left unchanged; the search continues in another folder."""


@dataclass(frozen=True)
class SearchFolder:
    """Folder of a search, with the ids fixed at its creation."""

    id: str
    created: float
    first: str
    """Reserved id of record 0."""
    records: str
    """Id of records/, where users see records and snapshots; readers go by their ids."""
    export: str
    """Id of `trials.pkl`."""
    hint: str
    """Id of a snapshot, which may be stale or missing."""
    duplicates: tuple["SearchFolder", ...] = field(default=(), compare=False)
    """Other folders of the same name, which lost."""
    empty: tuple["SearchFolder", ...] = field(default=(), compare=False)
    """Older folders of the same name, left by runtimes that ended before they began the search."""
    marked: bool = field(default=True, compare=False)
    """Whether its properties state that it has had this name in this store."""
    new: bool = field(default=False, compare=False)
    """Whether this session has just created it, with ids that were never used."""

    @property
    def record_folders(self) -> set[str]:
        """Ids of the folders that may contain its records."""
        return {self.records, self.id}

    @property
    def creation_order(self) -> tuple[float, str]:
        """Sort key of folders with one name: the lowest wins."""
        return self.created, self.id


def check_name(name: object) -> None:
    """Raise `SearchNameError` unless `name` is valid for a folder in Drive and on disk."""
    problem = None
    if not isinstance(name, str):
        problem = "is not text"
    elif not name.strip():
        problem = "is empty"
    elif any("\ud800" <= char <= "\udfff" for char in name):
        problem = "contains half of a surrogate pair"
    elif "/" in name or any(map(_is_control, name)):
        problem = "contains a slash or a control character"
    elif len(name.encode()) > 120:
        problem = "is longer than 120 bytes of UTF-8"
    elif name.startswith("."):
        problem = "begins with a dot"
    if problem:
        raise SearchNameError(f"The search name {name!r} {problem}: choose another name.")


def _is_control(char: str) -> bool:
    """Whether a character moves the cursor or changes the writing direction.

    Joiners of emoji and characters unknown to this Python's tables are allowed.
    """
    kind, direction = unicodedata.category(char), unicodedata.bidirectional(char)
    return kind in ("Cc", "Zl", "Zp") or direction in _DIRECTION_CONTROLS


def name_marks(store: Store, name: str) -> dict[str, str]:
    """Return the properties that mark a folder as having had this name in this store."""
    return {_name_key(name): "1", Property.HOME: store.root}


def freed_mark(store: Store, name: str) -> dict[str, str]:
    """Return the property that marks a name as given up by its folder."""
    return {_name_key(name): f"{FREED} {store.now():.0f}"}


def is_freed(folder: Entry, name: str) -> bool:
    """Whether the folder is marked as having given up the name."""
    return folder.properties.get(_name_key(name), "").startswith(FREED)


def surplus_marks(folder: Entry) -> dict[str, str]:
    """Return changes that remove the oldest marks of given-up names: Drive allows 30 properties."""
    freed = [(mark, key) for key, mark in folder.properties.items() if mark.startswith(FREED)]
    return {key: "" for _, key in sorted(freed)[:-_MOST_FREED]}


def free_name(store: Store, folder: "SearchFolder", name: str) -> None:
    """Replace the name's mark on the folder and on the claims in it by "freed"."""
    for entry in store.find_marked({_name_key(name): "1"}):
        if entry.id == folder.id or entry.parent in folder.record_folders:
            store.set_properties(entry.id, freed_mark(store, name))
    store.set_properties(folder.id, freed_mark(store, name))


def _name_key(name: str) -> str:
    return f"{NAMED}{hashlib.sha256(name.encode()).hexdigest()[:16]}"


def is_search(entry: Entry) -> bool:
    """Whether an entry of the root is a search, or a folder too damaged to tell."""
    marked = entry.properties.get(Property.KIND) == FolderKind.SEARCH
    return entry.is_folder and (marked or bool(entry.damage))


def is_unmarked(entry: Entry) -> bool:
    """Whether a folder has no mark of a search, or no longer."""
    return entry.properties.get(Property.KIND) != FolderKind.SEARCH


def search_folder(entry: Entry) -> SearchFolder:
    """Return the search folder that an entry's properties describe."""
    keys = (Property.FIRST, Property.RECORDS, Property.EXPORT, Property.HINT)
    first, records, export, hint = (entry.properties.get(key, "") for key in keys)
    return SearchFolder(entry.id, entry.created, first, records, export, hint)
