"""Leftovers of searches in their store: unfinished copies and repairs, duplicates, old files.

Only folders with this package's marks are examined, and never those of a search that a runtime
holds. A duplicate folder is merged before it is trashed; one that holds the only copy of a result
is listed, but its removal is refused.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from functools import partial

from colab_drive_tuner.checkpoint.document_schema import same_parameters
from colab_drive_tuner.checkpoint.history import History
from colab_drive_tuner.checkpoint.record_items import REAL_ENDS, Item, ItemKind, read_items
from colab_drive_tuner.checkpoint.trials_and_sessions import AttachmentFile
from colab_drive_tuner.errors import (
    NotFoundError,
    SearchDamagedError,
    SearchNotFoundError,
    StoreError,
)
from colab_drive_tuner.journal.chain.chain import old_snapshots
from colab_drive_tuner.journal.chain.record import RecordKind
from colab_drive_tuner.journal.folder.creation import BACKUPS, BEST_MODELS, RUNS, is_another_search
from colab_drive_tuner.journal.folder.file_ownership import owned_ids
from colab_drive_tuner.journal.folder.lookup import exists, find_folder, holds_records
from colab_drive_tuner.journal.folder.properties import (
    EXPORT_NAME,
    FolderKind,
    Property,
    SearchFolder,
    search_folder,
)
from colab_drive_tuner.journal.spool.spool import Spool
from colab_drive_tuner.machine import is_this_machine
from colab_drive_tuner.search.results.read_search import open_journal, read_history
from colab_drive_tuner.store.protocol import Entry, Store
from colab_drive_tuner.training.trial_backup_files import obsolete_backups
from colab_drive_tuner.troubleshoot.clean.local_leftovers import contains
from colab_drive_tuner.troubleshoot.clean.removal import (
    Leftover,
    is_held,
    left_in_store,
    left_on_disk,
    trash,
    trash_and_free,
)
from colab_drive_tuner.troubleshoot.repair.salvage import SalvagedFolder, salvage_folder
from colab_drive_tuner.troubleshoot.repair.search_check import claim_and_release

FROM, MAKER = "cdt_from", "cdt_by"
"""Marks of a copy: the id of the original's first record, and the machine that writes the copy."""
_SUFFIX = "~copying-"
_SETTLED_SECONDS = 3600.0
"""Age in seconds from which no process is assumed to be still creating a folder or file."""
_ATTACHMENT = re.compile(r"attachment-[0-9a-f]{16}\.cdt")
_SEARCH_FILES = re.compile(
    rf"records|{EXPORT_NAME}|{BEST_MODELS}|{BACKUPS}|{RUNS}|record-\d{{6,}}\.cdt"
)
"""Names in a search's folder; a record is there if `moved` ended a chain that had no records."""


def leftovers_of_searches(store: Store) -> Iterator[Leftover]:
    """List the leftovers in a store; change nothing."""
    marked = [e for e in store.list(store.root) if e.is_folder and Property.KIND in e.properties]
    searches = {e.name for e in marked if e.properties[Property.KIND] == FolderKind.SEARCH}
    for folder in marked:
        yield from _unfinished_or_archived(store, folder)
    for name in sorted(searches):
        if not is_held(store, name):
            yield from _leftovers_of(store.for_search(name), name)
    for path in store.abandoned(store.now() - _SETTLED_SECONDS):
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


def _unfinished_or_archived(store: Store, folder: Entry) -> Iterator[Leftover]:
    """Yield a folder that `copy`, `move` or `repair` left. Its mark may be forged."""
    kind = folder.properties[Property.KIND]
    marked, name, ours = search_folder(folder), folder.name, False
    if kind == FolderKind.COPYING and is_abandoned(store, folder):
        what = "unfinished copy"
        reason = "A `copy` or `move` of a search was interrupted before it was complete."
        name = name_of_copy(folder)
        # The first record is written last: a folder with one may be a search.
        ours = not (exists(store, marked.first) or holds_records(store, folder))
    elif kind == FolderKind.ARCHIVED:
        what = "archived search"
        reason = "`repair` rebuilt the search in another folder and kept this one unchanged."
    elif kind == FolderKind.REPAIRING and _is_settled(store, folder):
        what = "unfinished repair"
        reason = "A `repair` was interrupted before it replaced the search's folder."
    else:
        return

    def still_stale() -> bool:
        is_used = kind == FolderKind.COPYING and not is_abandoned(store, folder)
        return _is_unchanged(store, folder) and not is_used

    discard = partial(trash_and_free, store, marked, name)
    yield left_in_store(
        store, what, folder.id, folder.name, reason, still_stale, ours=ours, discard=discard
    )


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
            yield from _duplicate_folder(store, name, duplicate, journal.state)
    reason = "Readers use the newest snapshot; the records hold everything in the older ones."
    snapshots = list(old_snapshots(store, winner))
    yield from _old_files(store, winner, name, "snapshots", reason, snapshots)
    reason = "Their trials have ended, and the results are recorded."
    unfinished = {entry.tid for entry in journal.state.unfinished}
    old = obsolete_backups(store, winner.id, unfinished, epoch=journal.epoch)
    yield from _old_files(store, winner, name, "backups", reason, old)
    reason = "No record names them: their runtime ended after their upload, before the record's."
    old = _unrecorded_attachments(store, winner, journal.state)
    yield from _old_files(store, winner, name, "attachments", reason, old)


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


def _duplicate_folder(
    store: Store, name: str, duplicate: SearchFolder, history: History
) -> Iterator[Leftover]:
    """Yield the losing folder as a leftover, unless a session uses it or may be about to."""
    salvaged = salvage_folder(store, duplicate)
    holder = salvaged.holder(store)
    if holder is not None and not holder.stale:
        return
    if not salvaged.records and not _is_settled(store, duplicate):
        return
    refused = ""
    if salvaged.unreadable or salvaged.missing or _contradicts(history, salvaged):
        refused = (
            "Not all of its results can be added to the search, because records are unreadable or "
            "contradict the search's own: look at its trials.pkl first."
        )
    elif foreign := _foreign_files(store, duplicate.id):
        refused = f"It holds {foreign[0]!r}, which no search creates: move that away first."
    yield left_in_store(
        store,
        "duplicate folder",
        duplicate.id,
        name,
        "Two runtimes created the search at the same moment; its results are added to the other "
        "folder, in which the search continues.",
        lambda: not is_held(store, name),
        discard=partial(_merge, store, name, duplicate),
        refused=refused,
    )


def _results(salvaged: SalvagedFolder) -> Iterator[Item]:
    """Yield the ends of trials in a folder; raise `SearchDamagedError` for an unreadable record."""
    for record in salvaged.records.values():
        if record.kind == RecordKind.TRIALS:
            for item in read_items(record.payload, f"Record {record.pos}"):
                if item.kind == ItemKind.END and item.how in REAL_ENDS:
                    yield item


def _contradicts(history: History, salvaged: SalvagedFolder) -> bool:
    """Whether a result in the folder has other parameters than the search's trial."""
    try:
        return any(
            not same_parameters(history.trials[item.tid].document, item.document, item.tid)
            for item in _results(salvaged)
            if item.tid in history.trials
        )
    except SearchDamagedError:
        return True


def _merge(store: Store, name: str, duplicate: SearchFolder) -> str:
    """Merge the folder's results into the search, check that none is missing, and trash it."""
    claim_and_release(store, name)
    history = read_history(store, name)
    if not all(contains(history, item) for item in _results(salvage_folder(store, duplicate))):
        raise StoreError(
            f"Not all results of {name!r}, {store.url(duplicate.id)}, could be added to the "
            f"search, so the folder was not removed."
        )
    return trash(store, [duplicate.id])


def copying_name(name: str, nonce: str) -> str:
    """Return the temporary folder name of a copy in progress."""
    return f"{name}{_SUFFIX}{nonce}"


def name_of_copy(folder: Entry) -> str:
    """Return the final name of a copy in progress."""
    return folder.name.rpartition(_SUFFIX)[0] or folder.name


def is_abandoned(store: Store, folder: Entry, *, locked: bool = False) -> bool:
    """Whether no process continues this copy; `locked`: the caller holds the lock of its name."""
    if not is_this_machine(folder.properties.get(MAKER, "")):
        return folder.created < store.now() - _SETTLED_SECONDS
    if locked:
        return True
    spool = Spool(store.location, name_of_copy(folder))
    if not spool.acquire():
        return False
    spool.release()
    return True


def _is_settled(store: Store, folder: Entry | SearchFolder) -> bool:
    """Whether the folder is so old that no process is still creating it."""
    return folder.created <= store.now() - _SETTLED_SECONDS


def _has_no_files(store: Store, folder_id: str) -> bool:
    """Whether a folder holds at most an empty folder for records."""
    inside = store.list(folder_id)
    return all(e.is_folder and e.name == "records" and _is_empty(store, e.id) for e in inside)


def _foreign_files(store: Store, folder_id: str) -> list[str]:
    """Return the names in a search's folder that no search creates."""
    listed = store.list(folder_id)
    return [entry.name for entry in listed if not _SEARCH_FILES.fullmatch(entry.name)]


def _is_unchanged(store: Store, folder: Entry) -> bool:
    """Whether the folder still exists and has the same mark."""
    with suppress(NotFoundError):
        now = store.stat(folder.id).properties.get(Property.KIND)
        return now == folder.properties[Property.KIND]
    return False


def _unrecorded_attachments(store: Store, folder: SearchFolder, history: History) -> list[str]:
    """Return the ids of attachment files that no record names; none if a record is unreadable."""
    named = {file.id for file in history.attachments.values() if isinstance(file, AttachmentFile)}
    found = {
        entry.id
        for entry in store.list(folder.records)
        if _ATTACHMENT.fullmatch(entry.name) and _is_settled(store, entry)
    } - named
    if not found:
        return []
    salvaged = salvage_folder(store, folder)  # reads the records, which earlier histories need
    if salvaged.missing or salvaged.unreadable:
        return []
    return sorted(found.difference(*(each.files.values() for each in salvaged.records.values())))


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


def _is_empty(store: Store, entry_id: str) -> bool:
    return not store.list(entry_id)
