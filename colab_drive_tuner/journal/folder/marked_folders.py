"""Traces of a search in a store that outlive what a co-editor can do to its folder."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

from colab_drive_tuner.errors import (
    NotFoundError,
    SearchDamagedError,
    StoreError,
    UnavailableError,
)
from colab_drive_tuner.journal.chain.chain import record_name
from colab_drive_tuner.journal.chain.record import Record, RecordKind, decode_record
from colab_drive_tuner.journal.folder.lookup import (
    HOME,
    KIND,
    NAMED,
    RECORDS,
    FolderKind,
    SearchFolder,
    name_marks,
)
from colab_drive_tuner.store.protocol import Entry, Store


@dataclass
class MarkedFolders:
    """What a store holds of searches that bore a name."""

    folders: dict[str, Entry] = field(default_factory=dict)
    """Their folders in this store, or in one that is in the trash, by id."""
    begun: set[str] = field(default_factory=set)
    """Those of which a record says that it was written for a search of this name, in this store."""
    astray: set[str] = field(default_factory=set)
    """Those in which such a record lies where no property of the folder says."""
    lost: list[Entry] = field(default_factory=list)
    """Such records whose folder cannot be told."""
    elsewhere: list[Entry] = field(default_factory=list)
    """Folders of that name in another store."""


def find_marked_folders(
    store: Store, name: str, listed: SearchFolder | None, notify: Callable[[str], None]
) -> MarkedFolders:
    """Whatever bears the name's mark, and every record 0 that bears no search's: one question.

    A search of that name in another store that is in use is another search; but this store may
    also be that one's folder, made anew since it was renamed or moved.
    """
    marks = name_marks(store, name)
    del marks[HOME]
    traces, gone = MarkedFolders(), cache(lambda home: not exists(store, home))

    def is_here(home: str, entry: Entry) -> bool:
        return home == store.root or (entry.trashed and gone(home))

    found = store.find_marked(marks, or_named=record_name(0))
    for entry in found:
        if entry.is_folder and is_here(entry.properties.get(HOME, ""), entry):
            traces.folders[entry.id] = entry
        elif entry.is_folder and not entry.trashed:
            traces.elsewhere.append(entry)
    settled = {listed.records} if listed else set()
    for file in sorted(found, key=lambda entry: (entry.name, entry.created)):
        marked = marks.items() <= file.properties.items()
        others = not marked and any(key.startswith(NAMED) for key in file.properties)
        if file.is_folder or others or file.parent in settled:
            continue
        written_for, home = _written_for(store, file, name if marked else "", notify)
        if written_for == name and is_here(home, file):
            settled.add(file.parent)
            if (folder := _folder_of(store, file)) is None:
                traces.lost.append(file)
            else:
                traces.folders[folder.id] = folder
                traces.begun.add(folder.id)
                if folder.properties.get(RECORDS) != file.parent:
                    traces.astray.add(folder.id)
    traces.elsewhere = [entry for entry in traces.elsewhere if entry.id not in traces.folders]
    return traces


def _written_for(
    store: Store, file: Entry, marked: str, notify: Callable[[str], None]
) -> tuple[str, str]:
    """The search that a claim was written for, and its home; its marks, where it is damaged."""
    try:
        record = decode_record(store.read_trashed(file.id), file.name)
    except UnavailableError:
        raise
    except NotFoundError:  # deleted for good meanwhile
        return "", ""
    except (SearchDamagedError, StoreError):
        if not marked:
            _tell_of_unreadable(store, file, notify)
        return marked, file.properties.get(HOME, "")
    return record.search, record.home


def _folder_of(store: Store, record: Entry) -> Entry | None:
    """The search's folder above a record's file; None: it is gone, or lies in the trash."""
    try:
        records = store.stat(record.parent)
        return records if records.parent == store.root else store.stat(records.parent)
    except UnavailableError:
        raise
    except StoreError:
        return None


def _tell_of_unreadable(store: Store, file: Entry, notify: Callable[[str], None]) -> None:
    folder = _folder_of(store, file)
    if folder is not None and folder.parent == store.root and is_altered(folder):
        notify(
            f"The folder {store.url(folder.id)} holds a record that cannot be read and that bears "
            f"no search's name any more. If the search lies there, put its name back and run "
            f"`colab-drive-tuner repair`."
        )


def is_altered(entry: Entry) -> bool:
    """Whether the mark of a search is not there any more."""
    return entry.properties.get(KIND) != FolderKind.SEARCH


def first_records(store: Store, first: str) -> list[Record | None]:
    """Record 0, if it is there; None in its place where it cannot be read."""
    if not first:
        return []
    try:
        return [decode_record(store.read_trashed(first), "Record 0")]
    except NotFoundError:
        return []
    except SearchDamagedError:
        return [None]


def has_begun(store: Store, *first: str) -> bool:
    """Whether a record 0 lies under one of the ids that says more than where it goes on."""
    return any(
        record is None or record.kind is not RecordKind.MOVED
        for entry_id in set(first)
        for record in first_records(store, entry_id)
    )


def exists(store: Store, entry_id: str) -> bool:
    """Whether it is there, and not in the trash."""
    try:
        store.stat(entry_id)
    except NotFoundError:
        return False
    return True


def holds_records(store: Store, folder: Entry) -> bool:
    """Whether there is a folder of records in it, with one."""
    homes = [entry for entry in store.list(folder.id, name="records") if entry.is_folder]
    return any(store.list(home.id, name=record_name(0)) for home in homes)
