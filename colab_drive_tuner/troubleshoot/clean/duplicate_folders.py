"""Duplicate folders of a search: their results are added to it before they are put away."""

from collections.abc import Iterator
from functools import partial

from colab_drive_tuner.checkpoint.document_validation import same_parameters
from colab_drive_tuner.checkpoint.history import History
from colab_drive_tuner.checkpoint.items import REAL_ENDS, ItemKind, read_items
from colab_drive_tuner.errors import SearchDamagedError, StoreError
from colab_drive_tuner.journal.chain.record import RecordKind
from colab_drive_tuner.journal.folder.lookup import SearchFolder
from colab_drive_tuner.search.results.read_search import read_history
from colab_drive_tuner.search.spec.settings import SearchSettings
from colab_drive_tuner.search.trials.logbook import Logbook
from colab_drive_tuner.store.protocol import Store
from colab_drive_tuner.troubleshoot.clean.leftovers import Leftover, is_held, place_in, trash
from colab_drive_tuner.troubleshoot.repair.salvage import Evidence, collect

_NEVER = 2**31


def duplicate_folder(
    store: Store,
    name: str,
    rival: SearchFolder,
    history: History,
    *,
    young: bool,
    others: list[str],
) -> Iterator[Leftover]:
    """A folder that lost, unless somebody runs it; `others` are files that no search puts there."""
    evidence = collect(store, rival)
    holder = evidence.holder(store)
    if (holder is not None and not holder.stale) or (young and not evidence.records):
        return  # somebody runs it, or is about to
    refused, lost = "", 0
    unreadable = bool(evidence.unreadable or set(range(evidence.top)) - set(evidence.records))
    try:
        lost = results_without_place(evidence, history)
    except SearchDamagedError:
        unreadable = True
    if lost:
        refused = (
            f"{lost} of its results have other parameters than the search's trials of their "
            f"numbers, so they would be lost: look at its trials.pkl first."
        )
    elif unreadable:
        refused = "Not all of its records are readable, so it stays as it is."
    elif others:
        refused = f"It holds {others[0]!r}, which no search puts there: move that away first."
    yield Leftover(
        kind="duplicate folder",
        id=rival.id,
        where=place_in(store, rival.id, name),
        reason=(
            "Two runtimes created the search at the same moment; its results are added to the "
            "other folder, in which the search goes on."
        ),
        ours=True,
        still=lambda: not is_held(store, name),
        put_away=partial(_merge, store, name, rival),
        refused=refused,
    )


def results_without_place(evidence: Evidence, history: History, *, merged: bool = False) -> int:
    """How many results of a folder the history cannot take; once `merged`, has not taken."""
    count = 0
    for found in evidence.records.values():
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


def _merge(store: Store, name: str, rival: SearchFolder) -> str:
    """Add what a loser's folder holds to the search, and put it away once all of it is there."""
    book = Logbook(store, name, max_attempts=_NEVER)
    book.claim(SearchSettings(seeded=False, runs=False), on_busy="error", notify=lambda text: None)
    book.close(60.0)
    if results_without_place(collect(store, rival), read_history(store, name), merged=True):
        raise StoreError(
            f"Not all results of {place_in(store, rival.id, name)} could be added to the search, "
            f"so the folder stays where it is."
        )
    return trash(store, [rival.id])
