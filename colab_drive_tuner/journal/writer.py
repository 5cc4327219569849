"""Background writer of a search's owner: spool items, batch them into records, send the records.

Rule APPEND: one record is in flight at a time, and the same bytes are sent until the store answers
200 or 409. Two threads share the work: the collector takes appended items, waits briefly for more,
and spools the durable ones; the sender makes one record of everything that is ready. A third
thread, in maintenance.py, does the slow work. The training thread only appends to a list.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from colab_drive_tuner.errors import IdTakenError, SearchError, SearchTakenOverError
from colab_drive_tuner.journal.batch import Batch, BatchSpool, Item, QueuedItem
from colab_drive_tuner.journal.chain.chain import create
from colab_drive_tuner.journal.chain.record import (
    Record,
    RecordKind,
    attachment_name,
    encode_record,
)
from colab_drive_tuner.journal.outage import OutageRetry
from colab_drive_tuner.journal.reader import Reader
from colab_drive_tuner.journal.spool.spool import Spool
from colab_drive_tuner.local_files import sha256_of

LINGER_SECONDS = 0.02
"""Time that an item waits for others to share its record."""
PAIR_SECONDS = 0.3
"""Time that the end of a trial waits for the start of the next, to share a record with it."""
COLLECTOR_SHARE, SENDER_SHARE = 0.005, 0.009
"""Share of one core that each thread may use; it pauses in proportion to its CPU time."""
SPOOL_AGAIN_SECONDS = 5.0
"""Time between attempts to spool items that the disk did not accept."""
LONGEST_PAUSE = 30.0
"""Upper limit of a thread's pause, in seconds, which bounds the loss if the process dies."""
ID_BLOCK, ID_RESERVE = 128, 40
"""Ids reserved at a time; the next block is reserved when fewer than `ID_RESERVE` are left."""

log = logging.getLogger(__name__)


class Writer:
    """Sole writer of a chain, in the process that claimed it."""

    def __init__(
        self, reader: Reader, spool: Spool, owner: str, notify: Callable[[str], None]
    ) -> None:
        self.reader, self.spool, self.owner, self._notify = reader, spool, owner, notify
        self.pid = os.getpid()
        """The process that claimed the search: a fork has another pid and may not write."""
        self.lost: SearchTakenOverError | None = None
        """The error of every later call, once another runtime owns the search."""
        self.pending = 0
        """Number of appended items that the store has not acknowledged yet."""
        self.acknowledged_at = time.monotonic()
        """Time of the newest acknowledged record, by `time.monotonic()`."""
        self.retry = OutageRetry(spool.folder, self.notify)
        self.state_lock = threading.Lock()
        """Held while the reader's head and state change, so that both show the same prefix."""
        self._changed = threading.Condition()
        """Guards the queue and the counters, and notifies of every change of them."""
        self._queue: list[QueuedItem] = []
        """Appended items that the collector has not taken yet."""
        self._collected = self._acknowledged = 0
        """Numbers of items that were handed to the sender, and that the store acknowledged."""
        self._urgent = 0
        """Number of callers that wait for the threads, which then do not pause."""
        self._closed = False
        """Whether the threads should end."""
        self._ready, self._in_flight = Batch(), Batch()
        """The batch being collected, and the batch being sent."""
        self._batch_lock = threading.Lock()
        """Held by collector and sender while they change a batch; training never waits for it."""
        self._batch_spool = BatchSpool(spool, self.notify)
        self._send_lock = threading.Lock()
        """Held while a record is made, sent and acknowledged: one is in flight at a time."""
        self._spare: tuple[str, ...] = ()
        """Reserved ids that no record names yet."""
        self._threads = [
            threading.Thread(target=self._guard, args=(work,), name=name, daemon=True)
            for name, work in (("cdt-collect", self._collect), ("cdt-send", self._send))
        ]

    def notify(self, text: str) -> None:
        """Notify the user; an output that is closed by now must not end a background thread."""
        try:
            self._notify(text)
        except Exception:
            log.exception("The user could not be notified: %s", text)

    def start(self) -> None:
        """Start the background threads."""
        for thread in self._threads:
            thread.start()

    # -- what the training thread calls

    def append(self, item: Item, *, durable: bool, attachments: Sequence[bytes] = ()) -> None:
        """Queue an item without waiting; raise once another runtime owns the search."""
        self.require_owner()
        with self._changed:
            self._queue.append(QueuedItem(item, durable, attachments))
            self.pending += 1
            if len(self._queue) == 1:
                self._changed.notify_all()
        if self.lost is not None:
            self._keep_unsent()
            raise self.lost

    def require_owner(self) -> None:
        """Raise unless this process claimed the search: a fork may not write."""
        if os.getpid() != self.pid:
            raise SearchError(
                f"Search {self.reader.name!r} was claimed by the process from which this one was "
                f"forked: run trials in the process that called fmin or resume_search; for an "
                f"Optuna study, run optuna.storages.run_grpc_proxy_server(storage) in that process."
            )

    def flush(self, timeout: float | None) -> bool:
        """Wait until everything appended so far is acknowledged; return False on timeout."""
        return self._wait_for(lambda: self._acknowledged, timeout)

    def flush_to_disk(self, timeout: float | None) -> bool:
        """Wait until every durable item is spooled or refused by the disk; see `flush`."""
        return self._wait_for(lambda: self._collected, timeout)

    def _wait_for(self, count: Callable[[], int], timeout: float | None) -> bool:
        """Wait, with the threads not pausing, until `count` covers all items appended so far.

        Return False on timeout or if the search is lost.
        """
        with self._changed:
            appended = self.pending + self._acknowledged
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
        """Write a release or reset record now; return False past the timeout or if LOST."""
        deadline = time.monotonic() + timeout
        while self.flush(max(0.0, deadline - time.monotonic())):
            with self._send_lock:
                if not self.pending:  # otherwise newly appended items must be sent first
                    return self._append_record(kind, payload, files, deadline=deadline)
        return False

    def stop(self) -> list[Path]:
        """End the threads; return the spool files that hold unacknowledged items."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self.retry.end()
        for thread in self._threads:
            # A sender in the middle of a request cannot be interrupted. It is a daemon thread,
            # and the items that it sends are in the spool.
            thread.join(timeout=2.0)
        return self._keep_unsent()

    # -- the collector

    def _collect(self) -> None:
        while True:
            with self._changed:
                again = self._in_flight.unspooled or self._ready.unspooled
                wait = SPOOL_AGAIN_SECONDS if again else None
                self._changed.wait_for(lambda: self._queue or self._closed or self.lost, wait)
                if self._queue:
                    self._gather()
                elif self._closed or self.lost:
                    return
                taken, self._queue = self._queue, []
            used = time.thread_time()
            self._hand_over(taken)
            self._pause((time.thread_time() - used) / COLLECTOR_SHARE)

    def _gather(self) -> None:
        """Wait for more items; the end of a trial waits longer, for the next trial's start."""
        begun = time.monotonic()
        while not (self._urgent or self._closed or self.lost):
            waited = time.monotonic() - begun
            limit = PAIR_SECONDS if self._queue[-1].durable else LINGER_SECONDS
            if waited >= limit:
                return
            self._changed.wait(min(LINGER_SECONDS, limit - waited))

    def _hand_over(self, taken: list[QueuedItem]) -> None:
        """Spool the durable items, then hand all items to the sender."""
        items = [entry.item() if callable(entry.item) else entry.item for entry in taken]
        with self._batch_lock:
            batch = self._ready
            durable = [
                (item, entry.attachments)
                for item, entry in zip(items, taken, strict=True)
                if entry.durable and item  # an item that became superfluous is empty
            ]
            epoch = self.reader.head.epoch
            self._batch_spool.make_durable(self._in_flight, batch, durable, epoch)
            batch.items += items
            for entry in taken:
                batch.attachments += entry.attachments
        with self._changed:
            self._collected += len(taken)
            self._changed.notify_all()

    def _keep_unsent(self) -> list[Path]:
        """Spool the items that no thread will send any more; return all spool files."""
        with self._changed:
            taken, self._queue = self._queue, []
        self._hand_over(taken)
        with self._batch_lock:
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
            with self._send_lock:
                with self._batch_lock:
                    batch = self._in_flight = self._ready
                    self._ready = Batch()
                batch.close()
                files = self._store_attachments(batch.attachments)
                if not self._append_record(RecordKind.TRIALS, b"".join(batch.items), files):
                    return
                with self._batch_lock:
                    self._in_flight = Batch()
                for spool_file in batch.spool_files:
                    spool_file.acknowledge()
            with self._changed:
                self.pending -= len(batch.items)
                self._acknowledged += len(batch.items)
                self._changed.notify_all()
            self._pause((time.thread_time() - used) / SENDER_SHARE)

    def _store_attachments(self, attachments: list[bytes]) -> dict[str, str]:
        """Create a file for each attachment; return the file ids by sha256."""
        store, folder = self.reader.store, self.reader.folder.records

        def put(entry_id: str, sha: str, content: bytes) -> None:
            with suppress(IdTakenError):  # created by an earlier send of ours
                store.create(entry_id, content, name=attachment_name(sha), parent=folder)

        files: dict[str, str] = {}
        for sha, value in {sha256_of(value): value for value in attachments}.items():
            if reserved := self.retry.until_answered(lambda: store.reserve(1)):
                self.retry.until_answered(partial(put, reserved[0], sha, value))
                files[sha] = reserved[0]
        return files

    def _append_record(
        self,
        kind: RecordKind,
        payload: bytes,
        files: Mapping[str, str] | None = None,
        *,
        deadline: float | None = None,
    ) -> bool:
        """APPEND the next record; return False past the deadline or if the search is LOST."""
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
        return self._create_record(encoded, deadline)

    def _create_record(self, encoded: Record, deadline: float | None) -> bool:
        """CREATE until 200 or 409, with the same bytes and id each time."""
        reader = self.reader
        entry_id, folder = reader.head.ids[0], reader.folder.records
        done = self.retry.until_answered(
            lambda: create(reader.store, encoded, entry_id, folder), deadline
        )
        if done:
            with self.state_lock:
                reader.advance(encoded)
                self.acknowledged_at = time.monotonic()
        elif done is not None:
            self.lose("Another runtime took it over.")
        return bool(done)

    # -- what every thread may call

    def _guard(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            # A thread must not die silently: the training thread raises this at its next item.
            log.exception("the writer of search %r failed", self.reader.name)
            self.lose(f"Its writer failed here ({error!r}).")

    def _pause(self, seconds: float) -> None:
        """Leave the interpreter to training, unless a caller is waiting for this thread."""
        with self._changed:
            seconds = min(seconds, LONGEST_PAUSE)
            self._changed.wait_for(lambda: self._urgent or self._closed, seconds)

    def lose(self, why: str) -> None:
        """LOST: stop writing; pending items stay in the spool, which the error names."""
        with self._changed:
            self.lost = SearchTakenOverError(
                f"This runtime no longer writes to search {self.reader.name!r}. {why} Its "
                f"unrecorded results are kept in {self.spool.folder}; the next run on this machine "
                f"adds those that still fit."
            )
            self._changed.notify_all()

    # -- what the maintenance thread calls

    def reserve_ids(self) -> None:
        """Reserve the next block of ids well before the last known id is used."""
        if not self._spare and len(self.reader.head.ids) < ID_RESERVE:
            self._spare = tuple(self.reader.store.reserve(ID_BLOCK))
