"""Ownership of a search: claimed, held with care after a crash, and released.

After a crash starts are acknowledged synchronously, so that a poison trial is attributed correctly.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from colab_drive_tuner.checkpoint.codec.codec import encode
from colab_drive_tuner.checkpoint.history import History
from colab_drive_tuner.checkpoint.record_items import (
    EARLY_STOP,
    OUTAGE,
    RESTARTED,
    ItemKind,
    Tid,
    TrialEnd,
    claim_payload,
    pack_item,
    settings_item,
)
from colab_drive_tuner.checkpoint.trials_and_sessions import RecordedTrial
from colab_drive_tuner.errors import SearchError
from colab_drive_tuner.journal import Claim, Journal
from colab_drive_tuner.journal.chain.record import DEATHS
from colab_drive_tuner.search.spec.settings import SearchSettings
from colab_drive_tuner.search.trial_documents import FINISHED, as_new, given_up, given_up_message

CARE_PATIENCE = 120.0
"""How long a careful session waits for the store in all, in seconds, whether it answers or not."""


class Care:
    """After an unclean death: go carefully until past where the dead session can have been.

    Training does not wait for the store, so a runtime may die in a trial that the chain has not
    heard of. The session after it makes up for that (PROTOCOL, rule ATTEMPTS): each start is
    acknowledged before its trial runs, and each end before the next start.
    """

    def __init__(self, claim: Claim) -> None:
        self._unclean = claim.reason in DEATHS
        self._running, self._seconds = claim.running, claim.careful
        self._spent, self._begun, self._patience = 0.0, False, CARE_PATIENCE

    def needed(self, tid: Tid) -> bool:
        """Whether trial `tid` must be acknowledged before it runs."""
        if not self._unclean or self._patience <= 0:
            return False
        if self._running is not None and isinstance(tid, int):
            return tid <= self._running
        return not self._begun or self._spent < self._seconds

    def wait(self, flush: Callable[[float], bool]) -> None:
        """Wait for the store, as long as there is patience left."""
        begun = time.monotonic()
        flush(self._patience)
        self._patience -= time.monotonic() - begun

    def ran(self, seconds: float) -> None:
        """A trial has run for so long."""
        self._spent += seconds
        self._begun = True


class Ownership:
    """One search's journal as this process holds it, or does not.

    A claim gives up trials in which `max_attempts` runtimes died.
    """

    def __init__(self, journal: Journal, name: str, max_attempts: int) -> None:
        self.journal, self.name, self._max_attempts = journal, name, max_attempts
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

    @property
    def unclean(self) -> bool:
        """Whether the session before this one died."""
        return self._claim is not None and self._claim.reason in DEATHS

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
        self._claim = self.journal.claim(payload, on_busy=on_busy, force_new=restart, notify=notify)
        self._care, self._pid = Care(self._claim), os.getpid()
        if restart and self.history.trials:
            self.journal.reset(claim_payload(settings.claim(self.name, {}) | {RESTARTED: True}))
        self._learn()
        if restart:
            self.set(settings.claim(self.name, self.settings) | {RESTARTED: True})
        owner = self.history.owner
        self.replayed = frozenset(e.tid for e in self.history.unfinished if owner in e.attempts)
        for entry in self.history.used_up(self._max_attempts):
            self._give_up(entry, notify)

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

    def _give_up(self, entry: RecordedTrial, notify: Callable[[str], None]) -> None:
        session = self.history.timeline[-1]  # this one's
        now = datetime.fromtimestamp(session.began, UTC).replace(tzinfo=None)
        document = as_new(entry.decoded()) | {"state": FINISHED, "owner": session.where}
        document |= {"book_time": now, "refresh_time": now}
        died = len(entry.attempts)
        reason = f"{died} runtime{'s' * (died != 1)} died while this trial was running"
        document["result"] = given_up(reason)
        self.inherited.pop(entry.tid, None)
        # Not spooled: the next session would come to the same judgement by itself.
        item = pack_item(ItemKind.END, entry.tid, entry.k, encode(document), how=TrialEnd.GIVEN_UP)
        self._append(item)
        self.journal.flush(CARE_PATIENCE)
        notify(given_up_message(self.name, entry.tid, reason))

    def _note_outages(self) -> None:
        """Record the outages that have ended since, for the timeline."""
        outages = self.journal.outages()
        for began, ended in outages[self._outages :]:
            self._append(settings_item({OUTAGE: [began, ended]}))
        self._outages = len(outages)

    def _append(self, item: bytes | Callable[[], bytes], **how: Any) -> None:
        self._refuse_fork()
        self.journal.append(item, **how)
