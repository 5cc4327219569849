"""Reading a chain to its end, its next record, its snapshots: rules READ, CREATE, SNAPSHOT.

Nothing here relies on a listing. `read` under known ids decides what a chain holds. `create`, which
succeeds once per id, and the sha256 of the stored bytes decide who wrote the next record.
"""

import re
import secrets
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from operator import itemgetter
from typing import Annotated, Any, TypeVar

from colab_drive_tuner.errors import IdTakenError, NotFoundError, SearchDamagedError
from colab_drive_tuner.journal.chain.fields import (
    decoding,
    duration,
    file_id,
    file_ids,
    load,
    sha256_hex,
    typed,
)
from colab_drive_tuner.journal.chain.record import (
    Claimant,
    Record,
    RecordKind,
    decode_record,
    encode_record,
    frame,
    is_whole,
    record_name,
    unframe,
)
from colab_drive_tuner.journal.folder.properties import Property, SearchFolder
from colab_drive_tuner.progress_bars import progress_bar
from colab_drive_tuner.store.protocol import Store

T = TypeVar("T")

KEPT_SNAPSHOTS = 2
"""A reader may be about to read the one before the newest."""
_SNAPSHOT_NAME = re.compile(r"snapshot-(\d{6,12})\.cdt")
FIRST_READS = 20
"""A clean end leaves fewer records after its snapshot, so one round trip reads them all."""
PARALLEL_READS = 60
"""With the first reads, more than the records between two snapshots: two round trips suffice."""
PROBES = (4, 12, 28, 44)
"""Ids read beyond each batch, counted from its end, in case many records in a row were deleted."""
LOOK_BEYOND = 4
"""Number of ids after the first missing one that must be missing, too."""
LARGEST_RATIO = 20
"""Upper limit of a state's size beyond 1 MiB, relative to its compressed size; typical: 5."""
HISTORY_DIGITS = 8
"""Number of digits of an epoch (see `Head.epoch`) by which users name a history."""
_READ_PAUSES = (0.2, 1.0, 3.0, 10.0)
"""Pauses, in seconds, in which a file whose id is taken should become readable."""


@dataclass(frozen=True)
class LastClaim:
    """Newest claim of a chain, whose session owns it unless released."""

    id: Annotated[str, file_id]
    owner: str
    claimant: Claimant
    careful: Annotated[float, duration]
    released: bool = False


@dataclass(frozen=True)
class Head:
    """Summary of a chain's acknowledged prefix, as needed to append the next record."""

    pos: int
    """Position of the next record, which is the number of records so far."""
    sha: Annotated[str, sha256_hex]
    """sha256 of the last record; empty before record 0."""
    ids: Annotated[tuple[str, ...], file_ids]
    """Known ids of future records, the next one first."""
    last_id: Annotated[str, file_id] = ""
    """Id of the last record; empty before record 0."""
    epoch: Annotated[str, sha256_hex] = ""
    """sha256 of the record that began the current history: record 0 or the last reset."""
    claim: LastClaim | None = None
    moved_to: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether nothing is recorded, apart from a `moved` record."""
        return self.pos == 0 or (self.pos == 1 and bool(self.moved_to))

    def after(self, record: Record) -> "Head":
        """Return the head after `record`, stored under `ids[0]`."""
        claim = self.claim
        if record.claimant is not None:
            claim = LastClaim(self.ids[0], record.owner, record.claimant, record.careful)
        elif record.kind == RecordKind.RELEASE and claim is not None:
            claim = replace(claim, released=True)
        begins = record.pos == 0 or record.kind == RecordKind.RESET
        return Head(
            pos=self.pos + 1,
            sha=record.sha,
            ids=self.ids[1:] + record.more,
            last_id=self.ids[0],
            epoch=record.sha if begins else self.epoch,
            claim=claim,
            moved_to=record.target if record.kind == RecordKind.MOVED else "",
        )


class _Readers(ThreadPoolExecutor):
    """Thread pool that reads in the calling thread once no thread can start."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        try:
            return super().submit(fn, *args, **kwargs)
        except RuntimeError:  # the interpreter exits, and `atexit` closes a journal
            done: Future[T] = Future()
            try:
                done.set_result(fn(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001 - as a worker of the pool does
                done.set_exception(error)
            return done


@contextmanager
def parallel_readers(name: str, width: int = PARALLEL_READS) -> Iterator[ThreadPoolExecutor]:
    """Yield a thread pool for reading; leaving it does not wait for hanging reads."""
    readers = _Readers(width, name)
    try:
        yield readers
    finally:
        readers.shutdown(wait=False, cancel_futures=True)


def read_on(
    store: Store,
    head: Head,
    apply: Callable[[Record], None],
    search: str,
    width: int | None = None,
) -> Head:
    """READ: apply every record from `head` to the first missing one; return the new head.

    It reads `width` ids at first, and `PARALLEL_READS` if there are records under all of these.
    Raises `SearchDamagedError` if a record is altered, does not follow the previous one, or is
    missing although a later one exists: gaps are never skipped.
    """
    begun, probes = head.pos, PROBES if width is None else ()
    width = min(width or FIRST_READS, PARALLEL_READS)
    with (
        parallel_readers("cdt-read", PARALLEL_READS + len(PROBES)) as readers,
        progress_bar(f"Reading {search}", " records") as seen,
    ):
        while head.ids:
            batch = len(head.ids[:width])
            contents = _read_ahead(readers, store, head.ids, width, probes)
            for content in contents:
                if content is None:
                    raise SearchDamagedError(
                        f"Record {head.pos} of search {search!r} is missing although later ones "
                        f"exist: it was deleted."
                    )
                record = _decode_next(content, head, search)
                apply(record)
                head = head.after(record)
            if len(contents) < batch:
                return head
            if batch == width:  # record 0 is read alone, because it names the ids after it
                width, probes = PARALLEL_READS, PROBES
            if seen is not None:
                seen(head.pos - begun, None)
    raise SearchDamagedError(
        f"Search {search!r} names no id for record {head.pos}: record {head.pos - 1} was not "
        f"written by this program."
    )


def _read_ahead(
    readers: ThreadPoolExecutor,
    store: Store,
    ids: tuple[str, ...],
    width: int,
    probes: tuple[int, ...],
) -> list[bytes | None]:
    """Read the next ids in parallel; return the contents up to the last record that exists.

    A record under one of the `probes` beyond them shows that all of them were created.
    """
    read, batch = partial(_read, store), ids[:width]
    probed = [ids[width + beyond] for beyond in probes if width + beyond < len(ids)]
    contents = list(readers.map(read, [*batch, *probed]))
    ends = any(content is None for content in contents[: len(batch)])
    further = any(content is not None for content in contents[len(batch) :])
    del contents[len(batch) :]
    if ends and not further:
        end = contents.index(None) + 1 + LOOK_BEYOND
        contents += readers.map(read, ids[width:end])
    while contents and contents[-1] is None and not further:
        contents.pop()
    # A later record exists, so one that seems missing was created, too; the answer may lag.
    found = zip(ids, contents, strict=False)
    return [read(entry_id) if content is None else content for entry_id, content in found]


def _decode_next(content: bytes, head: Head, search: str) -> Record:
    what = f"Record {head.pos} of search {search!r}"
    record = decode_record(content, what)
    if (record.pos, record.prev) != (head.pos, head.sha):
        raise SearchDamagedError(f"{what} does not follow the record before it.")
    return record


def _read(store: Store, entry_id: str) -> bytes | None:
    try:
        content = store.read_unverified(entry_id)
        return content if is_whole(content) else store.read(entry_id)
    except NotFoundError:
        return None


def create(
    store: Store,
    encoded: Record,
    entry_id: str,
    parent: str,
    properties: Mapping[str, str] | None = None,
) -> bool:
    """CREATE: return True if `encoded` is in the chain, False if a FOREIGN record has its place.

    Raises `UnavailableError` if that is unknown: the caller must then retry the same `encoded`;
    `NotFoundError` if a record has its place and cannot be read.
    """
    name = record_name(encoded.pos)
    try:
        store.create(entry_id, encoded.content, name=name, parent=parent, properties=properties)
    except IdTakenError:
        # Only the bytes distinguish our own create, whose answer was lost, from another's.
        return read_taken(store, entry_id, encoded.pos) == encoded.content
    return True


def end_chain(store: Store, head: Head, parent: str, target: str) -> bool:
    """Append `moved`, which tells the next writer that the search continues in `target`.

    Return False if a FOREIGN record has its place.
    """
    owner, more = secrets.token_hex(16), tuple(store.reserve(1))
    moved = Record(head.pos, RecordKind.MOVED, owner, head.sha, more=more, target=target)
    return create(store, encode_record(moved), head.ids[0], parent)


def read_taken(store: Store, entry_id: str, pos: int) -> bytes:
    """Return the content of an id that is taken, which may need a moment to become readable."""
    for pause in _READ_PAUSES:
        content = _read(store, entry_id)
        if content is not None:
            return content
        time.sleep(pause)
    raise NotFoundError(
        f"The id of record {pos} is taken, but its file cannot be read: it was deleted "
        f"permanently, or another account wrote it."
    )


def save_snapshot(store: Store, folder: SearchFolder, head: Head, state: bytes) -> str:
    """Upload the state of exactly the records before `head`, set the hint; return the id."""
    (entry_id,) = store.reserve(1)
    # Level 1 already makes it five times smaller, at a cost that training does not notice.
    packed = zlib.compress(state, 1)
    if len(state) > _max_size(packed):  # a reader would refuse this ratio
        packed = zlib.compress(state, 0)
    content = frame({"head": head, "state": packed})
    name = f"snapshot-{head.pos:06d}.cdt"
    with suppress(IdTakenError):  # created by an earlier send: the id is only ours
        store.create(entry_id, content, name=name, parent=folder.records)
    store.set_properties(folder.id, {Property.HINT: entry_id})
    return entry_id


def old_snapshots(store: Store, folder: SearchFolder) -> Iterator[str]:
    """Yield the ids of all snapshots except the two newest and the one in use."""
    try:
        listed = store.list(folder.records)
    except NotFoundError:
        return
    named = [(_SNAPSHOT_NAME.fullmatch(entry.name), entry) for entry in listed]
    snapshots = [(int(name[1]), entry.created, entry) for name, entry in named if name]
    snapshots.sort(key=itemgetter(0, 1))
    for _, _, entry in snapshots[:-KEPT_SNAPSHOTS]:
        if entry.id != folder.hint and _is_snapshot(store, entry.id):
            yield entry.id


def _is_snapshot(store: Store, entry_id: str) -> bool:
    try:
        content = store.read(entry_id)
        return not content or "head" in unframe(content, "a file")  # empty: discarded, then killed
    except (SearchDamagedError, NotFoundError):
        return False  # a foreign file, or already removed


def decode_snapshot(content: bytes, what: str, load: Callable[[bytes], Any]) -> tuple[Head, Any]:
    """Return the head and state in a snapshot; raise `SearchDamagedError` naming `what`."""
    body = unframe(content, what)
    with decoding(what):
        packed = typed(body["state"], bytes)
        unzip = zlib.decompressobj()
        state = unzip.decompress(packed, _max_size(packed))
        if not unzip.eof:
            raise ValueError("its state is truncated, or far larger than its file")
        head = head_from(body["head"])
    return head, load(state)


def _max_size(packed: bytes) -> int:
    """Upper limit of a state's size, so that a small file cannot fill the memory."""
    return (1 << 20) + LARGEST_RATIO * len(packed)


def head_from(fields: Any) -> Head:
    """Return the head stored in a snapshot; raises KeyError, TypeError or ValueError."""
    head = load(Head, fields)
    if absent := {"last_id", "epoch", "claim"} - fields.keys():
        raise KeyError(min(absent))
    if not head.ids:
        raise ValueError("a head needs the ids of the records to come")
    return replace(head, moved_to="")
