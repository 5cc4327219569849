"""Creation of a search's folder, also by several runtimes at the same moment, and of subfolders.

Rule FOLDER: Drive has no create-if-absent by name, so each runtime creates a folder, lists the name
again, and withdraws its own folder unless it wins.
"""

import contextlib
import time
from collections.abc import Callable

from colab_drive_tuner.errors import (
    ForeignFileError,
    IdTakenError,
    NotFoundError,
    SearchDamagedError,
    StoreError,
)
from colab_drive_tuner.journal.chain.chain import Head, end_chain
from colab_drive_tuner.journal.folder.file_ownership import owned_entry
from colab_drive_tuner.journal.folder.lookup import (
    FolderKind,
    Property,
    SearchFolder,
    exists,
    find_folder,
    first_records,
    has_begun,
    name_marks,
    search_folder,
)
from colab_drive_tuner.store.protocol import Store

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
    return found


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


def find_or_create_subfolder(store: Store, parent: str, name: str) -> str:
    """Return the id of the folder of that name; create it, and record its id, if there is none.

    Two runtimes may each create one: all are read.
    """
    if found := find_subfolders(store, parent, name):
        return found[0]
    try:
        made = store.create(store.reserve(1)[0], None, name=name, parent=parent)
        store.set_properties(parent, {f"cdt_{name}": made.id})
    except StoreError:
        if found := find_subfolders(store, parent, name):  # another runtime created it
            return found[0]
        raise
    return made.id
