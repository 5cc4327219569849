"""Leftovers of searches in their store: duplicate folders, old snapshots, backups, half a create.

Only folders that bear our marks are looked into, and never those of a search that a runtime holds.
What holds a result that is nowhere else is shown, and refused.
"""

import re
from collections.abc import Iterator
from functools import partial

from colab_drive_tuner.errors import NotFoundError, SearchDamagedError, SearchNotFoundError
from colab_drive_tuner.journal.chain.record import ClaimReason, unframe
from colab_drive_tuner.journal.folder.duplicate_folders import is_another_search
from colab_drive_tuner.journal.folder.file_ownership import owned_ids
from colab_drive_tuner.journal.folder.lookup import (
    EXPORT_NAME,
    KIND,
    FolderKind,
    SearchFolder,
    described,
    find_folder,
)
from colab_drive_tuner.journal.folder.traces import first_records
from colab_drive_tuner.search.results.read_search import open_journal
from colab_drive_tuner.store.protocol import Entry, Store
from colab_drive_tuner.training.artifacts import FOLDER as BACKUPS
from colab_drive_tuner.training.artifacts import old_backups
from colab_drive_tuner.training.models.best_models import FOLDER as BEST
from colab_drive_tuner.troubleshoot.clean.duplicate_folders import duplicate_folder
from colab_drive_tuner.troubleshoot.clean.leftovers import (
    Leftover,
    is_held,
    left_in_store,
    left_on_disk,
    trash,
)
from colab_drive_tuner.troubleshoot.clean.unfinished_copies import SETTLED_SECONDS, copy_leftovers
from colab_drive_tuner.troubleshoot.repair.salvage import collect

_KEPT_SNAPSHOTS = 2
_SNAPSHOT = re.compile(r"snapshot-\d{6,}\.cdt")
_OURS = re.compile(rf"records|{EXPORT_NAME}|{BEST}|{BACKUPS}|runs|record-\d{{6,}}\.cdt")
"""What a search's folder holds: with a `moved` that ended a chain before it had begun."""


def search_leftovers(store: Store) -> Iterator[Leftover]:
    """List what is stale in a store; changes nothing."""
    ours = [e for e in store.list(store.root) if e.is_folder and KIND in e.properties]
    searches = [e for e in ours if e.properties[KIND] == FolderKind.SEARCH]
    for folder in ours:
        if folder.properties[KIND] == FolderKind.COPYING:
            yield from copy_leftovers(store, folder)
        if folder.properties[KIND] in (FolderKind.ARCHIVED, FolderKind.REPAIRING):
            # A mark alone proves nothing: who may edit a search's folder can set it there.
            begun = {e.id for e in searches if e.name == folder.name}
            yield from _of_repairs(store, folder, folder.properties.get("cdt_from") in begun)
    for name in sorted({e.name for e in searches}):
        if not is_held(store, name):
            yield from _of_search(store.for_search(name), name)
    for path in store.abandoned(store.now() - SETTLED_SECONDS):
        reason = "Its process was ended before anybody could find the file."
        yield left_on_disk("abandoned upload", path, reason, path.exists)
    for root in store.duplicates():
        if _is_settled(store, root) and _is_empty(store, root.id):
            reason = "It lies beside the older folder of this name, in which searches are made."
            still = partial(_is_empty, store, root.id)
            # Only its name says that it is ours.
            yield left_in_store(
                store, "empty folder", root.id, root.name, reason, still, ours=False
            )


def _is_settled(store: Store, folder: Entry | SearchFolder) -> bool:
    """Whether it was made so long ago that nobody is about to write there."""
    return folder.created <= store.now() - SETTLED_SECONDS


def _of_repairs(store: Store, folder: Entry, known: bool) -> Iterator[Leftover]:
    still = partial(_is_unchanged, store, folder)
    if folder.properties[KIND] == FolderKind.ARCHIVED:
        reason = "`repair` went on in another folder, and left this one as it was."
        yield left_in_store(
            store, "archived search", folder.id, folder.name, reason, still, ours=False
        )
    elif _is_settled(store, folder):
        reason = "A `repair` was cut off before it had taken the search's name."
        ours = known and _is_of_repair(store, folder)
        yield left_in_store(
            store, "unfinished repair", folder.id, folder.name, reason, still, ours=ours
        )


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
    found = find_folder(store, name)
    owned = None if found is None else owned_ids(store, found)
    if owned is None or owned.foreign:
        return  # somebody set its properties: nothing that they name is touched
    winner = owned.folder
    try:
        journal = open_journal(store, name)
    except SearchNotFoundError:
        yield from _empty(store, name, winner)
        return
    for rival in winner.rivals:
        if not is_another_search(store, winner, rival):  # else a run will name it
            young, others = not _is_settled(store, rival), _other_files(store, rival.id)
            yield from duplicate_folder(
                store, name, rival, journal.state, young=young, others=others
            )
    reason = "Readers use the newest one; what these hold stands in the records, too."
    yield from _files(store, winner, name, "snapshots", reason, _old_snapshots(store, winner))
    reason = "The trials that they were made in have ended, and their results are recorded."
    unfinished = {entry.tid for entry in journal.state.unfinished}
    old = old_backups(store, winner.id, unfinished, epoch=journal.epoch)
    yield from _files(store, winner, name, "backups", reason, old)


def _empty(store: Store, name: str, folder: SearchFolder) -> Iterator[Leftover]:
    """A folder whose first record never came; not one from which records were deleted."""
    if folder.rivals or not _is_settled(store, folder):
        return
    evidence = collect(store, folder)
    known = evidence.records or evidence.snapshots or evidence.unreadable
    if not known and _is_bare(store, folder.id):
        yield left_in_store(
            store,
            "empty search",
            folder.id,
            name,
            "The runtime that made it was gone before it had recorded anything.",
            lambda: not collect(store, folder).records and not is_held(store, name),
        )


def _old_snapshots(store: Store, folder: SearchFolder) -> list[str]:
    """All snapshots but the newest ones."""
    try:
        listed = store.list(folder.records)
    except NotFoundError:
        return []
    there = [entry for entry in listed if _SNAPSHOT.fullmatch(entry.name)]
    there.sort(key=lambda entry: (entry.name, entry.created))
    return [
        entry.id
        for entry in there[:-_KEPT_SNAPSHOTS]
        if entry.id != folder.hint and _is_snapshot(store, entry.id)
    ]


def _is_snapshot(store: Store, entry_id: str) -> bool:
    try:
        return "head" in unframe(store.read(entry_id), "a file")
    except (SearchDamagedError, NotFoundError):
        return False  # somebody's own file, or gone: not ours to remove


def _files(
    store: Store, folder: SearchFolder, name: str, kind: str, reason: str, old: list[str]
) -> Iterator[Leftover]:
    """Files of a search that nobody holds, all of a kind at once; none where there are none."""
    if old:
        where = f"{len(old)} {kind} of search {name!r}, {store.url(folder.id)}"
        still, put_away = lambda: not is_held(store, name), partial(trash, store, old)
        leftover_id = f"{folder.id}/{kind}"
        yield Leftover(f"old {kind}", leftover_id, where, reason, True, still, put_away)


def _is_unchanged(store: Store, folder: Entry) -> bool:
    try:
        return store.stat(folder.id).properties.get(KIND) == folder.properties[KIND]
    except NotFoundError:
        return False


def _is_empty(store: Store, entry_id: str) -> bool:
    return not store.list(entry_id)
