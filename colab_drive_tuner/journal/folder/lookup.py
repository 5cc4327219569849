"""Lookup of a search's folder by name: rule FOLDER, the only rule that needs a listing.

If several folders have one name, the one with the lowest (created, id) wins, apart from empty ones.
A folder with the same id of record 0 is a user's copy, not a duplicate. Folders that a user moved
or renamed are looked for before a new one is created (moved_folders.py, creation.py).
"""

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import replace

from colab_drive_tuner.errors import NotFoundError, SearchDamagedError
from colab_drive_tuner.journal.chain.record import Record, RecordKind, decode_record, record_name
from colab_drive_tuner.journal.folder.properties import (
    FolderKind,
    Property,
    SearchFolder,
    name_marks,
    search_folder,
)
from colab_drive_tuner.store.protocol import Entry, Store


def find_folder(store: Store, name: str) -> SearchFolder | None:
    """Return the folder of this name, the winner of several; None if none is listed.

    Raises `SearchDamagedError` if the store reports damage in a folder of this name.
    """
    try:
        listed = [entry for entry in store.list(store.root, name=name) if entry.is_folder]
    except NotFoundError:
        return None  # the root is created with its first search
    for entry in listed:
        if entry.damage:
            raise SearchDamagedError(f"Search {name!r} cannot be used: {entry.damage}")
    entries = [
        entry for entry in listed if entry.properties.get(Property.KIND) == FolderKind.SEARCH
    ]
    if not entries:
        return None
    found = {search_folder(entry): entry for entry in originals(store, entries)}
    folders = sorted(found, key=lambda folder: folder.creation_order)
    empty = _older_than_search(store, folders) if len(folders) > 1 else 0
    winner, *duplicates = folders[empty:]
    marked = name_marks(store, name).items() <= found[winner].properties.items()
    older = tuple(folders[:empty])
    return replace(winner, duplicates=tuple(duplicates), empty=older, marked=marked)


def _older_than_search(store: Store, folders: Sequence[SearchFolder]) -> int:
    """Return how many of the oldest folders are empty, if the next one has a record 0."""
    for place, folder in enumerate(folders):
        if _parent_of_first(store, folder) == folder.records:
            return place
        if not is_empty(store, folder):
            break
    return 0


def is_empty(store: Store, folder: SearchFolder) -> bool:
    """Whether a folder, with its trash, holds at most a `moved` under id0 and an empty records/."""
    try:
        for entry in (*store.list(folder.id), *store.list_trash(folder.id)):
            if entry.id not in (folder.first, folder.records):
                return False
            if entry.is_folder and (store.list(entry.id) or store.list_trash(entry.id)):
                return False
    except NotFoundError:
        return True  # its creator has just trashed it
    return _parent_of_first(store, folder) in (None, folder.id)


def _parent_of_first(store: Store, folder: SearchFolder) -> str | None:
    """Return the folder of record 0, or of the `moved` in its place; None if there is neither."""
    with contextlib.suppress(NotFoundError):
        return store.stat(folder.first).parent if folder.first else None
    return None


def originals(store: Store, entries: Iterable[Entry]) -> list[Entry]:
    """Return the folders without their copies, which have the same id of record 0."""
    by_first: dict[str, list[Entry]] = {}
    for entry in entries:
        by_first.setdefault(entry.properties.get(Property.FIRST, entry.id), []).append(entry)
    return [_original(store, same) for same in by_first.values()]


def _original(store: Store, entries: Sequence[Entry]) -> Entry:
    """Return the folder with the records, out of those with the same id of record 0."""
    first, *copies = sorted(entries, key=lambda entry: (entry.created, entry.id))
    if copies:
        with contextlib.suppress(NotFoundError):  # records/ does not exist yet or is in the trash
            home = store.stat(search_folder(first).records).parent
            return next((entry for entry in entries if entry.id == home), first)
    return first


def exists(store: Store, entry_id: str) -> bool:
    """Whether an entry exists and is not in the trash."""
    try:
        store.stat(entry_id)
    except NotFoundError:
        return False
    return True


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
