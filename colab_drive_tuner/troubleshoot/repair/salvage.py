"""Everything of one search that can still be read: records, snapshots, trash included.

A reader of the chain stops where a record is missing. Here every id that any record or snapshot
names is read, and every file that lies (or lay) in the folder of records, whatever its name says:
a record says itself which position it has and which record it follows. Nothing is written.
"""

import itertools
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from colab_drive_tuner.checkpoint.history import History
from colab_drive_tuner.errors import (
    ChecksumError,
    NewerFormatError,
    NotFoundError,
    RefusedError,
    SearchDamagedError,
)
from colab_drive_tuner.journal.chain.chain import Head, LastClaim, parallel_readers
from colab_drive_tuner.journal.chain.record import Record, RecordKind, decode_record, unframe
from colab_drive_tuner.journal.folder.file_ownership import OwnedIds, is_owned, owned_ids
from colab_drive_tuner.journal.folder.lookup import EXPORT, RECORDS, SearchFolder
from colab_drive_tuner.journal.lease import Holder, find_holder
from colab_drive_tuner.journal.snapshot import load_snapshot
from colab_drive_tuner.progress_line import progress_bar
from colab_drive_tuner.store.protocol import Entry, Store

LARGEST_GAP = 100_000
"""Positions that may lie between two records; more means that one was not written by us."""
_NAME = re.compile(r"(record|snapshot)-\d+")


@dataclass(frozen=True)
class Found:
    """A record, and the id under which it lies."""

    record: Record
    id: str


@dataclass
class Evidence:
    """What is readable of one folder of a search."""

    folder: SearchFolder
    records: dict[int, Found] = field(default_factory=dict)
    """By position; each follows the one before it, where that one is there, too."""
    snapshots: list[tuple[Head, History]] = field(default_factory=list)
    """In the order of the chain."""
    unreadable: list[str] = field(default_factory=list)
    """What is there and cannot be used, and why, in words."""
    places: tuple[str, ...] = ()
    """The folders in which its files lie."""
    listed: frozenset[str] = frozenset()
    """The ids of the files that lie there, or in their trash."""
    newer: list[str] = field(default_factory=list)
    """Why each record of a format that this version does not know cannot be read."""
    next_id: str = ""
    """The id under which the next record would be written, where that is known."""
    ended: bool = False
    """Whether something lies under that id which is no next record: nobody can go on behind it."""

    @property
    def top(self) -> int:
        """The position after the last one of which anything is known."""
        heads = [head.pos for head, _ in self.snapshots]
        return max([0, *heads, *(pos + 1 for pos in self.records)])

    def require_known_format(self) -> None:
        """Raise `NewerFormatError` where the search was continued by a newer version.

        One such record among others that are readable behind it is damaged, whatever it says.
        """
        readable = next(pos for pos in itertools.count() if pos not in self.records)
        if self.newer and readable > max(self.records, default=-1):
            raise NewerFormatError(self.newer[0])

    def owns(self, store: Store, entry_id: str) -> bool:
        """Whether a file, whose id was read somewhere, lies in the search's folders."""
        return is_owned(store, entry_id, self.places, self.listed)

    def count(self, entry_ids: set[str]) -> int:
        """How many of these files are records of the chain."""
        return len(entry_ids & {found.id for found in self.records.values()})

    def holder(self, store: Store) -> Holder | None:
        """Who holds the search, by its last readable claim; None: nobody does."""
        claim: LastClaim | None = None
        last_id = ""
        for pos in sorted(self.records):
            found = self.records[pos]
            last_id, record = found.id, found.record
            if record.claimant is not None:
                claim = LastClaim(found.id, record.owner, record.claimant, record.careful)
            elif record.kind == RecordKind.RELEASE:
                claim = None
        return find_holder(store, Head(0, "", (), last_id, "", claim), self.places)


class _OutOfTrash:
    """A store whose `read` also reads what lies in the trash."""

    def __init__(self, store: Store) -> None:
        self.read_unverified = store.read_trashed


def collect(store: Store, folder: SearchFolder) -> Evidence:
    """Read all that is there; raises `UnavailableError` where the store does not answer."""
    owned = owned_ids(store, folder)
    folder = _readable(owned)
    places = _places(store, folder)
    inside = list(_listed(store, places))
    found = Evidence(
        folder,
        unreadable=list(owned.foreign.values()),
        places=tuple(places),
        listed=frozenset(entry.id for entry in inside),
    )
    listed = {entry.id for entry in inside if _NAME.search(entry.name)}
    snapshots = {entry.id for entry in inside if entry.name.startswith("snapshot-")}
    wanted = {folder.first, folder.hint, *listed} - {""}
    tried: set[str] = set()
    candidates: dict[int, list[Found]] = {}
    named = {folder.first}
    present: set[str] = set()
    with (
        parallel_readers("cdt-salvage") as readers,
        progress_bar("Reading all that is left of the search", " files") as seen,
    ):
        while wanted:
            batch, wanted = sorted(wanted), set()
            tried.update(batch)
            contents = readers.map(lambda entry_id: _content(store, found, entry_id), batch)
            read = len(tried) - len(batch)
            for count, (entry_id, (content, trouble)) in enumerate(
                zip(batch, contents, strict=True), 1
            ):
                if seen is not None:
                    seen(read + count, len(tried))
                if trouble:
                    found.unreadable.append(trouble)
                if content is None:
                    continue
                present.add(entry_id)
                try:
                    names = _take(store, entry_id, content, candidates, found.snapshots)
                except SearchDamagedError as error:
                    found.unreadable.append(str(error))
                    if isinstance(error, NewerFormatError) and entry_id not in snapshots:
                        found.newer.append(str(error))
                else:
                    named |= names
                    wanted |= names
            wanted -= tried
    found.snapshots.sort(key=lambda snapshot: snapshot[0].pos)
    _chosen(candidates, found, named)
    found.next_id = _next_id(found)
    found.ended = found.next_id in present
    return found


def trashed_files(store: Store, folder: SearchFolder) -> set[str]:
    """What lies in the trash of its folder of records and is named like one."""
    folder = _readable(owned_ids(store, folder))
    with suppress(NotFoundError):  # no such folder any more: then nothing lies in its trash
        if folder.records:
            listed = store.list_trash(folder.records)
            return {entry.id for entry in listed if _NAME.search(entry.name)}
    return set()


def _readable(owned: OwnedIds) -> SearchFolder:
    """The folder without ids of which nothing is known: what has them may lie in another's trash.

    What of the search's own lies in the trash is found by looking there.
    """
    folder = owned.folder
    folder = replace(folder, records="") if RECORDS in owned.absent else folder
    return replace(folder, export="") if EXPORT in owned.absent else folder


def _places(store: Store, folder: SearchFolder) -> list[str]:
    """The folders of records, also where no property names one, and the search's own folder."""
    found = dict.fromkeys(filter(None, (folder.records, folder.id)))
    if not folder.records:
        inside = [*store.list(folder.id), *store.list_trash(folder.id)]
        found |= {e.id: None for e in inside if e.is_folder and e.name == "records"}
    return list(found)


def _listed(store: Store, places: Iterable[str]) -> Iterator[Entry]:
    """The files in the folder of records, and in the search's own, where a loser's `moved` lies."""
    for place in places:
        for look in (store.list, store.list_trash):
            with suppress(NotFoundError):  # the folder was trashed, or deleted for good
                yield from (entry for entry in look(place) if not entry.is_folder)


def _content(store: Store, found: Evidence, entry_id: str) -> tuple[bytes | None, str]:
    """A file's content, or why it cannot be read; neither where the search has no such file."""
    try:
        if not found.owns(store, entry_id):
            return None, ""
        return store.read_trashed(entry_id), ""
    except NotFoundError:
        return None, ""
    except (ChecksumError, RefusedError) as error:
        return None, str(error)


def _take(
    store: Store,
    entry_id: str,
    content: bytes,
    candidates: dict[int, list[Found]],
    snapshots: list[tuple[Head, History]],
) -> set[str]:
    """Sort a file in; return the ids that it names."""
    what = f"File {entry_id} of {len(content)} bytes"
    if "head" in unframe(content, what):
        rescuer: Any = _OutOfTrash(store)
        snapshot = load_snapshot(rescuer, entry_id, History.load)
        if snapshot is None:
            raise SearchDamagedError(f"{what} is a snapshot that cannot be decoded.")
        snapshots.append(snapshot)
        return set(snapshot[0].ids)
    record = decode_record(content, what)
    if record.pos < 0:
        raise SearchDamagedError(f"{what} is a record without a place.")
    same_place = candidates.setdefault(record.pos, [])
    if all(record.sha != one.record.sha for one in same_place):  # else somebody's copy of it
        same_place.append(Found(record, entry_id))
    return set(record.more)


def _chosen(candidates: dict[int, list[Found]], found: Evidence, named: set[str]) -> None:
    """Fill in the records that belong together: those that the chain's own ids lead to, first.

    Of two neighbours that do not belong together the one goes that no later record vouches for.
    """
    links: list[list[Found]] = []
    last: dict[str, list[Found]] = {}
    for pos in sorted(candidates):
        for one in candidates[pos]:
            before = last.pop(one.record.prev, None)
            link = before if before is not None and before[-1].record.pos == pos - 1 else []
            if not link:
                links.append(link)
            link.append(one)
            last[one.record.sha] = link
    links.sort(key=lambda link: (-sum(one.id in named for one in link), -len(link)))
    for link in links:
        free = all(one.record.pos not in found.records for one in link)
        near = link[0].record.pos <= LARGEST_GAP + max(found.records, default=0)
        for one in link:
            if free and near:
                found.records[one.record.pos] = one
            else:
                _pass_over(found, one)
    for pos in sorted(found.records):
        present, after = found.records.get(pos), found.records.get(pos + 1)
        if present is None or after is None or after.record.prev == present.record.sha:
            continue
        vouching = found.records.get(pos + 2)
        vouched = vouching is not None and vouching.record.prev == after.record.sha
        _pass_over(found, found.records.pop(pos if vouched else pos + 1))


def _pass_over(found: Evidence, one: Found) -> None:
    found.unreadable.append(
        f"A file of record {one.record.pos} ({one.id}) does not fit the records beside it."
    )


def _next_id(found: Evidence) -> str:
    known: tuple[str, ...] = (found.folder.first,)
    heads = {head.pos: head for head, _ in found.snapshots}
    for pos in sorted({*found.records, *heads}):
        if pos in heads:
            known = heads[pos].ids
        if pos in found.records:
            one = found.records[pos]
            behind = known[known.index(one.id) + 1 :] if one.id in known else ()
            known = behind + one.record.more
    return known[0] if known else ""
