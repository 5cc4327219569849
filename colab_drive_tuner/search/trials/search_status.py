"""Status of a search: state, progress and best loss, and its computation from trials in memory."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from operator import itemgetter
from typing import Any, NamedTuple

from colab_drive_tuner.checkpoint.document_schema import TrialDocument
from colab_drive_tuner.checkpoint.record_items import Tid
from colab_drive_tuner.checkpoint.recorded_settings import STOPPED
from colab_drive_tuner.journal.lease import Holder
from colab_drive_tuner.search.trial_documents import (
    OPEN,
    count_ended,
    countable_loss,
    has_ended,
    is_pruned,
)
from colab_drive_tuner.text import visible


class SearchState(StrEnum):
    """State of a search."""

    PROBLEM = "problem"
    """The search cannot be read."""
    STOPPED = "stopped"
    """A stopping rule ended the search before `max_evals` trials."""
    FINISHED = "finished"
    RUNNING = "running"
    INTERRUPTED = "interrupted"
    """The runtime that held the search died or vanished."""
    UNFINISHED = "unfinished"
    """The search was released before it was finished."""


@dataclass(frozen=True)
class RunningNow:
    """A trial that is running, and its worker."""

    tid: Tid
    worker: str
    """Host and process of the worker; until they are known, the executor and its process."""
    since: float | None
    """When the trial started there, in seconds since 1970."""
    attempt: int
    """1, plus the number of runtimes and workers that died while running the trial."""


@dataclass(frozen=True)
class SearchStatus:
    """Status of one search, from its acknowledged records."""

    name: str
    done: int = 0
    """Trials that count towards `max_evals`: ended, caught errors and given-up ones included."""
    max_evals: int | None = None
    """The target of the last run; None if it had no limit."""
    stopped: str = ""
    """The rule that stopped the search early (loss threshold or early-stop function), or ""."""
    best_loss: float | None = None
    best_tid: Tid | None = None
    trials: int = 0
    """All trials, unfinished ones included."""
    failed: int = 0
    """Trials that ended without a loss: status fail, NaN, an error, or given up."""
    pruned: int = 0
    """Trials that a pruner ended early."""
    holder: Holder | None = None
    """The session that holds the search; None if it was released."""
    dead_here: bool = False
    """Whether the holder was a process of this machine that no longer exists."""
    recovered: int = 0
    """The number of runtime deaths that the search has survived."""
    running: tuple[RunningNow, ...] = ()
    """The trials that are running now, as far as recorded."""
    sessions: int = 0
    url: str = ""
    study: bool = False
    """Whether the search is an Optuna study."""
    problem: str = ""
    """Why the search cannot be read, or ""."""

    @property
    def finished(self) -> bool:
        """Whether the search has all `max_evals` trials, or was stopped by a rule."""
        return bool(self.stopped) or (self.max_evals is not None and self.done >= self.max_evals)

    @property
    def held(self) -> bool:
        """Whether a session that may be alive holds the search."""
        return self.holder is not None and not (self.holder.stale or self.dead_here)

    @property
    def state(self) -> SearchState:
        """The state of the search."""
        if self.problem:
            return SearchState.PROBLEM
        if self.finished:
            return SearchState.STOPPED if self.stopped else SearchState.FINISHED
        if self.holder is None:
            return SearchState.UNFINISHED
        return SearchState.RUNNING if self.held else SearchState.INTERRUPTED

    @property
    def detailed_state(self) -> str:
        """The state, with the problem or the rule that stopped the search."""
        if self.state is SearchState.PROBLEM:
            return self.problem
        stopped = self.state is SearchState.STOPPED
        return f"stopped: {self.stopped}" if stopped else self.state

    @property
    def progress(self) -> str:
        """Trials done and the target; see `progress_text`."""
        return progress_text(self.done, self.max_evals)

    @property
    def summary(self) -> str:
        """Counts, best loss and state on one line."""
        if self.problem:
            return visible(self.problem)
        best = "" if self.best_loss is None else f", best loss {self.best_loss:.6g}"
        state = f", stopped: {self.stopped}" if self.stopped else ""
        if self.held:
            state = f", running {self.at_once}".rstrip()
        counts = without_result(pruned=self.pruned, failed=self.failed)
        return f"{self.progress} trials{counts}{best}{visible(state)}"

    def __str__(self) -> str:
        return f"{visible(self.name)}: {self.summary}"

    @property
    def at_once(self) -> str:
        """The running trials, such as "trials 3, 5"; "" if none is known."""
        tids = ", ".join(str(trial.tid) for trial in self.running)
        return tids and f"trial{'s' * (len(self.running) > 1)} {tids}"


def progress_text(done: int, target: int | None) -> str:
    """Return "12 of 50", or "12" without a target, or if earlier runs had a larger one."""
    shown = target is not None and done <= target < sys.maxsize
    return f"{done} of {target}" if shown else f"{done}"


def without_result(**counts: int) -> str:
    """Format the counts that are not zero, such as " (2 pruned, 1 failed)", or ""."""
    listed = ", ".join(f"{count} {how}" for how, count in counts.items() if count)
    return listed and f" ({listed})"


class TrialFacts(NamedTuple):
    """The facts about one trial that the status of a search depends on."""

    tid: Tid
    loss: float | None
    """The loss, if it counts for the best loss."""
    ended: bool
    pruned: bool


def status_of_trials(
    name: str,
    trials: Sequence[TrialFacts],
    settings: Mapping[str, Any],
    *,
    unfinished: bool,
    **more: Any,
) -> SearchStatus:
    """Compute the status of a search from its trials; `more` are further fields of the status."""
    with_loss = [(one.loss, one.tid) for one in trials if one.loss is not None]
    best = min(with_loss, key=itemgetter(0), default=None)  # the first of equal losses
    stop, target = settings.get(STOPPED), settings.get("max_evals")
    return SearchStatus(
        name=name,
        # None if it has no limit
        max_evals=target if isinstance(target, int) and target < sys.maxsize else None,
        stopped=str(stop["why"]) if stop and not unfinished else "",
        best_loss=best[0] if best else None,
        best_tid=best[1] if best else None,
        trials=len(trials),
        failed=sum(one.ended and one.loss is None and not one.pruned for one in trials),
        pruned=sum(one.pruned for one in trials),
        **more,
    )


def status_of_documents(
    name: str, documents: Sequence[TrialDocument], settings: Mapping[str, Any]
) -> SearchStatus:
    """Compute the status of a search from the documents in memory, acknowledged or not."""
    trials = [
        TrialFacts(doc["tid"], countable_loss(doc), has_ended(doc), is_pruned(doc))
        for doc in documents
    ]
    unfinished = any(doc["state"] in OPEN for doc in documents)
    done = count_ended(documents)
    return status_of_trials(name, trials, settings, done=done, unfinished=unfinished)
