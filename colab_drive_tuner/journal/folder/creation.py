"""Creation of a search's folder, also by several runtimes at the same moment, and of subfolders.

Rule FOLDER: Drive has no create-if-absent by name, so each runtime creates a folder, lists the name
again, and withdraws its own folder unless it wins. Duplicates that remain are merged if they are of
one search. Anyone who can edit a folder can change its name and properties, so the records decide:
both chains must begin with a claim by the same account for the same search.
"""

import contextlib
import time
from collections.abc import Callable
from dataclasses import replace

from colab_drive_tuner.errors import (
    ForeignFileError,
    IdTakenError,
    NotFoundError,
    SearchDamagedError,
    SearchFolderError,
    StoreError,
)
from colab_drive_tuner.journal.chain.chain import Head, end_chain
from colab_drive_tuner.journal.chain.record import ClaimReason, Record, RecordKind
from colab_drive_tuner.journal.folder.file_ownership import owned_entry, owned_ids
from colab_drive_tuner.journal.folder.lookup import exists, find_folder, first_records, has_begun
from colab_drive_tuner.journal.folder.moved_folders import link_to
from colab_drive_tuner.journal.folder.properties import (
    FolderKind,
    Property,
    SearchFolder,
    name_marks,
    search_folder,
)
from colab_drive_tuner.store.protocol import LIST_LAG_SECONDS, Entry, Store
from colab_drive_tuner.text import utc_time

BACKUPS, BEST_MODELS, RUNS = "backups", "best", "runs"
"""Names of the subfolders of a search's folder."""
_LISTING_DELAYS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0)


def create_folder(
    store: Store, name: str, sleep: Callable[[float], None] = time.sleep
) -> SearchFolder:
    """Create a folder for a search if none is listed; return the folder that wins the name.

    Wait until the listing shows the new folder, and with it any older one: nothing may be
    acknowledged before the winner is known.
    """
    own = make_search_folder(store, name, FolderKind.SEARCH)
    for pause in _LISTING_DELAYS:
        sleep(pause)
        found = find_folder(store, name)
        if found is None:
            continue
        if own.id in {folder.id for folder in (found, *found.duplicates, *found.empty)}:
            break
        if not exists(store, own.id):
            return found  # another runtime, which saw that nothing is recorded in it, withdrew it
    else:
        raise StoreError(
            f"The new folder of search {name!r} is not listed yet: try again in a minute. Nothing "
            f"is lost."
        )
    # Even if ours is older: another runtime that has begun the search could not see it.
    if found.id != own.id and not withdraw(store, own, found.id):
        return find_folder(store, name) or found
    return replace(found, new=found.id == own.id)


def make_search_folder(store: Store, name: str, kind: FolderKind, **marks: str) -> SearchFolder:
    """Create a folder with newly reserved ids; this does not decide who wins the name."""
    own, first, records, export = store.reserve(4)
    properties = {
        Property.KIND: kind,
        Property.FIRST: first,
        Property.RECORDS: records,
        Property.EXPORT: export,
        **marks,
    }
    properties |= name_marks(store, name)
    try:
        made = store.create(own, None, name=name, parent=store.root, properties=properties)
    except IdTakenError:  # the id is only ours, so an earlier send succeeded
        made = store.stat(own)
    return search_folder(made)


def withdraw(store: Store, own: SearchFolder, winner: str) -> bool:
    """Trash a losing folder, unless a runtime has begun a chain in it; return True if trashed.

    Creating `moved` under the id of record 0 decides: later writers collide with it. A chain that
    has begun stays, and its owner finds the winner.
    """
    if not first_records(store, own.first):
        end_chain(store, Head(0, "", (own.first,)), own.id, winner)
    if has_begun(store, own.first):
        return False
    with contextlib.suppress(NotFoundError):  # another runtime withdrew it, too
        store.trash(own.id)
    return True


def ensure_records_folder(store: Store, folder: SearchFolder) -> None:
    """Create the folder `records/` under its fixed id, unless it is there."""
    try:
        store.create(folder.records, None, name="records", parent=folder.id)
    except IdTakenError:  # created by an earlier session
        if store.stat(folder.records).parent != folder.id:
            raise SearchDamagedError(
                f"Property {Property.RECORDS} of the folder names {folder.records}, which is not a "
                f"folder of this search."
            ) from None


def find_subfolders(store: Store, parent: str, name: str) -> list[str]:
    """Return the ids of the folders of that name, preferred first; several after a lost race.

    Listings lag, so the id of a new folder is also a property of its parent: reads by id are up to
    date.
    """
    found = []
    key = f"cdt_{name}"
    marked = store.stat(parent).properties.get(key)
    if marked:
        # NotFoundError: the user moved the folder to the trash, so its files are not wanted.
        # ForeignFileError: someone else set the property; the file it names is not touched.
        with contextlib.suppress(NotFoundError, ForeignFileError):
            found.append(owned_entry(store, marked, {parent}, key, name=name, is_folder=True).id)
    listed = [e.id for e in store.list(parent, name=name) if e.is_folder and e.id != marked]
    return found + listed


def list_subfolder(store: Store, parent: str, name: str) -> list[Entry]:
    """List what is in the folders of that name."""
    folders = find_subfolders(store, parent, name)
    return [entry for folder in folders for entry in store.list(folder)]


def find_or_create_subfolder(store: Store, parent: str, name: str) -> str:
    """Return the id of the folder of that name; create it, and record its id, if there is none.

    Two runtimes may each create one: all are read.
    """
    if found := find_subfolders(store, parent, name):
        return found[0]
    try:
        (made,) = store.reserve(1)
        with contextlib.suppress(IdTakenError):  # the id is only ours: an earlier send succeeded
            store.create(made, None, name=name, parent=parent)
        store.set_properties(parent, {f"cdt_{name}": made})
    except StoreError:
        if found := find_subfolders(store, parent, name):  # another runtime created it
            return found[0]
        raise
    return made


def require_single(store: Store, name: str, folder: SearchFolder) -> None:
    """Raise `SearchFolderError` if another search has this name."""
    for duplicate in folder.duplicates:
        if is_another_search(store, folder, duplicate):
            raise two_searches_error(store, name, folder, duplicate)


def two_searches_error(
    store: Store, name: str, folder: SearchFolder, duplicate: SearchFolder
) -> SearchFolderError:
    """Return the error that names both folders and the remedy."""
    if not first_records(store, folder.first):
        return SearchFolderError(
            f"Two folders are called {name!r}: {store.url(duplicate.id)}, which holds a search, "
            f"and the older {store.url(folder.id)}, in which nothing is recorded. Put the empty "
            f"one into the trash."
        )
    return SearchFolderError(
        f"Two searches are called {name!r}: {store.url(folder.id)}, begun "
        f"{utc_time(folder.created)}, and {store.url(duplicate.id)}, begun "
        f"{utc_time(duplicate.created)}. Rename one of the folders, or put it into the trash."
    )


def is_another_search(store: Store, folder: SearchFolder, duplicate: SearchFolder) -> bool:
    """Whether a younger folder of the name holds the records of another search.

    It is the same search if both folders were created within the time that a listing can lag and
    both first claims are for this search, the younger one with reason "new". A folder without
    records of its own is not a search.
    """
    theirs = first_records(store, owned_ids(store, duplicate).folder.first)
    if not theirs or (theirs[0] is not None and theirs[0].kind is RecordKind.MOVED):
        return False
    ours = first_records(store, folder.first)
    if not ours or ours[0] is None or theirs[0] is None:
        return True
    together = 0 <= duplicate.created - folder.created <= LIST_LAG_SECONDS
    return not (together and _are_of_one_search(store, ours[0], theirs[0]))


def _are_of_one_search(store: Store, ours: Record, theirs: Record) -> bool:
    """Whether two first claims are for one search by one account, the later with reason "new".

    The search may have been renamed since.
    """
    if ours.claimant is None or theirs.claimant is None or theirs.reason is not ClaimReason.NEW:
        return False
    same = (ours.search, ours.claimant.account) == (theirs.search, theirs.claimant.account)
    return same and bool(ours.search) and {ours.home, theirs.home} <= _homes(store)


def _homes(store: Store) -> set[str]:
    """Return the ids of the root and of its duplicates created at the same moment."""
    others = store.duplicates()
    if not others:
        return {store.root}
    created = store.stat(store.root).created
    return {store.root} | {e.id for e in others if e.created - created <= LIST_LAG_SECONDS}


def require_records(store: Store, name: str, folder: SearchFolder) -> None:
    """Raise `SearchFolderError` for a copy whose original, with the records, is in the trash."""
    if exists(store, folder.records):
        return
    marks: dict[str, str] = {Property.KIND: FolderKind.SEARCH, Property.FIRST: folder.first}
    others = [entry for entry in store.find_marked(marks) if entry.id != folder.id]
    where = "".join(f": {link_to(store, entry.id)}" for entry in others[:1])
    raise SearchFolderError(
        f"The folder {store.url(folder.id)} of search {name!r} is a copy without its records, "
        f"which are in the trash. Restore the folder from which it was copied{where}."
    )
