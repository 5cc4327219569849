"""Leftovers of searches in their store: duplicate folders, old snapshots, backups, half a create.

Only folders that bear our marks are looked into, and never those of a search that a runtime holds.
What holds a result that is nowhere else is shown, and refused.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial

from colab_drive_tuner.checkpoint.documents import same_parameters
from colab_drive_tuner.checkpoint.history import History
from colab_drive_tuner.checkpoint.items import REAL_ENDS, ItemKind, read_items
from colab_drive_tuner.errors import (
    ColabDriveTunerError,
    NotFoundError,
    SearchDamagedError,
    SearchNotFoundError,
    StoreError,
)
from colab_drive_tuner.journal import Journal
from colab_drive_tuner.journal.duplicates import is_another_search
from colab_drive_tuner.journal.folder import (
    EXPORT_NAME,
    KIND,
    SEARCH,
    SearchFolder,
    described,
    find_folder,
)
from colab_drive_tuner.journal.owned import owned_ids
from colab_drive_tuner.journal.record import ClaimReason, RecordKind, unframe
from colab_drive_tuner.journal.spool import idle_leftovers
from colab_drive_tuner.journal.traces import first_records
from colab_drive_tuner.search.logbook import Logbook
from colab_drive_tuner.search.results.status import open_journal, read_history, read_status
from colab_drive_tuner.search.spec.settings import SearchSettings
from colab_drive_tuner.store.protocol import Entry, Store
from colab_drive_tuner.training.artifacts import FOLDER as BACKUPS
from colab_drive_tuner.training.folders import EPOCH, TID, find_folders
from colab_drive_tuner.training.models.best_models import FOLDER as BEST
from colab_drive_tuner.troubleshoot.clean.leftovers import Leftover, left_on_disk
from colab_drive_tuner.troubleshoot.repair.chain_writer import ARCHIVED, REPAIRING
from colab_drive_tuner.troubleshoot.repair.salvage import Evidence, collect

SETTLED_SECONDS = 3600.0
"""What was made so long ago is not being made at this moment."""
_KEPT_SNAPSHOTS = 2
_BACKUP = re.compile(r"trial-\d{5,}-.+")
_SNAPSHOT = re.compile(r"snapshot-\d{6,}\.cdt")
_NEVER = 2**31
_OURS = re.compile(rf"records|{EXPORT_NAME}|{BEST}|{BACKUPS}|runs|record-\d{{6,}}\.cdt")
"""What a search's folder holds: with a `moved` that ended a chain before it had begun."""


def search_leftovers(store: Store) -> Iterator[Leftover]:
    """List what is stale in a store; changes nothing."""
    ours = [e for e in store.list(store.root) if e.is_folder and KIND in e.properties]
    for folder in ours:
        if folder.properties[KIND] in (ARCHIVED, REPAIRING):
            # A mark alone proves nothing: who may edit a search's folder can set it there.
            begun = {e.id for e in ours if e.name == folder.name and e.properties[KIND] == SEARCH}
            yield from _of_repairs(store, folder, folder.properties.get("cdt_from") in begun)
    for name in sorted({e.name for e in ours if e.properties[KIND] == SEARCH}):
        if not is_held(store, name):
            yield from _of_search(store, name)
    for path in store.abandoned(store.now() - SETTLED_SECONDS):
        yield left_on_disk(
            "abandoned upload",
            path,
            "Its process was ended before anybody could find the file.",
            path.exists,
        )
    yield from _empty_twins(store)


def _empty_twins(store: Store) -> Iterator[Leftover]:
    for twin in store.duplicates():
        if twin.created > store.now() - SETTLED_SECONDS or not _is_empty(store, twin.id):
            continue
        reason = "It lies beside the older folder of this name, in which searches are made."
        still = partial(_is_empty, store, twin.id)
        # Only its name says that it is ours.
        yield _folder(store, "empty folder", twin.id, twin.name, reason, still, ours=False)


def is_held(store: Store, name: str) -> bool:
    """Whether a runtime that may be alive holds the search, here or elsewhere."""
    try:
        return idle_leftovers(store.location, name) is None or read_status(store, name).held
    except SearchNotFoundError:
        return False
    except ColabDriveTunerError:
        return True  # unreadable: `repair` is for that, nothing here is


def _of_repairs(store: Store, folder: Entry, known: bool) -> Iterator[Leftover]:
    archived = folder.properties[KIND] == ARCHIVED
    if not archived and folder.created > store.now() - SETTLED_SECONDS:
        return
    kind, reason = "unfinished repair", "A `repair` was cut off before it had taken the name."
    if archived:
        kind = "archived search"
        reason = "`repair` went on in another folder, and left this one as it was."
    still = partial(_is_unchanged, store, folder)
    ours = known and not archived and _is_of_repair(store, folder)
    yield _folder(store, kind, folder.id, folder.name, reason, still, ours=ours)


def _is_of_repair(store: Store, folder: Entry) -> bool:
    """Whether its records say that `repair` made it: whoever may edit a folder can mark it so."""
    own = owned_ids(store, described(folder)).folder
    first = first_records(store, own.first)
    if not first:
        return _is_bare(store, folder.id)
    made = first[0] is not None and (first[0].reason, first[0].search) == (
        ClaimReason.REBUILT,
        folder.name,
    )
    return made and not _other_files(store, folder.id)


def _is_bare(store: Store, folder_id: str) -> bool:
    """Whether nothing lies in a folder but an empty one for records."""
    inside = store.list(folder_id)
    return all(e.is_folder and e.name == "records" and _is_empty(store, e.id) for e in inside)


def _other_files(store: Store, folder_id: str) -> list[str]:
    """The names of what lies in a search's folder and that no search puts there."""
    return [entry.name for entry in store.list(folder_id) if not _OURS.fullmatch(entry.name)]


def _of_search(store: Store, name: str) -> Iterator[Leftover]:
    store = store.for_search(name)
    winner = find_folder(store, name)
    if winner is None:
        return
    owned = owned_ids(store, winner)
    if owned.foreign:
        return  # somebody set its properties: nothing that they name is touched
    winner = owned.folder
    try:
        journal = open_journal(store, name)
    except SearchNotFoundError:
        yield from _empty(store, name, winner)
        return
    for rival in winner.rivals:
        if not is_another_search(store, winner, rival):  # else a run will name it
            yield from _duplicate(store, name, rival, journal.state)
    yield from _snapshots(store, name, winner)
    yield from _backups(store, name, winner, journal)


def _empty(store: Store, name: str, folder: SearchFolder) -> Iterator[Leftover]:
    """A folder whose first record never came; not one from which records were deleted."""
    if folder.rivals or folder.created > store.now() - SETTLED_SECONDS:
        return
    evidence = collect(store, folder)
    known = evidence.records or evidence.snapshots or evidence.unreadable
    if not known and _is_bare(store, folder.id):
        yield _folder(
            store,
            "empty search",
            folder.id,
            name,
            "The runtime that made it was gone before it had recorded anything.",
            lambda: not collect(store, folder).records and not is_held(store, name),
        )


def _duplicate(
    store: Store, name: str, rival: SearchFolder, history: History
) -> Iterator[Leftover]:
    evidence = collect(store, rival)
    holder = evidence.holder(store)
    young = rival.created > store.now() - SETTLED_SECONDS
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
    elif others := _other_files(store, rival.id):
        refused = f"It holds {others[0]!r}, which no search puts there: move that away first."
    yield Leftover(
        kind="duplicate folder",
        id=rival.id,
        where=_where(store, rival.id, name),
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
    book.claim(SearchSettings(seeded=False), on_busy="error", notify=lambda text: None)
    book.close(60.0)
    if results_without_place(collect(store, rival), read_history(store, name), merged=True):
        raise StoreError(
            f"Not all results of {_where(store, rival.id, name)} could be added to the search, so "
            f"the folder stays where it is."
        )
    return _trash(store, [rival.id])


def _snapshots(store: Store, name: str, folder: SearchFolder) -> Iterator[Leftover]:
    try:
        listed = store.list(folder.records)
    except NotFoundError:
        return
    there = sorted(
        (e for e in listed if _SNAPSHOT.fullmatch(e.name)), key=lambda e: (e.name, e.created)
    )
    old = [
        entry.id
        for entry in there[:-_KEPT_SNAPSHOTS]
        if entry.id != folder.hint and _is_snapshot(store, entry.id)
    ]
    reason = "Readers use the newest one; what these hold stands in the records, too."
    yield from _files(store, folder, name, "snapshots", reason, old)


def _is_snapshot(store: Store, entry_id: str) -> bool:
    try:
        return "head" in unframe(store.read(entry_id), "a file")
    except (SearchDamagedError, NotFoundError):
        return False  # somebody's own file, or gone: not ours to remove


def _backups(store: Store, name: str, folder: SearchFolder, journal: Journal) -> Iterator[Leftover]:
    """What no trial goes on from: of trials that ended, and of the history before a restart."""
    unfinished = {str(entry.tid) for entry in journal.state.unfinished}
    old = []
    for home in find_folders(store, folder.id, BACKUPS):
        for entry in store.list(home):
            tid = entry.properties.get(TID, "")
            used = tid in unfinished and entry.properties.get(EPOCH, "") == journal.epoch
            if _BACKUP.fullmatch(entry.name) and tid.isdecimal() and not used:
                old.append(entry.id)
    reason = "The trials that they were made in have ended, and their results are recorded."
    yield from _files(store, folder, name, "backups", reason, old)


def _folder(
    store: Store,
    kind: str,
    entry_id: str,
    name: str,
    reason: str,
    still: Callable[[], bool],
    *,
    ours: bool = True,
) -> Leftover:
    """A folder that can go as a whole."""
    where, put_away = _where(store, entry_id, name), partial(_trash, store, [entry_id])
    return Leftover(kind, entry_id, where, reason, ours, still, put_away)


def _files(
    store: Store, folder: SearchFolder, name: str, kind: str, reason: str, old: list[str]
) -> Iterator[Leftover]:
    """Files of a search that nobody holds, all of a kind at once; none where there are none."""
    if old:
        where = f"{len(old)} {kind} of search {name!r}, {store.url(folder.id)}"
        still, put_away = lambda: not is_held(store, name), partial(_trash, store, old)
        leftover_id = f"{folder.id}/{kind}"
        yield Leftover(f"old {kind}", leftover_id, where, reason, True, still, put_away)


def _is_unchanged(store: Store, folder: Entry) -> bool:
    try:
        return store.stat(folder.id).properties.get(KIND) == folder.properties[KIND]
    except NotFoundError:
        return False


def _is_empty(store: Store, entry_id: str) -> bool:
    return not store.list(entry_id)


def _trash(store: Store, entry_ids: list[str]) -> str:
    for entry_id in entry_ids:
        with suppress(NotFoundError):  # somebody was faster
            store.trash(entry_id)
    return store.trash_location


def _where(store: Store, entry_id: str, name: str) -> str:
    return f"{name!r}, {store.url(entry_id)}"
