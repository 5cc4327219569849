"""Duplicate folders of one name: one search created by two runtimes at once, or two searches.

Two runtimes that create a search at the same moment make two folders, which are merged. Anyone who
can edit a folder can change its name and properties, so the records decide: both chains must begin
with a claim by the same account for the same search.
"""

from datetime import UTC, datetime

from colab_drive_tuner.errors import SearchFolderError
from colab_drive_tuner.journal.chain.record import ClaimReason, Record, RecordKind
from colab_drive_tuner.journal.folder.file_ownership import owned_ids
from colab_drive_tuner.journal.folder.lookup import (
    FolderKind,
    Property,
    SearchFolder,
    exists,
    first_records,
)
from colab_drive_tuner.journal.folder.moved_folders import link
from colab_drive_tuner.store.protocol import LIST_LAG_SECONDS, Store


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
        f"Two searches are called {name!r}: {store.url(folder.id)}, begun {_day(folder)}, and "
        f"{store.url(duplicate.id)}, begun {_day(duplicate)}. Rename one of the folders, or put "
        f"it into the trash."
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
    where = "".join(f": {link(store, entry.id)}" for entry in others[:1])
    raise SearchFolderError(
        f"The folder {store.url(folder.id)} of search {name!r} is a copy without its records, "
        f"which are in the trash. Restore the folder from which it was copied{where}."
    )


def _day(folder: SearchFolder) -> str:
    return f"{datetime.fromtimestamp(folder.created, UTC):%Y-%m-%d %H:%M} UTC"
