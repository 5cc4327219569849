"""Creation of a search's folder: rule FOLDER where several runtimes do it at the same moment.

Drive has no create-if-absent by name, so each of them makes a folder, looks again and withdraws
its own unless that one wins.
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
    described,
    find_folder,
    name_marks,
)
from colab_drive_tuner.journal.folder.marked_folders import has_begun
from colab_drive_tuner.store.protocol import Store

_LOOKS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0)


def create_folder(
    store: Store, name: str, sleep: Callable[[float], None] = time.sleep
) -> SearchFolder:
    """Create a folder for a search where none is listed; return the one that bears the name then.

    It waits until the listing shows it (and with it whatever was created
    before), since nothing may be acknowledged before it is settled who won.
    """
    own = make_search_folder(store, name, FolderKind.SEARCH)
    for pause in _LOOKS:
        sleep(pause)
        found = find_folder(store, name)
        if found is not None and own.id in {
            found.id,
            *(duplicate.id for duplicate in found.duplicates),
        }:
            break
    else:
        raise StoreError(
            f"The new folder of search {name!r} does not show in its listing: try again in a "
            f"minute. Nothing is lost."
        )
    if found.id != own.id:
        _withdraw(store, own, found.id)
        return found
    for duplicate in found.duplicates:
        # Ours is older, and yet the other could not see it: what is recorded there stays.
        if has_begun(store, owned_ids(store, duplicate).folder.first):
            return duplicate if _withdraw(store, own, duplicate.id) else found
    return found


def make_search_folder(store: Store, name: str, kind: FolderKind, **marks: str) -> SearchFolder:
    """Create a folder with ids of its own; whose the name is, is not settled by that."""
    own, first, records, export = store.reserve(4)
    properties = {KIND: kind, FIRST: first, RECORDS: records, EXPORT: export, **marks}
    properties |= name_marks(store, name)
    try:
        made = store.create(own, None, name=name, parent=store.root, properties=properties)
    except IdTakenError:  # ours: nobody else has the id, so an earlier send got through
        made = store.stat(own)
    return described(made)


def _withdraw(store: Store, own: SearchFolder, winner: str) -> bool:
    """Trash the folder that lost, unless somebody has found it meanwhile and writes there.

    `moved` under the id of its record 0 settles that: whoever comes later collides with it. A
    chain that has begun stays, and its owner finds the winner.
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
