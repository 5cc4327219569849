"""Ownership check: an id that a property or a record names is used only for a file of this search.

Whoever may edit a search's folder can set its properties and alter its records, so an id found
there may name any file of the owner's. It counts only where the store says that the file lies in
the search's own folder and is of the right kind; nothing else is read as ours, written or trashed.
What cannot be told is an id under which nothing was created yet.
"""

from collections.abc import Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from colab_drive_tuner.errors import (
    ForeignFileError,
    NotFoundError,
    StoreError,
    UnavailableError,
)
from colab_drive_tuner.journal.chain.chain import parallel_readers
from colab_drive_tuner.journal.chain.fields import FILE_ID
from colab_drive_tuner.journal.folder.lookup import (
    EXPORT,
    EXPORT_NAME,
    FIRST,
    HINT,
    RECORDS,
    SearchFolder,
)
from colab_drive_tuner.store.protocol import Entry, Store


def owned_entry(
    store: Store,
    entry_id: str,
    parents: Collection[str],
    what: str,
    *,
    name: str | None = None,
    is_folder: bool = False,
) -> Entry:
    """The entry under an id that was read, which lies directly in one of the folders.

    `what` names where the id was read. Raises `NotFoundError` where nothing is there, or it is in
    the trash, and `ForeignFileError` where something else is there.
    """
    if not FILE_ID.fullmatch(entry_id):
        raise ForeignFileError(f"{what} is {entry_id!r:.80}, which is not a file's id.")
    entry = store.stat(entry_id)
    right = (
        entry.id == entry_id
        and entry.parent in parents
        and entry.is_folder == is_folder
        and name in (None, entry.name)
    )
    if not right:
        kind = "folder" if is_folder else "file"
        raise ForeignFileError(
            f"{what} names {entry_id}, which is no {kind} of this search: somebody moved it out of "
            f"the search's folder, or set that id. What lies there is left alone."
        )
    return entry


def is_owned(
    store: Store, entry_id: str, parents: Collection[str], listed: Collection[str]
) -> bool:
    """Whether a file lies in one of the folders, or was `listed` there or in their trash."""
    if entry_id in listed:
        return True
    try:
        owned_entry(store, entry_id, parents, "An id")
    except (NotFoundError, ForeignFileError):
        return False
    return True


@dataclass(frozen=True)
class OwnedIds:
    """Which of the ids in a search folder's properties may be used."""

    folder: SearchFolder
    """The folder with an empty text for each id that may not be used."""
    foreign: Mapping[str, str]
    """By property, why its id may not."""
    absent: frozenset[str]
    """The properties under whose ids nothing is to be found."""

    def require(self, *keys: str) -> None:
        """Raise `ForeignFileError` where one of the properties names another's file."""
        for key in keys:
            if key in self.foreign:
                raise ForeignFileError(self.foreign[key])


def owned_ids(store: Store, folder: SearchFolder) -> OwnedIds:
    """Ask the store, all at once, what lies under the ids in the properties of a search's folder.

    A folder of records that lies in the trash is the search's own, too.
    """
    foreign: dict[str, str] = {}
    found: dict[str, Entry] = {}
    with parallel_readers("cdt-owned") as readers:
        for key, answer in _asked(store, folder, readers).items():
            try:
                found[key] = answer.result()
            except NotFoundError:
                continue
            except ForeignFileError as error:
                foreign[key] = str(error)
            except StoreError as error:
                if key in (RECORDS, FIRST) or isinstance(error, UnavailableError):
                    raise
                foreign[key] = str(error)  # a convenience, which is made anew
    absent = {RECORDS, FIRST, EXPORT} - set(found) - set(foreign)
    if RECORDS in absent and any(e.id == folder.records for e in store.list_trash(folder.id)):
        absent.remove(RECORDS)
    if RECORDS in absent and FIRST in foreign:
        foreign[RECORDS] = f"{_what(RECORDS)} names {folder.records!r:.80}, where nothing is."
    elif RECORDS in foreign:
        # What lies in another's folder is another's, whatever else it is.
        for key in (FIRST, HINT):
            if key in found and found[key].parent == folder.records:
                foreign[key] = f"{_what(key)} names {found[key].id}, which is another's file."
    usable = replace(
        folder,
        records="" if RECORDS in foreign else folder.records,
        first="" if FIRST in foreign else folder.first,
        export="" if EXPORT in foreign else folder.export,
        hint="" if HINT in foreign else folder.hint,
    )
    return OwnedIds(usable, foreign, frozenset(absent))


def _asked(
    store: Store, folder: SearchFolder, readers: ThreadPoolExecutor
) -> dict[str, Future[Entry]]:
    """The question for each property."""
    questions: list[tuple[str, str, set[str], dict[str, Any]]] = [
        (RECORDS, folder.records, {folder.id}, {"is_folder": True}),
        (FIRST, folder.first, {folder.id, folder.records}, {}),
        (EXPORT, folder.export, {folder.id}, {"name": EXPORT_NAME}),
    ]
    if folder.hint:
        questions.append((HINT, folder.hint, {folder.records}, {}))
    return {
        key: readers.submit(owned_entry, store, entry_id, parents, _what(key), **kind)
        for key, entry_id, parents, kind in questions
    }


def _what(key: str) -> str:
    return f"Property {key} of the folder"
