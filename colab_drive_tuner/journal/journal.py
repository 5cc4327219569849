"""`Journal`, the interface to one search's chain: open (read-only), claim, append, close."""

import atexit
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from colab_drive_tuner.errors import (
    ColabDriveTunerError,
    SearchBusyError,
    SearchError,
    SearchTakenOverError,
    UnavailableError,
)
from colab_drive_tuner.journal.batch import Item
from colab_drive_tuner.journal.chain.record import ClaimReason, RecordKind
from colab_drive_tuner.journal.claim_and_takeover import (
    CLAIM_TIMEOUT,
    ClaimAttempt,
    OnBusy,
    on_busy_of,
    remember_folder,
)
from colab_drive_tuner.journal.folder.creation import require_single
from colab_drive_tuner.journal.folder.file_ownership import owned_entry
from colab_drive_tuner.journal.folder.moved_folders import BEGIN_ANEW
from colab_drive_tuner.journal.folder.properties import SearchFolder, check_name
from colab_drive_tuner.journal.lease import Holder
from colab_drive_tuner.journal.maintenance import Maintenance
from colab_drive_tuner.journal.open_searches import open_journal_of, register, unregister
from colab_drive_tuner.journal.reader import PayloadRules, Reader
from colab_drive_tuner.journal.spool.spool import Spool
from colab_drive_tuner.journal.spool_replay import replay
from colab_drive_tuner.journal.writer import Writer
from colab_drive_tuner.machine import is_this_machine
from colab_drive_tuner.store.protocol import Store


@dataclass(frozen=True)
class Claim:
    """State of the search when this session claimed it."""

    reason: ClaimReason
    """How the previous owner ended."""
    running: int | None
    """The last trial that the dead owner can have run; None if that is not known for certain."""
    careful_seconds: float
    """How long, in seconds of training, the careful start lasts if `running` is not known."""
    recovered: int
    """Number of items spooled by earlier sessions on this machine that were replayed."""


@dataclass(frozen=True)
class _OwnerState:
    """Objects that exist only while this process owns the search."""

    writer: Writer
    maintenance: Maintenance
    spool: Spool
    claim: Claim


class Journal:
    """Chain of one search: `open` reads it, `claim` takes ownership, `close` releases it.

    An owner is also closed when the interpreter exits.
    """

    def __init__(
        self,
        store: Store,
        name: str,
        rules: PayloadRules,
        sleep: Callable[[float], None] = time.sleep,
        *,
        folder: SearchFolder | None = None,
        spool_folder: Path | None = None,
    ) -> None:
        """To rebuild a chain, pass its `folder`, whatever its name, and its own `spool_folder`."""
        check_name(name)
        self.store, self.name = store.for_search(name), name
        self._reader = Reader(self.store, name, rules, folder)
        self._sleep, self._spool_folder = sleep, spool_folder
        self._notify: Callable[[str], None] = print
        self._own: _OwnerState | None = None
        self.running = False
        """Whether the owner is running trials: this process may then not claim it again."""
        self.report: Callable[[], Any] = lambda: None
        """Return the search's status for display in this process; None: show nothing."""

    @classmethod
    def open(
        cls,
        store: Store,
        name: str,
        rules: PayloadRules,
        sleep: Callable[[float], None] = time.sleep,
    ) -> "Journal":
        """Read the search from the store, without writing anything or running code from it."""
        journal = cls(store, name, rules, sleep)
        journal.refresh()
        return journal

    @property
    def exists(self) -> bool:
        """Whether the search has a first record."""
        return self._reader.found is not None and not self._reader.head.is_empty

    @property
    def state(self) -> Any:
        """State folded from the acknowledged records; callers must not change it."""
        return self._reader.state

    @property
    def folder(self) -> str | None:
        """Id of the search's folder; None before it is created."""
        return self._reader.found.id if self._reader.found else None

    @property
    def epoch(self) -> str:
        """Identifier of the current history, changed by a reset; empty before the first record."""
        return self._reader.head.epoch

    @property
    def next_id(self) -> str:
        """Id reserved for the next record."""
        return self._reader.head.ids[0]

    def require_single(self) -> None:
        """Raise `SearchFolderError` if another search has this name, too."""
        require_single(self.store, self.name, self._reader.folder)

    def read_file(self, entry_id: str) -> bytes:
        """Return the content of a file named by a record.

        Raises `NotFoundError` if it is gone and `ForeignFileError`, a `SearchDamagedError`, if it
        does not belong to this search.
        """
        owned_entry(self.store, entry_id, {self._reader.folder.records}, "A record of the search")
        return self.store.read(entry_id)

    def refresh(self) -> None:
        """READ to the current end of the chain; no-op for the owner, which is up to date."""
        if self._own is None:
            self._reader.refresh()

    def holder(self) -> Holder | None:
        """Return the owner by the last claim; None if released or never claimed."""
        return self._reader.holder()

    @property
    def account(self) -> str | None:
        """Account of the last owner, released or not: only this account can continue."""
        claim = self._reader.head.claim if self._reader.found else None
        return claim.claimant.account if claim else None

    def claim(
        self,
        payload: Callable[[Any], bytes],
        *,
        on_busy: str = "wait",
        force_new: bool = False,
        advice: str = BEGIN_ANEW,
        notify: Callable[[str], None] = print,
    ) -> Claim:
        """Become the owner; `payload` builds the claim's content from the state just read.

        If a live process of this machine owns the search, this fails immediately. If another
        machine does, `on_busy` decides: "wait" for the lease to expire, "takeover", or "error".
        With `force_new`, a search whose folder was renamed, moved or trashed is left where it is;
        otherwise the error says where it is, and ends with `advice`.
        Afterwards `state` includes the items that earlier sessions on this machine had spooled.
        Raises `SearchBusyError`, `AccountMismatchError`, `SearchFolderError`, `SearchDamagedError`,
        `StoreError`.
        """
        when_busy = on_busy_of(on_busy)
        if self._own is not None and self._own.writer.lost is None:
            return self._own.claim
        self._close()
        self._notify = notify
        self.store.ensure_root()  # the spool is keyed by the store's location
        spool = Spool(self.store.location, self.name, self._spool_folder)
        if (before := open_journal_of(spool.folder)) is not None:
            if when_busy is not OnBusy.TAKEOVER:
                before.refuse_second_run()
            before._close()
        if not spool.acquire():
            raise spool.busy_error(self._local_holder)
        try:
            reader, notify_once = self._reader, cache(notify)  # the attempt may repeat a message
            self._own = self._take_ownership(
                ClaimAttempt(
                    reader, spool, payload, when_busy, force_new, advice, notify_once, self._sleep
                )
            )
        except BaseException:  # even an interrupt must not leave the search locked
            spool.release()
            raise
        register(spool.folder, self)
        atexit.register(self._close)
        return self._own.claim

    def _take_ownership(self, attempt: ClaimAttempt) -> _OwnerState:
        """Claim the search, start the background threads, and replay what earlier runs spooled."""
        reader, spool, notify = self._reader, attempt.spool, self._notify
        running = spool.last_running()
        reason, claim = attempt.run()
        remember_folder(reader, spool, notify)
        writer = Writer(reader, spool, claim.owner, notify)
        maintenance = Maintenance(writer, reader.head.last_id, reason)
        writer.start()
        try:
            recovered = replay(reader, writer, spool, timeout=CLAIM_TIMEOUT, notify=notify)
        except BaseException:  # even an interrupt must not leave threads running
            writer.stop()
            raise
        maintenance.start()
        running = running if reason is ClaimReason.DEAD else None
        return _OwnerState(
            writer, maintenance, spool, Claim(reason, running, claim.careful, recovered)
        )

    def _local_holder(self) -> int | None:
        """Read which process of this machine holds the search, if it has claimed it."""
        with suppress(ColabDriveTunerError):
            self._reader.refresh()
            if (holder := self._reader.holder()) and is_this_machine(holder.claimant.machine):
                return holder.claimant.pid
        return None

    def refuse_second_run(self) -> None:
        """Raise `SearchBusyError` if this process is already running the search."""
        if self.running:
            raise SearchBusyError(
                f"Search {self.name!r} is running in this process already, in another thread or "
                f"around this very call: wait for it, or give this search another name."
            )

    def _owner(self) -> _OwnerState:
        """Return what an owner has; raise `SearchError` if this process is none."""
        if self._own is None:
            raise SearchError(
                f"Search {self.name!r} is not open here any more: it was closed, or opened again "
                "later. Use what was opened last, or open it again (in a notebook, run its cell)."
            )
        return self._own

    def append(
        self, item: Item, *, durable: bool = False, attachments: Sequence[bytes] = ()
    ) -> None:
        """Queue an item for recording, without waiting; a `durable` one is spooled before sending.

        An item given as a function is built in the background by calling it; it must not fail.
        Each of the `attachments`, which the item names by sha256, is stored in its own file, and
        the record holds the file's id (`Record.files`). Once another runtime owns the search, the
        item is spooled and `SearchTakenOverError` is raised.
        """
        self._owner().writer.append(item, durable=durable, attachments=attachments)

    def reset(self, payload: bytes, files: Mapping[str, str] | None = None) -> None:
        """Begin a new history in the same chain, which keeps the old one.

        `files` maps the sha256 of each large value named by the payload to its existing file's id.
        """
        if not self._owner().writer.write(RecordKind.RESET, payload, files, timeout=CLAIM_TIMEOUT):
            self.raise_if_lost()
            raise UnavailableError(
                f"The store does not answer, so search {self.name!r} was not restarted: try again "
                f"when it does."
            )

    def note_running(self, tid: int) -> None:
        """Note on disk which trial is running, for the session that finds this process dead."""
        own = self._owner()
        # If an earlier dead session had got further, its bound still holds.
        own.spool.note_running(max(tid, -1 if own.claim.running is None else own.claim.running))

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until everything appended so far is acknowledged; return False on timeout."""
        return self._own is None or self._own.writer.flush(timeout)

    def flush_to_disk(self, timeout: float | None = None) -> bool:
        """Wait until every durable item is on disk, where it survives a kill."""
        return self._own is None or self._own.writer.flush_to_disk(timeout)

    def outages(self) -> list[tuple[float, float]]:
        """Return the (start, end) times of store outages that ended during this session."""
        return self._own.writer.retry.outages if self._own else []

    @property
    def pending(self) -> int:
        """Number of appended items that the store has not acknowledged yet."""
        return self._own.writer.pending if self._own else 0

    @property
    def trouble(self) -> ColabDriveTunerError | None:
        """Last error of the store while it fails to accept items; None if it works."""
        return self._own.writer.retry.trouble if self._own else None

    def raise_if_lost(self) -> None:
        """Raise `SearchTakenOverError` once another runtime owns the search."""
        if self._own is not None and self._own.writer.lost is not None:
            raise self._own.writer.lost

    def close(self, timeout: float = 60.0) -> None:
        """CLOSE: flush, save snapshot and trials.pkl, release; report pending items if that fails.

        Raises `SearchTakenOverError` if another runtime owns the search and items of this session
        are not in the chain.
        """
        if lost := self._close(timeout):
            raise lost

    def _close(self, timeout: float = 60.0) -> SearchTakenOverError | None:
        """Close the journal; return the error of a session that lost items to another runtime."""
        if self._own is None or self._own.writer.pid != os.getpid():
            return None  # in a forked process, the journal still belongs to the parent
        own, released = self._own, False
        try:
            if own.writer.flush(timeout) and own.writer.lost is None:
                own.maintenance.stop(timeout)
                own.maintenance.finish()
                released = own.writer.write(RecordKind.RELEASE, b"", timeout=timeout)
        except ColabDriveTunerError as error:
            self._notify(f"Search {self.name!r} could not be closed cleanly: {error}")
        finally:
            self._drop_ownership(own, released=released)
        return own.writer.lost if own.writer.pending else None

    def _drop_ownership(self, own: _OwnerState, *, released: bool) -> None:
        """Stop the background threads and release the lock; notify if items are not recorded."""
        own.maintenance.stop(1.0)  # after a failure it may be waiting for an unreachable store
        left = own.writer.stop()
        pending = own.writer.pending
        if released and not pending:
            own.spool.forget_session()
        own.spool.release()
        atexit.unregister(self._close)
        self._own = None
        unregister(own.spool.folder)
        if pending:
            unsent = (
                f"Search {self.name!r}: {pending} entries are not acknowledged yet. They are kept "
                f"in {left[0] if left else own.spool.folder}; the next run on this machine records "
                f"them."
            )
            self._notify(str(own.writer.lost or unsent))
