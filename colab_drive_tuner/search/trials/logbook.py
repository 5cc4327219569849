"""Entries of a search in its journal, in terms of trial documents: named, started, ended.

The loop and `DriveTrials` speak to the journal through this only. A suggestion is named by the
start of its trial. What is settled together (a batch of suggestions, points to evaluate) is named
before the first of it starts, in one entry that is spooled: a later session finds either all of it
or none.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from colab_drive_tuner.checkpoint.codec.codec import Taken, encode
from colab_drive_tuner.checkpoint.codec.taking import take
from colab_drive_tuner.checkpoint.documents import TrialDocument, check_document
from colab_drive_tuner.checkpoint.entries import TrialEntry
from colab_drive_tuner.checkpoint.history import History
from colab_drive_tuner.checkpoint.items import (
    EARLY_STOP,
    LARGE,
    OUTAGE,
    RESTARTED,
    ItemKind,
    Tid,
    TrialEnd,
    attachment_item,
    check_tid,
    claim_payload,
    pack_item,
    settings_item,
)
from colab_drive_tuner.checkpoint.spooled import wanted
from colab_drive_tuner.errors import SearchError, UsageError
from colab_drive_tuner.journal import Claim, Journal, Rules
from colab_drive_tuner.journal.chain.record import DEATHS
from colab_drive_tuner.search.documents import (
    FINISHED,
    as_new,
    countable_loss,
    given_up,
    is_pruned,
    plain_document,
)
from colab_drive_tuner.search.spec.settings import SearchSettings
from colab_drive_tuner.search.trials.careful_start import CARE_PATIENCE, Care
from colab_drive_tuner.store.protocol import Store


def rules() -> Rules:
    """How the journal serves this package's records."""
    from colab_drive_tuner.search.trials.export import TrialsExport

    return Rules(empty=History, load=History.load, wanted=wanted, export=TrialsExport())


class _Start:
    """The start of a trial, encoded once it is to be sent: of a short one, its end says it all."""

    def __init__(self, tid: Tid, make: Callable[[], bytes]) -> None:
        self.tid, self._make = tid, make

    def __call__(self) -> bytes:
        return self._make()

    def drop(self) -> None:
        """Leave it out, unless it is made already."""
        self._make = bytes


def _checked(document: TrialDocument) -> Tid:
    """The trial's id, where a later session can read what is recorded of it."""
    tid: Tid = document["tid"]
    try:
        check_tid(tid if type(tid) in (int, str, float) else int(tid))  # numpy's integers
        check_document(document, tid)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"The document of trial {document.get('tid')!r:.60} cannot be recorded: {error}."
        ) from error
    return tid


class Logbook:
    """One search's journal, as the process that runs trials uses it."""

    def __init__(self, store: Store, name: str, *, max_attempts: int) -> None:
        self.name, self._max_attempts = name, max_attempts
        self.journal = Journal.open(store, name, rules())
        self.k_of: dict[Tid, int | None] = {}
        self.pending_of: dict[Tid, tuple[int, ...]] = {}
        """The trials that had not ended when one was suggested; only of those that had some."""
        self.next_tid = 0
        self.settings: dict[str, Any] = {}
        """Those of the chain, and what was set here since."""
        self.inherited: dict[Tid, int] = {}
        """The trials that this session inherited, and in how many runtimes each one died."""
        self.replayed: frozenset[Tid] = frozenset()
        """Those whose start the dead session had only spooled: it was appended by this one."""
        self._named: set[Tid] = set()
        self._written: dict[Tid, int] = {}
        """By tid, the hash of the document as it was last read or written here."""
        self._start: _Start | None = None
        """What was appended last, if that was a start."""
        self._claim: Claim | None = None
        self._care: Care | None = None
        self._pid = self._outages = 0
        self._learn()

    @property
    def history(self) -> History:
        """What the acknowledged records say."""
        state: History = self.journal.state
        return state

    @property
    def owned(self) -> bool:
        """Whether this process holds the search."""
        return self._claim is not None

    @property
    def next_k(self) -> int:
        """The index of the algorithm's next call."""
        return 1 + max((k for k in self.k_of.values() if k is not None), default=-1)

    def knows(self, entry: TrialEntry) -> bool:
        """Whether the document is the one last read or written here; from now on it is."""
        last = self._written.get(entry.tid)
        self._written[entry.tid] = hash(entry.document)
        return last == self._written[entry.tid]

    @property
    def unclean(self) -> bool:
        """Whether the session before this one died."""
        return self._claim is not None and self._claim.reason in DEATHS

    # -- holding

    @property
    def forked(self) -> bool:
        """Whether this process is a fork of the owner: it has nothing to record or to close."""
        return self.owned and self._pid != os.getpid()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Within the block this process runs the search, and nothing else in it may."""
        self.journal.refuse_second_run()
        self.journal.running = True
        try:
            yield
        finally:
            self.journal.running = False

    def refresh(self) -> None:
        """Read on to the end of the chain, where the search is not held."""
        if not self.owned:
            self.journal.refresh()
            self._learn()

    def claim(
        self,
        settings: SearchSettings,
        *,
        on_busy: str,
        notify: Callable[[str], None],
        restart: bool = False,
        retry_failed: bool = False,
    ) -> None:
        """Become the owner, and give up the trials that killed too many runtimes."""

        def payload(history: History) -> bytes:
            if restart:
                return claim_payload({})
            queued = [
                pack_item(
                    ItemKind.QUEUED,
                    entry.tid,
                    entry.k,
                    encode(as_new(entry.decoded())),
                    next_tid=history.next_tid,
                    pending=entry.pending,
                )
                for entry in history.trials.values()
                if entry.unfinished or (retry_failed and entry.end == TrialEnd.GIVEN_UP)
            ]
            return claim_payload(settings.claim(self.name, history.settings), queued)

        self._outages = 0
        self._claim = self.journal.claim(payload, on_busy=on_busy, anew=restart, notify=notify)
        self._care, self._pid = Care(self._claim), os.getpid()
        if restart and self.history.trials:
            self.journal.reset(claim_payload(settings.claim(self.name, {}) | {RESTARTED: True}))
        self._learn()
        if restart:
            self.set(settings.claim(self.name, self.settings) | {RESTARTED: True})
        owner = self.history.owner
        self.replayed = frozenset(e.tid for e in self.history.unfinished if owner in e.attempts)
        for entry in self.history.used_up(self._max_attempts):
            self._give_up(entry)

    def set(self, settings: dict[str, Any]) -> None:
        """Record settings that changed since the claim.

        The state of an early-stop function is spooled: trials do not tell how it came about.
        """
        changed = {key: val for key, val in settings.items() if self.settings.get(key) != val}
        if changed:
            self.settings |= changed
            self._append(settings_item(changed), durable=EARLY_STOP in changed)

    def reset(self, settings: dict[str, Any]) -> None:
        """Begin a new history; the old one stays in the chain."""
        self.journal.reset(claim_payload(settings))
        self._learn()

    def close(self, timeout: float) -> None:
        """Flush, release; whoever comes next goes on from here."""
        owned, forked, self._claim = self.owned, self.forked, None
        if owned and not forked:
            self.journal.close(timeout)

    def require_owner(self) -> None:
        """Raise where this process is a fork of the owner, or another runtime took over."""
        self._refuse_fork()
        self.journal.raise_if_lost()

    def _refuse_fork(self) -> None:
        if self.forked:
            raise SearchError(
                f"Search {self.name!r} is held by process {self._pid}, of which this is a fork: "
                f"run trials there."
            )

    def _learn(self) -> None:
        history = self.history
        self.k_of = {tid: entry.k for tid, entry in history.trials.items()}
        self.pending_of = {tid: e.pending for tid, e in history.trials.items() if e.pending}
        self.next_tid = history.next_tid
        self.settings = dict(history.settings)
        self._named = set(history.trials)
        self.inherited = {entry.tid: len(entry.attempts) for entry in history.unfinished}

    def _give_up(self, entry: TrialEntry) -> None:
        session = self.history.timeline[-1]  # this one's
        now = datetime.fromtimestamp(int(session.began), UTC).replace(tzinfo=None)
        document = as_new(entry.decoded()) | {"state": FINISHED, "owner": session.where}
        document |= {"book_time": now, "refresh_time": now}
        document["result"] = given_up(
            f"{len(entry.attempts)} runtimes died while this trial was running"
        )
        self.inherited.pop(entry.tid, None)
        # Not spooled: the next session would come to the same judgement by itself.
        item = pack_item(ItemKind.END, entry.tid, entry.k, encode(document), how=TrialEnd.GIVEN_UP)
        self._append(item)
        self.journal.flush(CARE_PATIENCE)

    # -- trials

    def insert_ended(self, documents: Iterable[TrialDocument], settings: dict[str, Any]) -> None:
        """Record trials that ended elsewhere, and settings that say so: all of it in one entry."""
        items = [settings_item(settings)]
        for document in documents:
            tid = _checked(document)
            self._named.add(tid)
            self.k_of[tid] = None
            encoded = encode(plain_document(document))
            self._written[tid] = hash(encoded)
            how = TrialEnd.DONE if document["state"] == FINISHED else TrialEnd.CAUGHT
            loss, pruned = countable_loss(document), is_pruned(document)
            items.append(
                pack_item(ItemKind.END, tid, None, encoded, how=how, loss=loss, pruned=pruned)
            )
        self.settings |= settings
        self._append(b"".join(items), durable=True)

    def queue(self, documents: Iterable[TrialDocument]) -> None:
        """Name trials that have not started; all of them in one entry, which is spooled."""
        self._append(b"".join(map(self._queued, documents)), durable=True)

    def _queued(self, document: TrialDocument) -> bytes:
        tid = _checked(document)
        self._named.add(tid)
        k = self.k_of.setdefault(tid, None)
        encoded = encode(plain_document(document))
        self._written[tid] = hash(encoded)
        pending = self.pending_of.get(tid, ())
        return pack_item(ItemKind.QUEUED, tid, k, encoded, next_tid=self.next_tid, pending=pending)

    def start(
        self,
        document: TrialDocument,
        batch: Iterable[TrialDocument],
        *,
        progress: int = 0,
        deaths: int = 0,
        durable: bool = False,
    ) -> None:
        """A trial of the batch starts; before its first one all of it is named.

        `deaths` workers have died of it in this session; `durable`: the start is spooled, too.
        """
        deaths += document["tid"] in self.replayed  # the session that died is named nowhere else
        self.require_owner()
        tid = document["tid"]
        unnamed = [one for one in batch if one["tid"] not in self._named]
        if len(unnamed) > 1:
            self.queue(map(as_new, unnamed))
        self._named.add(tid)
        k, next_tid = self.k_of.setdefault(tid, None), self.next_tid
        pending = self.pending_of.get(tid, ())
        taken = take(plain_document(document))

        def item() -> bytes:
            return pack_item(
                ItemKind.START,
                tid,
                k,
                taken.encode(),
                next_tid=next_tid,
                progress=progress,
                deaths=deaths,
                pending=pending,
            )

        start = _Start(tid, item)
        self._append(start, durable=durable)
        self._start = start
        if isinstance(tid, int):
            self.journal.note_running(tid)
        care = self._care
        if care is not None and care.needed(tid):
            care.wait(self.journal.flush)
            self.journal.raise_if_lost()

    def note_worker(self, document: TrialDocument, *, progress: int) -> None:
        """Record a trial's start once more, now that it is known which worker runs it.

        `progress`: as its start said.
        """
        tid = document["tid"]
        encoded = encode(plain_document(document))
        self._append(
            pack_item(
                ItemKind.START,
                tid,
                self.k_of.get(tid),
                encoded,
                next_tid=self.next_tid,
                progress=progress,
                pending=self.pending_of.get(tid, ()),
            )
        )

    def end(
        self,
        document: TrialDocument,
        how: TrialEnd = TrialEnd.DONE,
        *,
        model: bool = False,
        seconds: float = 0.0,
        result: Taken | None = None,
    ) -> None:
        """A trial ended, after so many seconds of training; `result`: where it is taken already."""
        tid, care = _checked(document), self._care
        careful = care is not None and care.needed(tid)
        if care is not None:
            care.ran(seconds)
        taken = take(plain_document(document) if result is None else document | {"result": result})
        k, loss = self.k_of.setdefault(tid, None), countable_loss(document)
        pruned = is_pruned(document)

        def item() -> bytes:
            encoded = taken.encode()
            self._written[tid] = hash(encoded)
            return pack_item(
                ItemKind.END,
                tid,
                k,
                encoded,
                how=how,
                loss=loss,
                model=model,
                pruned=pruned,
                pending=pending,
            )

        self._named.add(tid)
        pending: tuple[int, ...] = ()
        if self._start is not None and self._start.tid == tid:
            self._start.drop()
            pending = self.pending_of.get(tid, ())
        self._append(item, durable=True)
        self._note_outages()
        if care is not None and careful:
            care.wait(self.journal.flush)  # dying in the next trial must not count against this one

    def _note_outages(self) -> None:
        """Record the outages that have ended since, for the timeline."""
        outages = self.journal.outages()
        for began, ended in outages[self._outages :]:
            self._append(settings_item({OUTAGE: [began, ended]}))
        self._outages = len(outages)

    def attach(self, name: str, value: bytes | None) -> None:
        """An attachment was set to an encoded value, or deleted."""
        beside = [value] if value is not None and len(value) > LARGE else []
        self._append(attachment_item(name, value), durable=True, beside=beside)

    def _append(self, item: bytes | Callable[[], bytes], **how: Any) -> None:
        self._refuse_fork()
        self.journal.append(item, **how)
        self._start = None
