"""Leftovers of searches in their store: duplicate folders, old snapshots, backups, partial uploads.

Only folders with this package's marks are examined, and never those of a search that a runtime
holds. A leftover that holds the only copy of a result is listed, but its removal is refused.
"""

import re
from collections.abc import Iterator
from functools import partial

from colab_drive_tuner.errors import NotFoundError, SearchDamagedError, SearchNotFoundError
from colab_drive_tuner.journal.chain.record import ClaimReason, unframe
from colab_drive_tuner.journal.folder.creation import BACKUPS, BEST_MODELS, RUNS
from colab_drive_tuner.journal.folder.duplicate_folders import is_another_search
from colab_drive_tuner.journal.folder.file_ownership import owned_ids
from colab_drive_tuner.journal.folder.lookup import (
    EXPORT_NAME,
    FolderKind,
    Property,
    SearchFolder,
    find_folder,
    first_records,
    search_folder,
)
from colab_drive_tuner.search.results.read_search import open_journal
from colab_drive_tuner.store.protocol import Entry, Store
from colab_drive_tuner.training.trial_backup_files import obsolete_backups
from colab_drive_tuner.troubleshoot.clean.folder_leftovers import (
    SETTLED_SECONDS,
    copy_leftovers,
    duplicate_folder,
)
from colab_drive_tuner.troubleshoot.clean.leftovers import (
    Leftover,
    is_held,
    left_in_store,
    left_on_disk,
    trash,
    trash_and_free,
)
from colab_drive_tuner.troubleshoot.repair.salvage import salvage_folder

_KEPT_SNAPSHOTS = 2
_SNAPSHOT = re.compile(r"snapshot-\d{6,}\.cdt")
_SEARCH_FILES = re.compile(
    rf"records|{EXPORT_NAME}|{BEST_MODELS}|{BACKUPS}|{RUNS}|record-\d{{6,}}\.cdt"
)
"""Names in a search's folder; a record is there if `moved` ended a chain that had no records."""


def search_leftovers(store: Store) -> Iterator[Leftover]:
    """List the leftovers in a store; change nothing."""
    marked = [e for e in store.list(store.root) if e.is_folder and Property.KIND in e.properties]
    searches = [e for e in marked if e.properties[Property.KIND] == FolderKind.SEARCH]
    for folder in marked:
        if folder.properties[Property.KIND] == FolderKind.COPYING:
            yield from copy_leftovers(store, folder)
        if folder.properties[Property.KIND] in (FolderKind.ARCHIVED, FolderKind.REPAIRING):
            # A mark alone proves nothing: anyone who may edit a search's folder can set it.
            originals = {e.id for e in searches if e.name == folder.name}
            yield from _repair_leftovers(
                store, folder, folder.properties.get("cdt_from") in originals
            )
    for name in sorted({e.name for e in searches}):
        if not is_held(store, name):
            yield from _leftovers_of(store.for_search(name), name)
    for path in store.abandoned(store.now() - SETTLED_SECONDS):
        reason = "Its process ended before the upload was complete."
        yield left_on_disk("abandoned upload", path, reason, path.exists)
    for root in store.duplicates():
        if _is_settled(store, root) and _is_empty(store, root.id):
            reason = "It duplicates the older folder of this name, which holds the searches."
            still_stale = partial(_is_empty, store, root.id)
            # It has no mark of this package, only the name.
            yield left_in_store(
                store, "empty folder", root.id, root.name, reason, still_stale, ours=False
            )


def _is_settled(store: Store, folder: Entry | SearchFolder) -> bool:
    """Whether the folder is so old that no process is still creating it."""
    return folder.created <= store.now() - SETTLED_SECONDS


def _repair_leftovers(store: Store, folder: Entry, has_original: bool) -> Iterator[Leftover]:
    still_stale = partial(_is_unchanged, store, folder)
    discard = partial(trash_and_free, store, search_folder(folder), folder.name)
    if folder.properties[Property.KIND] == FolderKind.ARCHIVED:
        reason = "`repair` rebuilt the search in another folder and kept this one unchanged."
        kind, ours = "archived search", False
    elif _is_settled(store, folder):
        reason = "A `repair` was interrupted before it replaced the search's folder."
        kind, ours = "unfinished repair", has_original and _is_made_by_repair(store, folder)
    else:
        return
    yield left_in_store(
        store, kind, folder.id, folder.name, reason, still_stale, ours=ours, discard=discard
    )


def _is_made_by_repair(store: Store, folder: Entry) -> bool:
    """Whether record 0 names `repair` as its writer; the folder's mark may be forged."""
    own = owned_ids(store, search_folder(folder)).folder
    first = first_records(store, own.first)
    if not first:
        return _has_no_files(store, folder.id)
    made = first[0] is not None and (first[0].reason, first[0].search) == (
        ClaimReason.REBUILT,
        folder.name,
    )
    return made and not _foreign_files(store, folder.id)


def _has_no_files(store: Store, folder_id: str) -> bool:
    """Whether a folder holds at most an empty folder for records."""
    inside = store.list(folder_id)
    return all(e.is_folder and e.name == "records" and _is_empty(store, e.id) for e in inside)


def _foreign_files(store: Store, folder_id: str) -> list[str]:
    """Return the names in a search's folder that no search creates."""
    listed = store.list(folder_id)
    return [entry.name for entry in listed if not _SEARCH_FILES.fullmatch(entry.name)]


def _leftovers_of(store: Store, name: str) -> Iterator[Leftover]:
    found = find_folder(store, name)
    owned = None if found is None else owned_ids(store, found)
    if owned is None or owned.foreign:
        return  # its properties were altered: leave everything alone that they name
    winner = owned.folder
    try:
        journal = open_journal(store, name)
    except SearchNotFoundError:
        yield from _empty_search(store, name, winner)
        return
    for duplicate in winner.duplicates:
        if not is_another_search(store, winner, duplicate):  # a run reports another search
            yield from duplicate_folder(
                store,
                name,
                duplicate,
                journal.state,
                young=not _is_settled(store, duplicate),
                foreign_files=_foreign_files(store, duplicate.id),
            )
    reason = "Readers use the newest snapshot; the records hold everything in the older ones."
    yield from _old_files(store, winner, name, "snapshots", reason, _old_snapshots(store, winner))
    reason = "Their trials have ended, and the results are recorded."
    unfinished = {entry.tid for entry in journal.state.unfinished}
    old = obsolete_backups(store, winner.id, unfinished, epoch=journal.epoch)
    yield from _old_files(store, winner, name, "backups", reason, old)


def _empty_search(store: Store, name: str, folder: SearchFolder) -> Iterator[Leftover]:
    """Yield a folder in which no record was ever written, but none whose records were deleted."""
    if folder.duplicates or not _is_settled(store, folder):
        return
    salvaged = salvage_folder(store, folder)
    was_used = salvaged.records or salvaged.snapshots or salvaged.unreadable
    if not was_used and _has_no_files(store, folder.id):
        yield left_in_store(
            store,
            "empty search",
            folder.id,
            name,
            "The runtime that created it ended before it recorded anything.",
            lambda: not salvage_folder(store, folder).records and not is_held(store, name),
        )


def _old_snapshots(store: Store, folder: SearchFolder) -> list[str]:
    """Return the ids of all snapshots except the newest and the one in use."""
    try:
        listed = store.list(folder.records)
    except NotFoundError:
        return []
    snapshots = [entry for entry in listed if _SNAPSHOT.fullmatch(entry.name)]
    snapshots.sort(key=lambda entry: (entry.name, entry.created))
    return [
        entry.id
        for entry in snapshots[:-_KEPT_SNAPSHOTS]
        if entry.id != folder.hint and _is_snapshot(store, entry.id)
    ]


def _is_snapshot(store: Store, entry_id: str) -> bool:
    try:
        return "head" in unframe(store.read(entry_id), "a file")
    except (SearchDamagedError, NotFoundError):
        return False  # a foreign file, or already removed


def _old_files(
    store: Store, folder: SearchFolder, name: str, kind: str, reason: str, old: list[str]
) -> Iterator[Leftover]:
    """Yield one leftover for all old files of a kind, if there are any."""
    if old:
        yield Leftover(
            kind=f"old {kind}",
            id=f"{folder.id}/{kind}",
            where=f"{len(old)} {kind} of search {name!r}, {store.url(folder.id)}",
            reason=reason,
            ours=True,
            still_stale=lambda: not is_held(store, name),
            discard=partial(trash, store, old),
        )


def _is_unchanged(store: Store, folder: Entry) -> bool:
    try:
        return (
            store.stat(folder.id).properties.get(Property.KIND) == folder.properties[Property.KIND]
        )
    except NotFoundError:
        return False


def _is_empty(store: Store, entry_id: str) -> bool:
    return not store.list(entry_id)
