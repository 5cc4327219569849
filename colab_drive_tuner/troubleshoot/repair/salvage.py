"""Read-only salvage of a search: all readable records and snapshots, including those in the trash.

A reader of the chain stops at a missing record. Here the ids that any record or snapshot names are
read until many are unused, and every file in the records folder or its trash. File names do not
matter: a record itself contains its position and the checksum of its predecessor.
"""

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

from colab_drive_tuner.checkpoint.history import History
from colab_drive_tuner.errors import (
    ChecksumError,
    ForeignFileError,
    NewerFormatError,
    NotFoundError,
    RefusedError,
    SearchDamagedError,
)
from colab_drive_tuner.journal.chain.chain import (
    FIRST_READS,
    Head,
    decode_snapshot,
    parallel_readers,
)
from colab_drive_tuner.journal.chain.record import Record, decode_record, unframe
from colab_drive_tuner.journal.folder.file_ownership import OwnedIds, owned_entry, owned_ids
from colab_drive_tuner.journal.folder.properties import Property, SearchFolder
from colab_drive_tuner.journal.lease import Holder, find_holder
from colab_drive_tuner.progress_bars import progress_bar
from colab_drive_tuner.store.protocol import Entry, Store

_MAX_GAP = 100_000
"""Largest plausible distance of two positions; a file beyond it is taken as forged."""
_FILE_NAME = re.compile(r"(record|snapshot)-\d+")


@dataclass
class SalvagedFolder:
    """The readable content of one folder of a search."""

    folder: SearchFolder
    records: dict[int, Record] = field(default_factory=dict)
    """Records by position; neighbouring records are linked by their checksums."""
    files: dict[str, str] = field(default_factory=dict)
    """Id of each record's file, by the record's sha256."""
    snapshots: list[tuple[Head, History]] = field(default_factory=list)
    """Snapshots in the order of their positions."""
    unreadable: list[str] = field(default_factory=list)
    """Messages about files that exist but cannot be used."""
    folder_ids: tuple[str, ...] = ()
    """Ids of the folders that hold the search's records."""
    listed: frozenset[str] = frozenset()
    """Ids of the files in those folders or in their trash."""
    in_trash: frozenset[str] = frozenset()
    """The ids of those in the trash."""
    foreign: tuple[str, ...] = ()
    """Messages about ids in the folder's properties that name files of others."""
    newer: list[str] = field(default_factory=list)
    """Error messages for records in a newer, unknown format."""
    next_id: str = ""
    """The id reserved for the next record; empty if unknown."""
    next_lost: bool = False
    """Whether that record was written and is lost."""
    ended: bool = False
    """Whether that id was used, but not for a readable next record: the chain cannot continue."""

    @property
    def end(self) -> int:
        """The position after the last known one."""
        heads = [head.pos for head, _ in self.snapshots]
        return max([0, *heads, *(pos + 1 for pos in self.records)]) + self.next_lost

    @property
    def trashed(self) -> int:
        """The number of records that are in the trash, where they can still be read."""
        return sum(self.files[each.sha] in self.in_trash for each in self.records.values())

    @property
    def missing(self) -> list[int]:
        """The known positions without a readable record."""
        return sorted(set(range(self.end)) - self.records.keys())

    def require_known_format(self) -> None:
        """Raise `NewerFormatError` if a newer version continued the search.

        A record in a newer format that precedes readable ones counts as damaged instead.
        """
        readable = next(pos for pos in itertools.count() if pos not in self.records)
        if self.newer and readable > max(self.records, default=-1):
            raise NewerFormatError(self.newer[0])

    def owns(self, store: Store, entry_id: str) -> bool:
        """Whether a file whose id was read from untrusted content is in the search's folders."""
        if entry_id in self.listed:
            return True
        with suppress(NotFoundError, ForeignFileError):
            owned_entry(store, entry_id, self.folder_ids, "An id")
            return True
        return False

    def holder(self, store: Store) -> Holder | None:
        """Return the holder according to the last readable claim; None if it was released."""
        head = Head(0, "", ())
        for _, record in sorted(self.records.items()):
            head = replace(head, ids=(self.files[record.sha],)).after(record)
        return find_holder(store, head.claim, head.last_id, self.folder_ids)


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
        in_trash=frozenset(entry.id for entry in inside if entry.trashed),
        foreign=tuple(owned.foreign.values()),
    )
    names = {entry.id: entry.name for entry in inside if _FILE_NAME.search(entry.name)}
    files = _Files(store, found, names)
    files.read_all()
    found.snapshots.sort(key=lambda snapshot: snapshot[0].pos)
    _choose_records(files.candidates, found, files.named)
    _drop_distant_snapshots(found)
    found.next_id = _next_id(found)
    found.next_lost = found.next_id not in files.present and _is_deleted(store, found.next_id)
    found.ended = found.next_lost or found.next_id in files.present
    return found


class _Files:
    """The files of a search while they are read, each of which may name others."""

    def __init__(self, store: Store, found: SalvagedFolder, listed: Mapping[str, str]) -> None:
        self._store, self._found, self._listed = store, found, listed
        self.candidates: dict[int, list[Record]] = {}
        """All records by position."""
        self._blocks: list[tuple[str, ...]] = []
        """Ids of consecutive records, as named by a record or snapshot."""
        self.named = {found.folder.first}
        """Ids to which the chain leads."""
        self.present: set[str] = set()
        self._absent: set[str] = set()

    def read_all(self) -> None:
        """Read the listed and named files, then those that they name."""
        wanted, again = {*self.named, self._found.folder.hint, *self._listed} - {""}, set[str]()
        with (
            parallel_readers("cdt-salvage") as readers,
            progress_bar("Reading all files of the search", " files") as progress,
        ):
            while wanted:
                batch, before = sorted(wanted), len(self.present) + len(self._absent)
                contents = zip(batch, readers.map(self._read, batch), strict=True)
                for count, (entry_id, content) in enumerate(contents, before + 1):
                    if progress is not None:
                        progress(count, before + len(batch))
                    (self._absent if content is None else self.present).add(entry_id)
                    if content is not None:
                        self._add(entry_id, content)
                wanted = set[str]().union(*map(self._unread, self._blocks))
                if not wanted and self._has_gap():
                    # A session may have written them before the later records were read.
                    wanted = self._absent - again
                    again |= wanted
                    self._absent -= wanted

    def _name(self, block: tuple[str, ...]) -> None:
        self._blocks.append(block)
        self.named.update(block)

    def _unread(self, block: tuple[str, ...]) -> set[str]:
        """Return the ids to read: all up to the last that has a file, and some beyond it."""
        count = max([0, *(at for at, entry_id in enumerate(block, 1) if entry_id in self.present)])
        return {*block[: count + FIRST_READS]} - self.present - self._absent

    def _read(self, entry_id: str) -> bytes | None:
        """Return the content of a file; None if it is not readable or not one of the search."""
        with suppress(NotFoundError):
            try:
                if self._found.owns(self._store, entry_id):
                    return self._store.read_trashed(entry_id)
            except (ChecksumError, RefusedError) as error:
                if isinstance(error.__cause__, PermissionError):
                    raise  # rebuilding would lose what a change of its mode makes readable
                self._found.unreadable.append(str(error))
        return None

    def _add(self, entry_id: str, content: bytes) -> None:
        """Decode a file, and add it to the candidates or snapshots."""
        what = f"File {entry_id} of {len(content)} bytes"
        is_snapshot = self._listed.get(entry_id, "").startswith("snapshot-")
        if is_snapshot and not content:
            return  # an old one, discarded
        try:
            if "head" in unframe(content, what):
                is_snapshot = True
                head, state = decode_snapshot(content, what, History.load)
                self._found.snapshots.append((head, state))
                self._name(head.ids)
            else:
                self._add_record(decode_record(content, what), entry_id, what)
        except SearchDamagedError as error:
            self._found.unreadable.append(str(error))
            if isinstance(error, NewerFormatError) and not is_snapshot:
                self._found.newer.append(str(error))

    def _add_record(self, record: Record, entry_id: str, what: str) -> None:
        if record.pos < 0:
            raise SearchDamagedError(f"{what} is a record without a position.")
        if record.sha not in self._found.files:  # else it is an identical copy
            self._found.files[record.sha] = entry_id
            self.candidates.setdefault(record.pos, []).append(record)
        self._name(record.more)

    def _has_gap(self) -> bool:
        """Whether a record is missing before a later record or the end of a snapshot."""
        heads = [head.pos for head, _ in self._found.snapshots]
        return len(self.candidates) < max([0, *heads, *(pos + 1 for pos in self.candidates)])


def _is_deleted(store: Store, entry_id: str) -> bool:
    """Whether a file was created under the id and is gone, as far as the store knows."""
    with suppress(ChecksumError, RefusedError):
        if store.is_used(entry_id):
            try:
                store.read_trashed(entry_id)
            except NotFoundError:
                return True
    return False


def _without_absent_ids(owned: OwnedIds) -> SearchFolder:
    """Drop the ids of files that do not exist: they may be in the trash of another's folder.

    The search's own files in the trash are found by listing its trash.
    """
    folder = owned.folder
    folder = replace(folder, records="") if Property.RECORDS in owned.absent else folder
    return replace(folder, export="") if Property.EXPORT in owned.absent else folder


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


def _linked_sequences(candidates: dict[int, list[Record]]) -> list[list[Record]]:
    """Join the candidates into sequences in which each record names the sha256 of the last."""
    sequences: list[list[Record]] = []
    last: dict[str, list[Record]] = {}
    for pos in sorted(candidates):
        for candidate in candidates[pos]:
            sequence = last.pop(candidate.prev, [])
            if not sequence or sequence[-1].pos != pos - 1:
                sequences.append(sequence := [])
            sequence.append(candidate)
            last[candidate.sha] = sequence
    return sequences


def _choose_records(
    candidates: dict[int, list[Record]], found: SalvagedFolder, named: set[str]
) -> None:
    """Fill `found.records` with linked records, preferring those that the chain's ids lead to.

    If two neighbours are not linked, drop the one that the next record does not confirm.
    """

    def order(records: list[Record]) -> tuple[int, int]:
        return -sum(found.files[each.sha] in named for each in records), -len(records)

    for sequence in sorted(_linked_sequences(candidates), key=order):
        is_free = all(candidate.pos not in found.records for candidate in sequence)
        is_near = sequence[0].pos <= _MAX_GAP + max(found.records, default=0)
        for candidate in sequence:
            if is_free and is_near:
                found.records[candidate.pos] = candidate
            else:
                _note_mismatch(found, candidate)
    for pos in sorted(found.records):
        present, after = found.records.get(pos), found.records.get(pos + 1)
        if present is None or after is None or after.prev == present.sha:
            continue
        following = found.records.get(pos + 2)
        confirmed = following is not None and following.prev == after.sha
        _note_mismatch(found, found.records.pop(pos if confirmed else pos + 1))


def _drop_distant_snapshots(found: SalvagedFolder) -> None:
    near = _MAX_GAP + max(found.records, default=0)
    for head, _ in found.snapshots:
        if head.pos > near:
            found.unreadable.append(f"A snapshot of {head.pos} records does not fit the records.")
    found.snapshots = [one for one in found.snapshots if one[0].pos <= near]


def _note_mismatch(found: SalvagedFolder, candidate: Record) -> None:
    file = f"A file of record {candidate.pos} ({found.files[candidate.sha]})"
    found.unreadable.append(f"{file} does not fit the neighbouring records.")


def _next_id(found: SalvagedFolder) -> str:
    known: tuple[str, ...] = (found.folder.first,)
    heads = {head.pos: head for head, _ in found.snapshots}
    for pos in sorted({*found.records, *heads}):
        if pos in heads:
            known = heads[pos].ids
        if pos in found.records:
            record = found.records[pos]
            entry_id = found.files[record.sha]
            later = known[known.index(entry_id) + 1 :] if entry_id in known else ()
            known = later + record.more
    return known[0] if known else ""
