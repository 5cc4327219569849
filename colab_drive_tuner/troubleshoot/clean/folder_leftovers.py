"""Leftover folders of a search: interrupted copies, and duplicates, which are merged before."""

from collections.abc import Iterator
from contextlib import suppress
from functools import partial

from colab_drive_tuner.checkpoint.document_validation import same_parameters
from colab_drive_tuner.checkpoint.history import History
from colab_drive_tuner.checkpoint.record_items import REAL_ENDS, ItemKind, read_items
from colab_drive_tuner.errors import NotFoundError, SearchDamagedError, StoreError
from colab_drive_tuner.journal.chain.record import RecordKind
from colab_drive_tuner.journal.folder.lookup import (
    FolderKind,
    Property,
    SearchFolder,
    exists,
    holds_records,
    search_folder,
)
from colab_drive_tuner.journal.spool.spool import Spool
from colab_drive_tuner.machine import is_this_machine
from colab_drive_tuner.search.results.read_search import read_history
from colab_drive_tuner.store.protocol import Entry, Store
from colab_drive_tuner.troubleshoot.clean.leftovers import (
    Leftover,
    describe_location,
    is_held,
    left_in_store,
    trash,
    trash_and_free,
)
from colab_drive_tuner.troubleshoot.repair.salvage import SalvagedFolder, salvage_folder
from colab_drive_tuner.troubleshoot.repair.search_check import claim_and_release

FROM, MAKER = "cdt_from", "cdt_by"
"""Marks of a copy: the id of the original's first record, and the machine that writes the copy."""
_SUFFIX = "~copying-"
SETTLED_SECONDS = 3600.0
"""Age in seconds from which no process is assumed to be still creating a folder or file."""


def copying_name(name: str, nonce: str) -> str:
    """Return the temporary folder name of a copy in progress."""
    return f"{name}{_SUFFIX}{nonce}"


def name_of_copy(folder: Entry) -> str:
    """Return the final name of a copy in progress."""
    return folder.name.rpartition(_SUFFIX)[0] or folder.name


def is_abandoned(store: Store, folder: Entry, *, locked: bool = False) -> bool:
    """Whether no process continues this copy; `locked`: the caller holds the lock of its name."""
    if not is_this_machine(folder.properties.get(MAKER, "")):
        return folder.created < store.now() - SETTLED_SECONDS
    if locked:
        return True
    spool = Spool(store.location, name_of_copy(folder))
    if not spool.acquire():
        return False
    spool.release()
    return True


def copy_leftovers(store: Store, folder: Entry) -> Iterator[Leftover]:
    """Yield the folder if it is an abandoned copy."""
    if not is_abandoned(store, folder):
        return
    copied = search_folder(folder)
    yield left_in_store(
        store,
        "unfinished copy",
        folder.id,
        folder.name,
        "A `copy` or `move` of a search was interrupted before it was complete.",
        partial(_is_still_abandoned, store, folder),
        # The first record is written last: a folder with one may be a search with a forged mark.
        ours=not (exists(store, copied.first) or holds_records(store, folder)),
        discard=partial(trash_and_free, store, copied, name_of_copy(folder)),
    )


def _is_still_abandoned(store: Store, folder: Entry) -> bool:
    with suppress(NotFoundError):
        now = store.stat(folder.id)
        return now.properties.get(Property.KIND) == FolderKind.COPYING and is_abandoned(
            store, folder
        )
    return False


def duplicate_folder(
    store: Store,
    name: str,
    duplicate: SearchFolder,
    history: History,
    *,
    young: bool,
    foreign_files: list[str],
) -> Iterator[Leftover]:
    """Yield the losing folder as a leftover, unless a session may be using it.

    In a `young` folder a session without records may be about to start. `foreign_files` are names
    of files in the folder that no search creates.
    """
    salvaged = salvage_folder(store, duplicate)
    holder = salvaged.holder(store)
    if (holder is not None and not holder.stale) or (young and not salvaged.records):
        return
    refused, lost = "", 0
    unreadable = bool(salvaged.unreadable or salvaged.missing)
    try:
        lost = count_unmergeable(salvaged, history)
    except SearchDamagedError:
        unreadable = True
    if lost:
        refused = (
            f"{lost} of its results have other parameters than the search's trials with the same "
            f"numbers, so they would be lost: look at its trials.pkl first."
        )
    elif unreadable:
        refused = "Not all of its records are readable, so it is not changed."
    elif foreign_files:
        refused = f"It holds {foreign_files[0]!r}, which no search creates: move that away first."
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


def count_unmergeable(salvaged: SalvagedFolder, history: History, *, merged: bool = False) -> int:
    """Count the folder's results that contradict the history; if `merged`, also missing ones."""
    count = 0
    for found in salvaged.records.values():
        if found.record.kind != RecordKind.TRIALS:
            continue
        for item in read_items(found.record.payload, f"Record {found.record.pos}"):
            if item.kind != ItemKind.END or item.how not in REAL_ENDS:
                continue
            entry = history.trials.get(item.tid)
            if entry is None or (merged and entry.end not in REAL_ENDS):
                count += merged
            elif not same_parameters(entry.document, item.document, item.tid):
                count += 1
    return count


def _merge(store: Store, name: str, duplicate: SearchFolder) -> str:
    """Merge the folder's results into the search, check that none is missing, and trash it."""
    claim_and_release(store, name)
    if count_unmergeable(salvage_folder(store, duplicate), read_history(store, name), merged=True):
        raise StoreError(
            f"Not all results of {describe_location(store, duplicate.id, name)} could be added to "
            f"the search, so the folder was not removed."
        )
    return trash(store, [duplicate.id])
