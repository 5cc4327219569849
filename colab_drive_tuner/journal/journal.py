"""The journal of one search: open it (which only reads), claim it, append to it, close it."""

import atexit
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from colab_drive_tuner.errors import (
    ColabDriveTunerError,
    SearchBusyError,
    SearchError,
    UnavailableError,
)
from colab_drive_tuner.journal.batch import Item
from colab_drive_tuner.journal.chain.record import ClaimReason, RecordKind
from colab_drive_tuner.journal.claim_search import (
    CLAIM_TIMEOUT,
    ClaimAttempt,
    OnBusy,
    on_busy_of,
    remember_folder,
)
from colab_drive_tuner.journal.folder.file_ownership import owned_entry
from colab_drive_tuner.journal.folder.lookup import SearchFolder, check_name
from colab_drive_tuner.journal.lease import Holder
from colab_drive_tuner.journal.maintenance import Maintenance
from colab_drive_tuner.journal.open_searches import open_journal_of, register, unregister
from colab_drive_tuner.journal.reader import Reader, Rules
from colab_drive_tuner.journal.recovery import replay
from colab_drive_tuner.journal.spool.spool import Spool
from colab_drive_tuner.journal.writer import Counts, Writer
from colab_drive_tuner.store.protocol import Store


@dataclass(frozen=True)
class Claim:
    """How the search was found when this session claimed it."""

    reason: ClaimReason
    """How the owner before ended."""
    running: int | None
    """Where known for certain, the last trial that the dead owner can have run."""
    careful: float
    """For how many seconds of training to go carefully, where `running` is not known."""
    recovered: int
    """How many entries of earlier sessions on this machine were made good."""


@dataclass(frozen=True)
class _Owned:
    """What an owner has at work."""

    writer: Writer
    maintenance: Maintenance
    spool: Spool
    claim: Claim


class Journal:
    """One search's chain: `open` reads it, `claim` makes this process its owner, `close` ends that.

    An owner releases at `close`, which also runs when the interpreter exits.
    """

    def __init__(
        self,
        store: Store,
        name: str,
        rules: Rules,
        sleep: Callable[[float], None] = time.sleep,
        *,
        folder: SearchFolder | None = None,
        spool_folder: Path | None = None,
    ) -> None:
        """`folder`, whoever bears the name: with a spool elsewhere, for a chain being rebuilt."""
        check_name(name)
        self.store, self.name = store.for_search(name), name
        self._reader = Reader(self.store, name, rules, folder)
        self._sleep, self._spool_folder = sleep, spool_folder
        self._notify: Callable[[str], None] = print
        self._own: _Owned | None = None
        self.running = False
        """Whether the owner runs trials now, and may not be taken over from within its process."""
        self.report: Callable[[], Any] = lambda: None
        """How the search stands, for whoever asks this process; None: that is not to be shown."""

    @classmethod
    def open(
        cls, store: Store, name: str, rules: Rules, sleep: Callable[[float], None] = time.sleep
    ) -> "Journal":
        """Read what the store holds of the search; nothing is written, and no code of it is run."""
        journal = cls(store, name, rules, sleep)
        journal.refresh()
        return journal

    @property
    def exists(self) -> bool:
        """Whether the search has a first record."""
        return self._reader.found is not None and not self._reader.head.is_empty

    @property
    def state(self) -> Any:
        """The folded state of the acknowledged records; not to be changed by the caller."""
        return self._reader.state

    @property
    def folder(self) -> str | None:
        """The id of the search's folder; None: there is none yet."""
        return self._reader.found.id if self._reader.found else None

    @property
    def epoch(self) -> str:
        """What tells this history from those before a reset; empty before the first record."""
        return self._reader.head.epoch

    def read_file(self, entry_id: str) -> bytes:
        """A file that a record names, which lies beside it; raises `NotFoundError` if it is gone.

        Raises `ForeignFileError`, a `SearchDamagedError`, for a file that is not this search's.
        """
        owned_entry(self.store, entry_id, {self._reader.folder.records}, "A record of the search")
        return self.store.read(entry_id)

    def refresh(self) -> None:
        """READ on to the present end of the chain; an owner knows it already."""
        if self._own is None:
            self._reader.refresh()

    def holder(self) -> Holder | None:
        """Who holds the search, by its last claim; None if it was released, or never claimed."""
        return self._reader.holder()

    @property
    def account(self) -> str | None:
        """The account of the last owner, released or not: the only one that can go on."""
        claim = self._reader.head.claim if self._reader.found else None
        return claim.claimant.account if claim else None

    def claim(
        self,
        payload: Callable[[Any], bytes],
        *,
        on_busy: str = "wait",
        force_new: bool = False,
        notify: Callable[[str], None] = print,
    ) -> Claim:
        """Become the owner; `payload` makes the claim's content from the state as read.

        A search that a live process of this machine holds is refused at once; one held elsewhere
        is waited for until its lease runs out ("wait"), taken ("takeover") or refused ("error").
        With `force_new`, a search whose folder was renamed, moved or trashed is left where it is.
        Afterwards `state` includes what earlier sessions on this machine had left unrecorded.
        Raises `SearchBusyError`, `AccountMismatchError`, `SearchFolderError`, `SearchDamagedError`,
        `StoreError`.
        """
        when_busy = on_busy_of(on_busy)
        if self._own is not None and self._own.writer.lost is None:
            return self._own.claim
        self.close()
        self._notify = notify
        self.store.ensure_root()  # the spool goes by the store's location
        spool = Spool(self.store.location, self.name, self._spool_folder)
        if (before := open_journal_of(spool.folder)) is not None:
            if when_busy is not OnBusy.TAKEOVER:
                before.refuse_second_run()
            before.close()
        if not spool.acquire():
            raise spool.busy()
        try:
            self._own = self._start(spool, payload, when_busy, force_new=force_new)
        except BaseException:  # an interrupt, too, must not leave the search locked
            spool.release()
            raise
        register(spool.folder, self)
        atexit.register(self.close)
        return self._own.claim

    def refuse_second_run(self) -> None:
        """Raise `SearchBusyError` where this process is running the search already."""
        if self.running:
            raise SearchBusyError(
                f"Search {self.name!r} is running in this process already, in another thread or "
                f"around this very call: wait for it, or give this search another name."
            )

    def append(
        self, item: Item, *, durable: bool = False, attachments: Sequence[bytes] = ()
    ) -> None:
        """Hand over an item to be recorded; never waits. `durable`: spooled before it is sent.

        A function is called in the background for the item that it makes, and must not fail.
        Values `beside` it, which the item names by their sha256, get files of their own, whose ids
        the record holds (`Record.files`). Raises `SearchTakenOverError` once another runtime owns
        the search; the item is spooled then.
        """
        self._owner().writer.append(item, durable=durable, attachments=attachments)

    def reset(self, payload: bytes, files: Mapping[str, str] | None = None) -> None:
        """Begin a new history in the same chain; the old one stays in it.

        `files` hold large values that the payload names by their sha256, and lie there already.
        """
        if not self._owner().writer.write(RecordKind.RESET, payload, files, timeout=CLAIM_TIMEOUT):
            self.raise_if_lost()
            raise UnavailableError(
                f"The store does not answer, so search {self.name!r} was not restarted: try again "
                f"when it does."
            )

    def note_running(self, tid: int) -> None:
        """Remember locally which trial runs, for whoever finds this process dead."""
        own = self._owner()
        # Of a dead session before that had got further, the bound still holds.
        own.spool.note_running(max(tid, -1 if own.claim.running is None else own.claim.running))

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until everything appended so far is acknowledged; False if that took too long."""
        return self._own is None or self._own.writer.flush(timeout)

    def flush_to_disk(self, timeout: float | None = None) -> bool:
        """Wait until everything durable is on this disk, where a kill leaves it."""
        return self._own is None or self._own.writer.flush_to_disk(timeout)

    def outages(self) -> list[tuple[float, float]]:
        """The outages of the store that this session has seen end."""
        return self._own.writer.retry.outages if self._own else []

    def counts(self) -> Counts:
        """How far the store has acknowledged what was appended."""
        return self._own.writer.counts() if self._own else Counts(0, 0, None)

    @property
    def trouble(self) -> ColabDriveTunerError | None:
        """Why the store does not take what was appended; None: it does, as far as is known."""
        return self._own.writer.retry.trouble if self._own else None

    def raise_if_lost(self) -> None:
        """Raise `SearchTakenOverError` once another runtime owns the search."""
        if self._own is not None and self._own.writer.lost is not None:
            raise self._own.writer.lost

    def close(self, timeout: float = 60.0) -> None:
        """CLOSE: flush, snapshot, trials.pkl, release; says what is pending if that fails.

        Raises `SearchTakenOverError` where another runtime owns the search and something of this
        one's is not in the chain.
        """
        if self._own is None or self._own.writer.pid != os.getpid():
            return  # of a forked process: what it inherited is its parent's
        own, released = self._own, False
        try:
            if own.writer.flush(timeout) and own.writer.lost is None:
                own.maintenance.stop(timeout)
                own.maintenance.finish()
                released = own.writer.write(RecordKind.RELEASE, b"", timeout=timeout)
        except ColabDriveTunerError as error:
            self._notify(f"Search {self.name!r} could not be closed cleanly: {error}")
        finally:
            self._let_go(own, released=released)
        if own.writer.lost is not None and own.writer.counts().pending:
            raise own.writer.lost

    def _start(
        self, spool: Spool, payload: Callable[[Any], bytes], on_busy: OnBusy, *, force_new: bool
    ) -> _Owned:
        reader, notify, running = self._reader, self._notify, spool.last_running()
        notify_once = cache(notify)  # it tries again what other runtimes may have under way
        claiming = ClaimAttempt(
            reader, spool, payload, on_busy, force_new, notify_once, self._sleep
        )
        reason, claim = claiming.run()
        remember_folder(reader, spool, notify)
        writer = Writer(reader, spool, claim.owner, notify)
        maintenance = Maintenance(writer, reader.head.last_id, reason)
        writer.start()
        try:
            recovered = replay(reader, writer, spool, timeout=CLAIM_TIMEOUT, notify=notify)
        except BaseException:  # an interrupt, too, must not leave its threads behind
            writer.stop()
            raise
        maintenance.start()
        running = running if reason is ClaimReason.DEAD else None
        return _Owned(writer, maintenance, spool, Claim(reason, running, claim.careful, recovered))

    def _let_go(self, own: _Owned, *, released: bool) -> None:
        own.maintenance.stop(1.0)  # after a failure it may be waiting for a store that is away
        left = own.writer.stop()
        pending = own.writer.counts().pending
        if released and not pending:
            own.spool.forget_session()
        elif pending:
            self._notify(
                f"Search {self.name!r}: {pending} entries are not acknowledged yet. They are kept "
                f"in {left[0] if left else own.spool.folder}; the next run on this machine records "
                f"them."
            )
        own.spool.release()
        atexit.unregister(self.close)
        self._own = None
        unregister(own.spool.folder)

    def _owner(self) -> _Owned:
        if self._own is None:
            raise SearchError(
                f"Search {self.name!r} is not claimed by this process: run the cell again."
            )
        return self._own
