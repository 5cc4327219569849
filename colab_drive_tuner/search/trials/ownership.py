"""Ownership of a search: claim, settings, reset and release."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from colab_drive_tuner.checkpoint.codec.codec import encode
from colab_drive_tuner.checkpoint.history import History
from colab_drive_tuner.checkpoint.record_items import (
    ItemKind,
    Tid,
    TrialEnd,
    claim_payload,
    pack_item,
    settings_item,
)
from colab_drive_tuner.checkpoint.recorded_settings import EARLY_STOP, OUTAGE, RESTARTED
from colab_drive_tuner.checkpoint.trials_and_sessions import RecordedTrial
from colab_drive_tuner.errors import SearchError
from colab_drive_tuner.journal import Claim, Journal
from colab_drive_tuner.journal.chain.record import DEATHS
from colab_drive_tuner.search.spec.settings import SearchSettings
from colab_drive_tuner.search.trial_documents import as_new
from colab_drive_tuner.search.trials.poison_trials import (
    CAREFUL_START_PATIENCE,
    CarefulStart,
    give_up_reason,
    given_up_document,
    given_up_message,
)


class Ownership:
    """The journal of one search, and whether this process owns it.

    A claim gives up trials in which `max_attempts` runtimes died.
    """

    def __init__(self, journal: Journal, name: str, max_attempts: float) -> None:
        self.journal, self.name, self._max_attempts = journal, name, max_attempts
        self.k_of: dict[Tid, int | None] = {}
        self.pending_of: dict[Tid, tuple[int, ...]] = {}
        """By trial, those that had not ended when it was suggested; omitted if there were none."""
        self.next_tid = 0
        self.settings: dict[str, Any] = {}
        """The settings in the chain, updated with those set by this process since."""
        self.inherited: dict[Tid, int] = {}
        """The unfinished trials of earlier sessions; number of runtimes that died in each."""
        self.replayed: frozenset[Tid] = frozenset()
        """The trials whose start the dead session had only spooled; this session appended it."""
        self._named: set[Tid] = set()
        self._claim: Claim | None = None
        self._careful_start: CarefulStart | None = None
        self._pid = self._outages = 0
        self._load_history()

    @property
    def history(self) -> History:
        """The state of the acknowledged records."""
        state: History = self.journal.state
        return state

    @property
    def owned(self) -> bool:
        """Whether this process owns the search."""
        return self._claim is not None

    @property
    def next_k(self) -> int:
        """The index of the algorithm's next call."""
        return 1 + max((k for k in self.k_of.values() if k is not None), default=-1)

    @property
    def after_crash(self) -> bool:
        """Whether the session before this one died."""
        return self._claim is not None and self._claim.reason in DEATHS

    @property
    def forked(self) -> bool:
        """Whether this process is a fork of the owner, so it must not record or close anything."""
        return self.owned and self._pid != os.getpid()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Mark the search as running in this process; raise if it already is."""
        self.journal.refuse_second_run()
        self.journal.running = True
        try:
            yield
        finally:
            self.journal.running = False

    def claim(
        self,
        settings: SearchSettings,
        *,
        on_busy: str,
        notify: Callable[[str], None],
        progress: Callable[[Tid], int] = lambda _: 0,
        restart: bool = False,
        retry_failed: bool = False,
    ) -> None:
        """Become the owner, and give up trials that killed too many runtimes.

        `progress` returns how far the trial's backups got.
        """

        def payload(history: History) -> bytes:
            if restart:
                return claim_payload({})
            pack = partial(pack_item, ItemKind.QUEUED, next_tid=history.next_tid)
            queued = [
                pack(entry.tid, entry.k, encode(as_new(entry.decoded())), pending=entry.pending)
                for entry in history.trials.values()
                if entry.unfinished or (retry_failed and entry.end == TrialEnd.GIVEN_UP)
            ]
            return claim_payload(settings.claim(self.name, history.settings), queued)

        self._outages = 0
        self._claim = self.journal.claim(payload, on_busy=on_busy, force_new=restart, notify=notify)
        self._careful_start, self._pid = CarefulStart(self._claim), os.getpid()
        if restart and self.history.trials:
            self.journal.reset(claim_payload(settings.claim(self.name, {}) | {RESTARTED: True}))
        self._load_history()
        if restart:
            self.set(settings.claim(self.name, self.settings) | {RESTARTED: True})
        owner = self.history.owner
        self.replayed = frozenset(e.tid for e in self.history.unfinished if owner in e.attempts)
        for entry in self.history.out_of_attempts(self._max_attempts):
            # A death after which the backups were further does not count; the next start says so.
            if progress(entry.tid) <= max(entry.attempts.values()):
                self._give_up(entry, notify)

    def set(self, settings: dict[str, Any]) -> None:
        """Record settings that changed since the claim.

        The state of an early-stop function is spooled, since it cannot be derived from the trials.
        """
        changed = {key: val for key, val in settings.items() if self.settings.get(key) != val}
        if changed:
            self.settings |= changed
            self._append(settings_item(changed), durable=EARLY_STOP in changed)

    def reset(self, settings: dict[str, Any]) -> None:
        """Begin a new history; the old one stays in the chain."""
        self.journal.reset(claim_payload(settings))
        self._load_history()

    def close(self, timeout: float) -> None:
        """Flush and release the search, so that another session can continue it."""
        owned, forked, self._claim = self.owned, self.forked, None
        if owned and not forked:
            self.journal.close(timeout)

    def require_owner(self) -> None:
        """Raise if this process is a fork of the owner, or another runtime has taken over."""
        self._refuse_fork()
        self.journal.raise_if_lost()

    def _refuse_fork(self) -> None:
        if self.forked:
            raise SearchError(
                f"Search {self.name!r} is held by process {self._pid}, of which this is a fork: "
                f"run trials there."
            )

    def _load_history(self) -> None:
        history = self.history
        self.k_of = {tid: entry.k for tid, entry in history.trials.items()}
        self.pending_of = {tid: e.pending for tid, e in history.trials.items() if e.pending}
        self.next_tid = history.next_tid
        self.settings = dict(history.settings)
        self._named = set(history.trials)
        self.inherited = {entry.tid: len(entry.attempts) for entry in history.unfinished}

    def _give_up(self, entry: RecordedTrial, notify: Callable[[str], None]) -> None:
        reason = give_up_reason(len(entry.attempts), "runtime")
        document = given_up_document(entry, reason, self.history)
        self.inherited.pop(entry.tid, None)
        # Not spooled: the next session would decide the same from the same records.
        item = pack_item(ItemKind.END, entry.tid, entry.k, encode(document), how=TrialEnd.GIVEN_UP)
        self._append(item)
        self.journal.flush(CAREFUL_START_PATIENCE)
        notify(given_up_message(self.name, entry.tid, reason))

    def _note_outages(self) -> None:
        """Record the outages that have ended since the last call, for the timeline."""
        outages = self.journal.outages()
        for began, ended in outages[self._outages :]:
            self._append(settings_item({OUTAGE: [began, ended]}))
        self._outages = len(outages)

    def _append(self, item: bytes | Callable[[], bytes], **how: Any) -> None:
        self._refuse_fork()
        self.journal.append(item, **how)
