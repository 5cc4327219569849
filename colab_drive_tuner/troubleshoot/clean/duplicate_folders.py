"""Leftover duplicate folders of a search; their results are merged before they are trashed."""

from collections.abc import Iterator
from functools import partial

from colab_drive_tuner.checkpoint.document_validation import same_parameters
from colab_drive_tuner.checkpoint.history import History
from colab_drive_tuner.checkpoint.record_items import REAL_ENDS, ItemKind, read_items
from colab_drive_tuner.errors import SearchDamagedError, StoreError
from colab_drive_tuner.journal.chain.record import RecordKind
from colab_drive_tuner.journal.folder.lookup import SearchFolder
from colab_drive_tuner.search.results.read_search import read_history
from colab_drive_tuner.search.spec.settings import SearchSettings
from colab_drive_tuner.search.trials.logbook import Logbook
from colab_drive_tuner.store.protocol import Store
from colab_drive_tuner.troubleshoot.clean.leftovers import (
    Leftover,
    describe_location,
    is_held,
    trash,
)
from colab_drive_tuner.troubleshoot.repair.salvage import SalvagedFolder, salvage_folder


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

    Args:
        store: The store, scoped to the search.
        name: The search's name.
        duplicate: The duplicate folder.
        history: The state of the search that won.
        young: Whether the folder is new, so that a session without records may be about to start.
        foreign_files: Names of files in the folder that no search creates.
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
    yield Leftover(
        kind="duplicate folder",
        id=duplicate.id,
        where=describe_location(store, duplicate.id, name),
        reason=(
            "Two runtimes created the search at the same moment; its results are added to the "
            "other folder, in which the search continues."
        ),
        ours=True,
        still_stale=lambda: not is_held(store, name),
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
    book = Logbook(store, name)
    # Claiming a search merges its duplicate folders.
    book.claim(SearchSettings(seeded=False, runs=False), on_busy="error", notify=lambda text: None)
    book.close(60.0)
    if count_unmergeable(salvage_folder(store, duplicate), read_history(store, name), merged=True):
        raise StoreError(
            f"Not all results of {describe_location(store, duplicate.id, name)} could be added to "
            f"the search, so the folder was not removed."
        )
    return trash(store, [duplicate.id])
