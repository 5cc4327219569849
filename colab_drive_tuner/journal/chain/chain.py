"""Reading a chain to its end, and creating its next record: the rules READ and CREATE.

Nothing here believes a listing. What a chain holds is decided by `read` under known ids; who wrote
the next record is decided by `create`, which succeeds once, and by the sha256 of what lies there.
"""

import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Annotated, Any

from colab_drive_tuner.errors import IdTakenError, NotFoundError, SearchDamagedError
from colab_drive_tuner.journal.chain.fields import (
    duration,
    file_id,
    file_ids,
    load,
    sha256_hex,
)
from colab_drive_tuner.journal.chain.record import (
    Claimant,
    EncodedRecord,
    Record,
    RecordKind,
    decode_record,
    encode_record,
    is_whole,
)
from colab_drive_tuner.progress_line import progress_bar
from colab_drive_tuner.store.protocol import Store

PARALLEL_READS = 40
"""Twice as many are more than lie behind a snapshot: two round trips read them."""
LOOK_BEYOND = 4
"""Of the ids behind the first missing one, how many must be missing too."""
HISTORY_DIGITS = 8
"""Digits of an epoch (see `Head.epoch`) by which people call a history."""
_SETTLE_SECONDS = (0.2, 1.0, 3.0, 10.0)


@dataclass(frozen=True)
class LastClaim:
    """The newest claim of a chain: who owns it, unless released since."""

    id: Annotated[str, file_id]
    owner: str
    claimant: Claimant
    careful: Annotated[float, duration]
    released: bool = False


@dataclass(frozen=True)
class Head:
    """A chain's acknowledged prefix, as far as the next record needs it."""

    pos: int
    """The position of the next record: how many there are."""
    sha: Annotated[str, sha256_hex]
    """sha256 of the last record; empty before record 0."""
    ids: Annotated[tuple[str, ...], file_ids]
    """Ids of the records to come, the next one first."""
    last_id: Annotated[str, file_id] = ""
    """The id of the last record; empty before record 0."""
    epoch: Annotated[str, sha256_hex] = ""
    """sha256 of the record with which the present history began: record 0, or the last reset."""
    claim: LastClaim | None = None
    moved_to: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether nothing is recorded but, perhaps, that the search goes on elsewhere."""
        return self.pos == 0 or (self.pos == 1 and bool(self.moved_to))

    def after(self, record: Record) -> "Head":
        """The head once `record` is in the chain under `ids[0]`."""
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


@contextmanager
def parallel_readers(name: str) -> Iterator[ThreadPoolExecutor]:
    """Threads to read with; who interrupts does not wait for those that hang."""
    readers = ThreadPoolExecutor(PARALLEL_READS, name)
    try:
        yield readers
    finally:
        readers.shutdown(wait=False, cancel_futures=True)


def read_on(store: Store, head: Head, apply: Callable[[Record], None], search: str) -> Head:
    """READ: apply every record from `head` to the first missing one; return the new head.

    Raises `SearchDamagedError` where a record is altered, does not follow the one before it, or is
    missing although a later one exists: a gap is never bridged.
    """
    begun = head.pos
    with (
        parallel_readers("cdt-read") as readers,
        progress_bar(f"Reading {search}", " records") as seen,
    ):
        while True:
            batch = head.ids[:PARALLEL_READS]
            contents = list(readers.map(lambda entry_id: _read(store, entry_id), batch))
            if None in contents:
                far = contents.index(None) + 1 + LOOK_BEYOND
                beyond = head.ids[PARALLEL_READS:far]
                contents += readers.map(lambda entry_id: _read(store, entry_id), beyond)
            for index, entry_id in enumerate(batch):
                content = contents[index]
                if content is None and any(late is not None for late in contents[index:]):
                    # A later record is there, so this one was before it: a lagging answer?
                    content = _read(store, entry_id)
                    if content is None:
                        raise SearchDamagedError(
                            f"Record {head.pos} of search {search!r} is missing although later "
                            f"ones exist: it was deleted."
                        )
                if content is None:
                    return head
                record = _follow(content, head, search)
                apply(record)
                head = head.after(record)
            if seen is not None:
                seen(head.pos - begun, None)
            if not head.ids:
                raise SearchDamagedError(
                    f"Search {search!r} names no id for record {head.pos}: record "
                    f"{head.pos - 1} was not written by this program."
                )


def _follow(content: bytes, head: Head, search: str) -> Record:
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
    encoded: EncodedRecord,
    entry_id: str,
    parent: str,
    properties: Mapping[str, str] | None = None,
) -> bool:
    """CREATE: True if `encoded` is in the chain, False if a FOREIGN record holds its place.

    Raises `UnavailableError` if that is not known: then the same `encoded` must be tried again.
    """
    name = record_name(encoded.record.pos)
    try:
        store.create(entry_id, encoded.content, name=name, parent=parent, properties=properties)
    except IdTakenError:
        # Identity is the sha256 of the bytes, never a name: our own lost answer, or a rival?
        return _settled(store, entry_id, encoded.record.pos) == encoded.content
    return True


def end_chain(store: Store, head: Head, parent: str, target: str) -> bool:
    """Append `moved`: whoever writes here next learns that the search goes on in `target`.

    False if a FOREIGN record holds its place.
    """
    owner, more = secrets.token_hex(16), tuple(store.reserve(1))
    moved = Record(head.pos, RecordKind.MOVED, owner, head.sha, more=more, target=target)
    return create(store, encode_record(moved), head.ids[0], parent)


def record_name(pos: int) -> str:
    """The name of a record's file, for people."""
    return f"record-{pos:06d}.cdt"


def _settled(store: Store, entry_id: str, pos: int) -> bytes:
    """What lies under an id that is taken; it may take a moment to be readable."""
    for pause in _SETTLE_SECONDS:
        content = _read(store, entry_id)
        if content is not None:
            return content
        time.sleep(pause)
    raise NotFoundError(
        f"The id of record {pos} is taken, but what lies under it is unreadable: another account "
        f"wrote it, or it was deleted for good. `colab-drive-tuner repair` goes on in a new folder."
    )


def head_from(fields: Any) -> Head:
    """The head that a snapshot holds; raises KeyError, TypeError or ValueError."""
    head = load(Head, fields)
    if absent := {"last_id", "epoch", "claim"} - fields.keys():
        raise KeyError(min(absent))
    if not head.ids:
        raise ValueError("a head needs the ids of the records to come")
    return replace(head, moved_to="")
