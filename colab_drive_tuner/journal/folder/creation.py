"""Creation of a search's folder, also by several runtimes at the same moment (rule FOLDER).

Drive has no create-if-absent by name, so each runtime creates a folder, lists the name again, and
withdraws its own folder unless it wins.
"""

import time
from collections.abc import Callable

from colab_drive_tuner.errors import IdTakenError, SearchDamagedError, StoreError
from colab_drive_tuner.journal.chain.chain import Head, end_chain
from colab_drive_tuner.journal.folder.file_ownership import owned_ids
from colab_drive_tuner.journal.folder.lookup import (
    EXPORT,
    FIRST,
    KIND,
    RECORDS,
    FolderKind,
    SearchFolder,
    exists,
    find_folder,
    name_marks,
    search_folder,
)
from colab_drive_tuner.journal.folder.marked_folders import has_begun
from colab_drive_tuner.store.protocol import Store

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
        if found is not None and own.id in {
            found.id,
            *(duplicate.id for duplicate in found.duplicates),
        }:
            break
        if found is not None and not exists(store, own.id):
            return found  # another runtime, which saw that nothing is recorded in it, withdrew it
    else:
        raise StoreError(
            f"The new folder of search {name!r} is not listed yet: try again in a minute. Nothing "
            f"is lost."
        )
    if found.id != own.id:
        withdraw(store, own, found.id)
        return found
    for duplicate in found.duplicates:
        # Ours is older, but the other runtime could not see it: its records must stay.
        if has_begun(store, owned_ids(store, duplicate).folder.first):
            return duplicate if withdraw(store, own, duplicate.id) else found
    return found


def make_search_folder(store: Store, name: str, kind: FolderKind, **marks: str) -> SearchFolder:
    """Create a folder with newly reserved ids; this does not decide who wins the name."""
    own, first, records, export = store.reserve(4)
    properties = {KIND: kind, FIRST: first, RECORDS: records, EXPORT: export, **marks}
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
    withdrawn = end_chain(store, Head(0, "", (own.first,)), own.id, winner)
    if withdrawn:
        store.trash(own.id)
    return withdrawn


def ensure_records_folder(store: Store, folder: SearchFolder) -> None:
    """Create the folder `records/` under its fixed id, unless it is there."""
    try:
        store.create(folder.records, None, name="records", parent=folder.id)
    except IdTakenError:  # created by an earlier session
        if store.stat(folder.records).parent != folder.id:
            raise SearchDamagedError(
                f"Property {RECORDS} of the folder names {folder.records}, which is not a folder "
                f"of this search."
            ) from None
