"""Ownership check: ids in properties or records are used only if their file is this search's.

Anyone who can edit a search's folder can change its properties and records, so an id found there
may name any file of the owner. It is accepted only if the store says that the file is in the
search's own folder and is of the right kind; other files are never read, written or trashed. An id
under which nothing was created yet cannot be checked.
"""

from collections.abc import Collection, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

from colab_drive_tuner.errors import ForeignFileError, NotFoundError, StoreError, UnavailableError
from colab_drive_tuner.journal.chain.chain import parallel_readers
from colab_drive_tuner.journal.chain.fields import FILE_ID
from colab_drive_tuner.journal.folder.properties import EXPORT_NAME, Property, SearchFolder
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
    """Return the entry of an untrusted id, which must be directly in one of the folders.

    `what` names the place where the id was found. Raises `NotFoundError` if the entry does not
    exist or is in the trash, and `ForeignFileError` if it is something else.
    """
    if not FILE_ID.fullmatch(entry_id):
        raise ForeignFileError(f"{what} is {entry_id!r:.80}, which is not a file's id.")
    entry = store.stat(entry_id)
    is_ours = (
        entry.id == entry_id
        and entry.parent in parents
        and entry.is_folder == is_folder
        and name in (None, entry.name)
    )
    if not is_ours:
        kind = "folder" if is_folder else "file"
        raise ForeignFileError(
            f"{what} names {store.url(entry_id)}, which is no {kind} of this search. If somebody "
            f"moved it out of the search's folder, move it back. It is left unchanged."
        )
    return entry


@dataclass(frozen=True)
class OwnedIds:
    """Result of checking the ids in a search folder's properties."""

    folder: SearchFolder
    """The folder, with an empty string for each id that must not be used."""
    foreign: Mapping[Property, str]
    """By property, why its id must not be used."""
    absent: frozenset[Property]
    """Properties whose ids name no existing file."""

    def require(self, *keys: Property) -> None:
        """Raise `ForeignFileError` if one of the properties names a foreign file."""
        for key in keys:
            if key in self.foreign:
                raise ForeignFileError(self.foreign[key])


def owned_ids(store: Store, folder: SearchFolder) -> OwnedIds:
    """Check the ids in the properties of a search's folder, with parallel requests.

    A records/ in the folder's trash is the search's own, too.
    """
    checks: dict[Property, tuple[str, set[str], dict[str, Any]]] = {
        Property.RECORDS: (folder.records, {folder.id}, {"is_folder": True}),
        Property.FIRST: (folder.first, folder.record_folders, {}),
        Property.EXPORT: (folder.export, {folder.id}, {"name": EXPORT_NAME}),
    }
    if folder.hint:
        checks[Property.HINT] = (folder.hint, {folder.records}, {})
    with parallel_readers("cdt-owned") as readers:
        answers = {
            key: readers.submit(owned_entry, store, entry_id, parents, _what(key), **expected)
            for key, (entry_id, parents, expected) in checks.items()
        }
        results = {key: _entry_or_reason(answer, key) for key, answer in answers.items()}
    found = {key: result for key, result in results.items() if isinstance(result, Entry)}
    foreign = {key: result for key, result in results.items() if isinstance(result, str)}
    absent = {key for key, result in results.items() if result is None} - {Property.HINT}
    if Property.RECORDS in absent:
        if any(entry.id == folder.records for entry in store.list_trash(folder.id)):
            absent.remove(Property.RECORDS)
        elif Property.FIRST in foreign:
            foreign[Property.RECORDS] = (
                f"{_what(Property.RECORDS)} names {folder.records!r:.80}, where nothing is."
            )
    elif Property.RECORDS in foreign:
        # A file in a foreign folder is foreign, whatever its kind.
        for key in (Property.FIRST, Property.HINT):
            if key in found and found[key].parent == folder.records:
                foreign[key] = f"{_what(key)} names {found[key].id}, which is a foreign file."
    unusable: dict[str, Any] = {key.name.lower(): "" for key in foreign}
    return OwnedIds(replace(folder, **unusable), foreign, frozenset(absent))


def _entry_or_reason(answer: Future[Entry], key: Property) -> Entry | str | None:
    """Return the entry that a property names, why it must not be used, or None if it is absent."""
    try:
        return answer.result()
    except NotFoundError:
        return None
    except ForeignFileError as error:
        return str(error)
    except StoreError as error:
        if isinstance(error, UnavailableError) or key in (Property.RECORDS, Property.FIRST):
            raise
        return str(error)  # a convenience, which is created again


def _what(key: Property) -> str:
    return f"Property {key} of the folder"
