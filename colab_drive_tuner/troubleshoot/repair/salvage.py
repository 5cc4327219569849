"""Read-only salvage of a search: all readable records and snapshots, including those in the trash.

A reader of the chain stops at a missing record. Here every id that any record or snapshot names is
read, and every file in the records folder or its trash. File names do not matter: a record itself
contains its position and the checksum of its predecessor.
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

_MAX_GAP = 100_000
"""Largest plausible distance of two record positions; beyond it, a record is taken as forged."""
_FILE_NAME = re.compile(r"(record|snapshot)-\d+")


@dataclass(frozen=True)
class FoundRecord:
    """A record and the id of its file."""

    record: Record
    id: str


@dataclass
class SalvagedFolder:
    """The readable content of one folder of a search."""

    folder: SearchFolder
    records: dict[int, FoundRecord] = field(default_factory=dict)
    """Records by position; neighbouring records are linked by their checksums."""
    snapshots: list[tuple[Head, History]] = field(default_factory=list)
    """Snapshots in the order of their positions."""
    unreadable: list[str] = field(default_factory=list)
    """Messages about files that exist but cannot be used."""
    folder_ids: tuple[str, ...] = ()
    """Ids of the folders that hold the search's records."""
    listed: frozenset[str] = frozenset()
    """Ids of the files in those folders or in their trash."""
    newer: list[str] = field(default_factory=list)
    """Error messages for records in a newer, unknown format."""
    next_id: str = ""
    """The id reserved for the next record; empty if unknown."""
    ended: bool = False
    """Whether a file with that id exists that is not the next record: the chain cannot continue."""

    @property
    def end(self) -> int:
        """The position after the last known one."""
        heads = [head.pos for head, _ in self.snapshots]
        return max([0, *heads, *(pos + 1 for pos in self.records)])

    def require_known_format(self) -> None:
        """Raise `NewerFormatError` if a newer version continued the search.

        A record in a newer format that precedes readable ones counts as damaged instead.
        """
        readable = next(pos for pos in itertools.count() if pos not in self.records)
        if self.newer and readable > max(self.records, default=-1):
            raise NewerFormatError(self.newer[0])

    def owns(self, store: Store, entry_id: str) -> bool:
        """Whether a file whose id was read from untrusted content is in the search's folders."""
        return is_owned(store, entry_id, self.folder_ids, self.listed)

    def count_records(self, entry_ids: set[str]) -> int:
        """Count how many of these files are records of the chain."""
        return len(entry_ids & {found.id for found in self.records.values()})

    def holder(self, store: Store) -> Holder | None:
        """Return the holder according to the last readable claim; None if it was released."""
        claim: LastClaim | None = None
        last_id = ""
        for pos in sorted(self.records):
            found = self.records[pos]
            last_id, record = found.id, found.record
            if record.claimant is not None:
                claim = LastClaim(found.id, record.owner, record.claimant, record.careful)
            elif record.kind == RecordKind.RELEASE:
                claim = None
        return find_holder(store, Head(0, "", (), last_id, "", claim), self.folder_ids)


class _TrashReader:
    """A store that reads files in the trash like others, as `load_snapshot` needs it."""

    def __init__(self, store: Store) -> None:
        self.read_unverified = store.read_trashed


def salvage_folder(store: Store, folder: SearchFolder) -> SalvagedFolder:
    """Read everything readable; raise `UnavailableError` if the store does not answer."""
    owned = owned_ids(store, folder)
    folder = _without_absent_ids(owned)
    folder_ids = _record_folders(store, folder)
    inside = list(_list_files(store, folder_ids))
    found = SalvagedFolder(
        folder,
        unreadable=list(owned.foreign.values()),
        folder_ids=tuple(folder_ids),
        listed=frozenset(entry.id for entry in inside),
    )
    listed = {entry.id for entry in inside if _FILE_NAME.search(entry.name)}
    snapshots = {entry.id for entry in inside if entry.name.startswith("snapshot-")}
    wanted = {folder.first, folder.hint, *listed} - {""}
    tried: set[str] = set()
    candidates: dict[int, list[FoundRecord]] = {}
    named = {folder.first}
    present: set[str] = set()
    absent: set[str] = set()
    again: set[str] = set()
    with (
        parallel_readers("cdt-salvage") as readers,
        progress_bar("Reading all files of the search", " files") as progress,
    ):
        while wanted:
            batch, wanted = sorted(wanted), set()
            tried.update(batch)
            contents = readers.map(lambda entry_id: _read_content(store, found, entry_id), batch)
            read = len(tried) - len(batch)
            for count, (entry_id, (content, trouble)) in enumerate(
                zip(batch, contents, strict=True), 1
            ):
                if progress is not None:
                    progress(read + count, len(tried))
                if trouble:
                    found.unreadable.append(trouble)
                if content is None:
                    absent.add(entry_id)
                    continue
                present.add(entry_id)
                try:
                    names = _add_file(store, entry_id, content, candidates, found.snapshots)
                except SearchDamagedError as error:
                    found.unreadable.append(str(error))
                    if isinstance(error, NewerFormatError) and entry_id not in snapshots:
                        found.newer.append(str(error))
                else:
                    named |= names
                    wanted |= names
            wanted -= tried
            if not wanted and _has_gap(candidates, found.snapshots):
                # A session may have written the missing records before the later ones were read.
                wanted, absent = absent - again, set()
                again |= wanted
    found.snapshots.sort(key=lambda snapshot: snapshot[0].pos)
    _choose_records(candidates, found, named)
    found.next_id = _next_id(found)
    found.ended = found.next_id in present
    return found


def trashed_files(store: Store, folder: SearchFolder) -> set[str]:
    """Return the ids of files in the trash of the records folder that have a record's name."""
    folder = _without_absent_ids(owned_ids(store, folder))
    with suppress(NotFoundError):  # the folder was deleted with its trash
        if folder.records:
            listed = store.list_trash(folder.records)
            return {entry.id for entry in listed if _FILE_NAME.search(entry.name)}
    return set()


def _without_absent_ids(owned: OwnedIds) -> SearchFolder:
    """Drop the ids of files that do not exist: they may be in the trash of another's folder.

    The search's own files in the trash are found by listing its trash.
    """
    folder = owned.folder
    folder = replace(folder, records="") if RECORDS in owned.absent else folder
    return replace(folder, export="") if EXPORT in owned.absent else folder


def _record_folders(store: Store, folder: SearchFolder) -> list[str]:
    """Return the records folders, found by name if no property names one, and the folder itself.

    A `moved` record that ended a chain without records is directly in the search's folder.
    """
    found = dict.fromkeys(filter(None, (folder.records, folder.id)))
    if not folder.records:
        inside = [*store.list(folder.id), *store.list_trash(folder.id)]
        found |= {e.id: None for e in inside if e.is_folder and e.name == "records"}
    return list(found)


def _list_files(store: Store, folder_ids: Iterable[str]) -> Iterator[Entry]:
    """Yield the files in the folders and in their trash."""
    for folder_id in folder_ids:
        for list_entries in (store.list, store.list_trash):
            with suppress(NotFoundError):  # the folder was trashed or deleted
                yield from (entry for entry in list_entries(folder_id) if not entry.is_folder)


def _read_content(store: Store, found: SalvagedFolder, entry_id: str) -> tuple[bytes | None, str]:
    """Return a file's content or an error message; neither if it is not a file of the search."""
    try:
        if not found.owns(store, entry_id):
            return None, ""
        return store.read_trashed(entry_id), ""
    except NotFoundError:
        return None, ""
    except (ChecksumError, RefusedError) as error:
        return None, str(error)


def _add_file(
    store: Store,
    entry_id: str,
    content: bytes,
    candidates: dict[int, list[FoundRecord]],
    snapshots: list[tuple[Head, History]],
) -> set[str]:
    """Add a decoded file to the candidates or snapshots; return the ids that it names."""
    what = f"File {entry_id} of {len(content)} bytes"
    if "head" in unframe(content, what):
        reader: Any = _TrashReader(store)
        snapshot = load_snapshot(reader, entry_id, History.load)
        if snapshot is None:
            raise SearchDamagedError(f"{what} is a snapshot that cannot be decoded.")
        snapshots.append(snapshot)
        return set(snapshot[0].ids)
    record = decode_record(content, what)
    if record.pos < 0:
        raise SearchDamagedError(f"{what} is a record without a position.")
    at_position = candidates.setdefault(record.pos, [])
    if all(record.sha != known.record.sha for known in at_position):  # ignore identical copies
        at_position.append(FoundRecord(record, entry_id))
    return set(record.more)


def _has_gap(
    candidates: dict[int, list[FoundRecord]], snapshots: list[tuple[Head, History]]
) -> bool:
    """Whether a record is missing before a later record or the end of a snapshot."""
    ends = [head.pos for head, _ in snapshots] + [pos + 1 for pos in candidates]
    return len(candidates) < max(ends, default=0)


def _choose_records(
    candidates: dict[int, list[FoundRecord]], found: SalvagedFolder, named: set[str]
) -> None:
    """Fill `found.records` with linked records, preferring those that the chain's ids lead to.

    If two neighbours are not linked, drop the one that the next record does not confirm.
    """
    sequences: list[list[FoundRecord]] = []
    last: dict[str, list[FoundRecord]] = {}
    for pos in sorted(candidates):
        for candidate in candidates[pos]:
            before = last.pop(candidate.record.prev, None)
            sequence = before if before is not None and before[-1].record.pos == pos - 1 else []
            if not sequence:
                sequences.append(sequence)
            sequence.append(candidate)
            last[candidate.record.sha] = sequence
    sequences.sort(key=lambda records: (-sum(each.id in named for each in records), -len(records)))
    for sequence in sequences:
        is_free = all(candidate.record.pos not in found.records for candidate in sequence)
        is_near = sequence[0].record.pos <= _MAX_GAP + max(found.records, default=0)
        for candidate in sequence:
            if is_free and is_near:
                found.records[candidate.record.pos] = candidate
            else:
                _note_mismatch(found, candidate)
    for pos in sorted(found.records):
        present, after = found.records.get(pos), found.records.get(pos + 1)
        if present is None or after is None or after.record.prev == present.record.sha:
            continue
        following = found.records.get(pos + 2)
        confirmed = following is not None and following.record.prev == after.record.sha
        _note_mismatch(found, found.records.pop(pos if confirmed else pos + 1))


def _note_mismatch(found: SalvagedFolder, candidate: FoundRecord) -> None:
    pos, entry_id = candidate.record.pos, candidate.id
    found.unreadable.append(
        f"A file of record {pos} ({entry_id}) does not fit the neighbouring records."
    )


def _next_id(found: SalvagedFolder) -> str:
    known: tuple[str, ...] = (found.folder.first,)
    heads = {head.pos: head for head, _ in found.snapshots}
    for pos in sorted({*found.records, *heads}):
        if pos in heads:
            known = heads[pos].ids
        if pos in found.records:
            entry_id = found.records[pos].id
            later = known[known.index(entry_id) + 1 :] if entry_id in known else ()
            known = later + found.records[pos].record.more
    return known[0] if known else ""
