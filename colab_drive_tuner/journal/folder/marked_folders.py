"""Folders and records marked with a search's name, wherever a co-editor may have moved them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

from colab_drive_tuner.errors import NotFoundError, SearchDamagedError, StoreError, UnavailableError
from colab_drive_tuner.journal.chain.chain import record_name
from colab_drive_tuner.journal.chain.record import Record, RecordKind, decode_record
from colab_drive_tuner.journal.folder.lookup import (
    HOME,
    KIND,
    NAMED,
    RECORDS,
    FolderKind,
    SearchFolder,
    exists,
    name_marks,
)
from colab_drive_tuner.store.protocol import Entry, Store


@dataclass
class MarkedFolders:
    """Folders and records of searches that have had a name."""

    folders: dict[str, Entry] = field(default_factory=dict)
    """Folders of this store, or of one that is in the trash, by id."""
    begun: set[str] = field(default_factory=set)
    """Ids of folders with a record that was written for a search of this name in this store."""
    inconsistent: set[str] = field(default_factory=set)
    """Ids of folders with such a record outside of the records/ that their properties name."""
    lost: list[Entry] = field(default_factory=list)
    """Such records whose folder is unknown."""
    elsewhere: list[Entry] = field(default_factory=list)
    """Folders of that name in another store."""


def find_marked_folders(
    store: Store, name: str, listed: SearchFolder | None, notify: Callable[[str], None]
) -> MarkedFolders:
    """Find everything with the name's mark, and every record 0 without any mark, in one query.

    A search of that name in another existing store is another search. This store, however, may
    itself be a replacement for a root folder that was renamed or moved.
    """
    marks = name_marks(store, name)
    del marks[HOME]
    result = MarkedFolders()
    is_gone = cache(lambda home: not exists(store, home))

    def is_here(home: str, entry: Entry) -> bool:
        return home == store.root or (entry.trashed and is_gone(home))

    found = store.find_marked(marks, or_named=record_name(0))
    for entry in found:
        if entry.is_folder and is_here(entry.properties.get(HOME, ""), entry):
            result.folders[entry.id] = entry
        elif entry.is_folder and not entry.trashed:
            result.elsewhere.append(entry)
    settled = {listed.records} if listed else set()
    for file in sorted(found, key=lambda entry: (entry.name, entry.created)):
        marked = marks.items() <= file.properties.items()
        marked_otherwise = not marked and any(key.startswith(NAMED) for key in file.properties)
        if file.is_folder or marked_otherwise or file.parent in settled:
            continue
        written_for, home = _written_for(store, file, name if marked else "", notify)
        if written_for == name and is_here(home, file):
            settled.add(file.parent)
            if (folder := _folder_of(store, file)) is None:
                result.lost.append(file)
            else:
                result.folders[folder.id] = folder
                result.begun.add(folder.id)
                if folder.properties.get(RECORDS) != file.parent:
                    result.inconsistent.add(folder.id)
    result.elsewhere = [entry for entry in result.elsewhere if entry.id not in result.folders]
    return result


def _written_for(
    store: Store, file: Entry, marked: str, notify: Callable[[str], None]
) -> tuple[str, str]:
    """Return the search and the home named by a claim; by its marks, if the claim is damaged."""
    try:
        record = decode_record(store.read_trashed(file.id), file.name)
    except UnavailableError:
        raise
    except NotFoundError:  # permanently deleted in the meantime
        return "", ""
    except (SearchDamagedError, StoreError):
        if not marked:
            _report_unreadable(store, file, notify)
        return marked, file.properties.get(HOME, "")
    return record.search, record.home


def _folder_of(store: Store, record: Entry) -> Entry | None:
    """Return the search's folder that contains a record; None if it is gone or in the trash."""
    try:
        records = store.stat(record.parent)
        return records if records.parent == store.root else store.stat(records.parent)
    except UnavailableError:
        raise
    except StoreError:
        return None


def _report_unreadable(store: Store, file: Entry, notify: Callable[[str], None]) -> None:
    folder = _folder_of(store, file)
    if folder is not None and folder.parent == store.root and is_altered(folder):
        notify(
            f"The folder {store.url(folder.id)} holds a record that cannot be read and that no "
            f"longer has a search's name. If it is the search's folder, restore its name and run "
            f"`colab-drive-tuner repair`."
        )


def is_altered(entry: Entry) -> bool:
    """Whether a folder no longer has the mark of a search."""
    return entry.properties.get(KIND) != FolderKind.SEARCH


def first_records(store: Store, first: str) -> list[Record | None]:
    """Return record 0 in a list, or None in its place if unreadable; empty if it is missing."""
    if not first:
        return []
    try:
        return [decode_record(store.read_trashed(first), "Record 0")]
    except NotFoundError:
        return []
    except SearchDamagedError:
        return [None]


def has_begun(store: Store, *first: str) -> bool:
    """Whether one of the ids has a record 0 other than `moved`."""
    return any(
        record is None or record.kind is not RecordKind.MOVED
        for entry_id in set(first)
        for record in first_records(store, entry_id)
    )


def holds_records(store: Store, folder: Entry) -> bool:
    """Whether a folder contains a records/ with a record 0."""
    homes = [entry for entry in store.list(folder.id, name="records") if entry.is_folder]
    return any(store.list(home.id, name=record_name(0)) for home in homes)
