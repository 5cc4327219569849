"""The owner's background writer: spools, joins, sends, acknowledges; training never waits for it.

Rule APPEND: one record is in flight at a time, and its bytes are sent until the store says 200 or
409. Two threads share the work. The collector takes what training appended, lets it gather for a
moment, and spools what must survive; the sender makes one record of whatever is ready. A third,
in maintenance.py, does what may take long. Training only ever puts an item into a list.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from colab_drive_tuner.errors import SearchError, SearchTakenOverError
from colab_drive_tuner.journal.batch import Appended, Batch, BatchSpool, Item
from colab_drive_tuner.journal.chain.chain import create
from colab_drive_tuner.journal.chain.record import EncodedRecord, Record, RecordKind, encode_record
from colab_drive_tuner.journal.outage_retry import OutageRetry
from colab_drive_tuner.journal.reader import Reader
from colab_drive_tuner.journal.spool.spool import Spool

LINGER_SECONDS = 0.02
"""How long items gather before they are sent."""
PAIR_SECONDS = 0.3
"""How long the end of a trial waits for the start of the next, to share a record with it."""
COLLECTOR_SHARE, SENDER_SHARE = 0.005, 0.009
"""The part of one core that each thread may use: it pauses in proportion to what it used."""
SPOOL_AGAIN_SECONDS = 5.0
"""After so long it is tried again to spool what the disk did not take."""
LONGEST_PAUSE = 30.0
"""After so many seconds it goes on, whatever it used: what a death can cost stays bounded."""
ID_BLOCK, ID_RESERVE = 128, 40
"""Ids reserved at a time, and how many must be known when the next block is reserved."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Counts:
    """How far the store has acknowledged what was appended."""

    pending: int
    acknowledged: int
    offline_since: float | None
    """`time.monotonic()` when the store stopped answering; None: it answers."""


class Writer:
    """The one writer of a chain, in the process that claimed it."""

    def __init__(
        self, reader: Reader, spool: Spool, owner: str, notify: Callable[[str], None]
    ) -> None:
        self.reader, self.spool, self.owner, self.notify = reader, spool, owner, notify
        self.acknowledged_at = time.monotonic()
        self.advance = threading.Lock()
        """Held while the reader's head and state change: whoever holds it sees the same prefix."""
        self.lost: SearchTakenOverError | None = None
        self.pid = os.getpid()
        self._changed = threading.Condition()
        self._sending = threading.Lock()
        self._appended: list[Appended] = []
        self._ready, self._sent = Batch(), Batch()
        """What gathers, and what the sender has at work."""
        self._handover = threading.Lock()
        """Held by collector and sender while they touch a batch; training never waits for it."""
        self._pending = self._acknowledged = self._collected = 0
        self._urgent, self._closed = 0, False
        """How many wait for the threads, and whether these are to end."""
        self._batch_spool = BatchSpool(spool, notify)
        self.retry = OutageRetry(spool.folder, notify)
        self._spare: tuple[str, ...] = ()
        self._threads = [
            threading.Thread(target=self._guard, args=(work,), name=name, daemon=True)
            for name, work in (("cdt-collect", self._collect), ("cdt-send", self._send))
        ]

    def start(self) -> None:
        """Begin to write in the background."""
        for thread in self._threads:
            thread.start()

    # -- what the training thread calls

    def append(self, item: Item, *, durable: bool, attachments: Sequence[bytes] = ()) -> None:
        """Hand over an item; returns at once. Raises once another runtime owns the search."""
        self.require_owner()
        with self._changed:
            self._appended.append(Appended(item, durable, attachments))
            self._pending += 1
            if len(self._appended) == 1:
                self._changed.notify_all()
        if self.lost is not None:
            self._keep_unsent()
            raise self.lost

    def require_owner(self) -> None:
        """Raise unless this very process claimed the search: a fork may not write."""
        if os.getpid() != self.pid:
            raise SearchError(
                f"Search {self.reader.name!r} was claimed by another process, of which this is a "
                f"fork: run trials in the process that called fmin or resume_search."
            )

    def counts(self) -> Counts:
        """How far the store has acknowledged what was appended."""
        return Counts(self._pending, self._acknowledged, self.retry.offline_since)

    def flush(self, timeout: float | None) -> bool:
        """Wait until everything appended so far is acknowledged; False if that took too long."""
        return self._wait_for(lambda: self._acknowledged, timeout)

    def flush_to_disk(self, timeout: float | None) -> bool:
        """Wait until everything durable is spooled, or the disk has refused it; as `flush`."""
        return self._wait_for(lambda: self._collected, timeout)

    def _wait_for(self, count: Callable[[], int], timeout: float | None) -> bool:
        """Wait until `count` has come to what is appended now, without a pause of the threads.

        False if it took too long, or the search is lost.
        """
        with self._changed:
            appended = self._pending + self._acknowledged
            self._urgent += 1
            self._changed.notify_all()
            try:
                self._changed.wait_for(lambda: count() >= appended or self.lost, timeout)
            finally:
                self._urgent -= 1
            return count() >= appended

    def write(
        self,
        kind: RecordKind,
        payload: bytes,
        files: Mapping[str, str] | None = None,
        *,
        timeout: float,
    ) -> bool:
        """Write a record of its own (release, reset) now; False if the store did not answer."""
        deadline = time.monotonic() + timeout
        while self.flush(max(0.0, deadline - time.monotonic())):
            with self._sending:
                if not self._pending:  # else more was appended meanwhile, which comes before it
                    return self._append(kind, payload, files, deadline=deadline)
        return False

    def stop(self) -> list[Path]:
        """End the threads; return the spool files that hold what was not acknowledged."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self.retry.end()
        for thread in self._threads:
            # A sender in the middle of a request cannot be ended: it is a daemon, and what it
            # sends is what the spool holds.
            thread.join(timeout=2.0)
        return self._keep_unsent()

    def _guard(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            # A thread must not die unseen: the training thread raises this at its next item.
            log.exception("the writer of search %r failed", self.reader.name)
            self.lose(f"Its writer failed here ({error!r}).")

    # -- the collector

    def _collect(self) -> None:
        while True:
            with self._changed:
                again = self._sent.unspooled or self._ready.unspooled
                wait = SPOOL_AGAIN_SECONDS if again else None
                self._changed.wait_for(lambda: self._appended or self._closed or self.lost, wait)
                if self._appended:
                    self._gather()
                elif self._closed or self.lost:
                    return
                taken, self._appended = self._appended, []
            used = time.thread_time()
            self._spool(taken)
            self._pause((time.thread_time() - used) / COLLECTOR_SHARE)

    def _gather(self) -> None:
        """Let items come together; the end of a trial waits longer, for the next start."""
        begun = time.monotonic()
        while not (self._urgent or self._closed or self.lost):
            waited = time.monotonic() - begun
            limit = PAIR_SECONDS if self._appended[-1].durable else LINGER_SECONDS
            if waited >= limit:
                return
            self._changed.wait(min(LINGER_SECONDS, limit - waited))

    def _spool(self, taken: list[Appended]) -> None:
        """Spool what must survive before it can be sent, then hand everything to the sender."""
        items = [entry.item() if callable(entry.item) else entry.item for entry in taken]
        with self._handover:
            batch = self._ready
            durable = [
                (item, entry.attachments)
                for item, entry in zip(items, taken, strict=True)
                if entry.durable and item  # one that its end has made superfluous is empty
            ]
            epoch = self.reader.head.epoch
            self._batch_spool.make_durable(self._sent, batch, durable, epoch)
            batch.items += items
            for entry in taken:
                batch.attachments += entry.attachments
        with self._changed:
            self._collected += len(taken)
            self._changed.notify_all()

    def _keep_unsent(self) -> list[Path]:
        """Spool what no thread will send any more; return every file that holds such items."""
        with self._changed:
            taken, self._appended = self._appended, []
        self._spool(taken)
        with self._handover:
            self._ready.close()
            self._ready = Batch()
        return sorted(self.spool.folder.glob("*.spool"))

    # -- the sender

    def _send(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._ready.items or self._closed or self.lost)
                if self._closed or self.lost:
                    return
            used = time.thread_time()
            with self._sending:
                with self._handover:
                    batch = self._sent = self._ready
                    self._ready = Batch()
                batch.close()
                folder = self.reader.folder.records
                files = batch.store_attachments(
                    self.reader.store, folder, self.retry.until_answered
                )
                if not self._append(RecordKind.TRIALS, b"".join(batch.items), files):
                    return
                with self._handover:
                    self._sent = Batch()
                for segment in batch.segments:
                    segment.acknowledge()
            with self._changed:
                self._pending -= len(batch.items)
                self._acknowledged += len(batch.items)
                self._changed.notify_all()
            self._pause((time.thread_time() - used) / SENDER_SHARE)

    def _pause(self, seconds: float) -> None:
        """Leave the interpreter to training for so long, unless somebody waits for this thread."""
        with self._changed:
            seconds = min(seconds, LONGEST_PAUSE)
            self._changed.wait_for(lambda: self._urgent or self._closed, seconds)

    def reserve_ids(self) -> None:
        """Have the next block of ids at hand well before the last known one is used."""
        if not self._spare and len(self.reader.head.ids) < ID_RESERVE:
            self._spare = tuple(self.reader.store.reserve(ID_BLOCK))

    def _append(
        self,
        kind: RecordKind,
        payload: bytes,
        files: Mapping[str, str] | None = None,
        *,
        deadline: float | None = None,
    ) -> bool:
        """APPEND the next record; False if the deadline passed, or the search is LOST."""
        head = self.reader.head
        more, self._spare = self._spare, ()
        if not more and len(head.ids) < 2:  # the last known id must name its successors
            reserve = partial(self.reader.store.reserve, ID_BLOCK)
            more = tuple(self.retry.until_answered(reserve, deadline) or ())
            if not more:
                return False
        encoded = encode_record(
            Record(head.pos, kind, self.owner, head.sha, more, payload, files=files or {})
        )
        return self._create(encoded, deadline)

    def _create(self, encoded: EncodedRecord, deadline: float | None) -> bool:
        """CREATE until 200 or 409: the same bytes each time, under the same id."""
        reader = self.reader
        entry_id, folder = reader.head.ids[0], reader.folder.records
        done = self.retry.until_answered(
            lambda: create(reader.store, encoded, entry_id, folder), deadline
        )
        if done:
            with self.advance:
                reader.state.apply(encoded.record)
                reader.head = reader.head.after(encoded.record)
                self.acknowledged_at = time.monotonic()
        elif done is not None:
            self.lose("Another runtime took it over.")
        return bool(done)

    def lose(self, why: str) -> None:
        """LOST: write nothing more; what is pending stays in the spool, which the error names."""
        with self._changed:
            self.lost = SearchTakenOverError(
                f"This runtime writes to search {self.reader.name!r} no more. {why} What it had "
                f"not recorded is kept in {self.spool.folder}; the next run on this machine adds "
                f"what still fits."
            )
            self._changed.notify_all()
