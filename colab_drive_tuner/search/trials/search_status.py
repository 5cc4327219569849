"""`SearchStatus`: how far a search is; and how it is read off the trial documents in memory."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from operator import itemgetter
from typing import Any, NamedTuple

from colab_drive_tuner.checkpoint.document_validation import TrialDocument
from colab_drive_tuner.checkpoint.record_items import Tid
from colab_drive_tuner.journal.lease import Holder
from colab_drive_tuner.search.spec.settings import stored_stop
from colab_drive_tuner.search.trial_documents import (
    OPEN,
    count_ended,
    countable_loss,
    has_ended,
    is_pruned,
)
from colab_drive_tuner.text import visible


class SearchState(StrEnum):
    """How a search stands, in one word."""

    PROBLEM = "problem"
    """It cannot be read."""
    STOPPED = "stopped"
    """A rule ended it before it had all its trials."""
    FINISHED = "finished"
    RUNNING = "running"
    INTERRUPTED = "interrupted"
    """Its runtime died, or vanished."""
    UNFINISHED = "unfinished"
    """Nobody runs it, and there is more to do."""


@dataclass(frozen=True)
class RunningNow:
    """A trial that runs, and where."""

    tid: Tid
    worker: str
    """Host and process of the worker; before that is known, the executor and its process."""
    since: float | None
    """When it began there, in seconds since 1970."""
    attempt: int
    """1 unless runtimes or workers have died of it before."""


@dataclass(frozen=True)
class SearchStatus:
    """How one search stands, by its acknowledged records."""

    name: str
    done: int = 0
    """Trials that count towards `max_evals`: ended, caught errors and given-up ones included."""
    max_evals: int | None = None
    """The target of the last run; None where there was none."""
    stopped: str = ""
    """Why it ended before all its trials: its loss threshold, or its early-stop function."""
    best_loss: float | None = None
    best_tid: Tid | None = None
    trials: int = 0
    """All trials, unfinished ones included."""
    failed: int = 0
    """Trials that ended without a loss: status fail, NaN, an error, or given up."""
    pruned: int = 0
    """Trials that a pruner ended early."""
    holder: Holder | None = None
    """Who holds it; None: nobody, it was released."""
    dead_here: bool = False
    """Whether the holder was a process of this machine that is certainly gone."""
    recovered: int = 0
    """How many deaths of a runtime the search has survived."""
    running: tuple[RunningNow, ...] = ()
    """The trials that run now, as far as is recorded."""
    sessions: int = 0
    url: str = ""
    study: bool = False
    """Whether it is an Optuna study."""
    problem: str = ""
    """Why it cannot be read, where it cannot."""

    @property
    def finished(self) -> bool:
        """Whether the search has ended: with all `max_evals` trials, or stopped by a rule."""
        return bool(self.stopped) or (self.max_evals is not None and self.done >= self.max_evals)

    @property
    def held(self) -> bool:
        """Whether a runtime that may well be alive holds it."""
        return self.holder is not None and not (self.holder.stale or self.dead_here)

    @property
    def state(self) -> SearchState:
        """How it stands, in one word."""
        if self.problem:
            return SearchState.PROBLEM
        if self.finished:
            return SearchState.STOPPED if self.stopped else SearchState.FINISHED
        if self.holder is None:
            return SearchState.UNFINISHED
        return SearchState.RUNNING if self.held else SearchState.INTERRUPTED

    @property
    def progress(self) -> str:
        """How many trials are done, of how many: "12 of 50"; "12" where there is no target."""
        return f"{self.done}" if self.max_evals is None else f"{self.done} of {self.max_evals}"

    def __str__(self) -> str:
        if self.problem:
            return f"{visible(self.name)}: {visible(self.problem)}"
        best = "" if self.best_loss is None else f", best loss {self.best_loss:.6g}"
        state = f", stopped: {self.stopped}" if self.stopped else ""
        if self.held:
            state = f", running {self.at_once}".rstrip()
        counts = without_result(pruned=self.pruned, failed=self.failed)
        return f"{visible(self.name)}: {self.progress} trials{counts}{best}{visible(state)}"

    @property
    def at_once(self) -> str:
        """The trials that run now, in words: "trials 3, 5"; "" where none is known."""
        tids = ", ".join(str(trial.tid) for trial in self.running)
        return tids and f"trial{'s' * (len(self.running) > 1)} {tids}"


def without_result(**counts: int) -> str:
    """How many trials ended how, in brackets: " (2 pruned, 1 failed)"; "" where none did."""
    said = ", ".join(f"{count} {how}" for how, count in counts.items() if count)
    return said and f" ({said})"


class TrialFacts(NamedTuple):
    """What the status of a search needs to know of a trial."""

    tid: Tid
    loss: float | None
    """Where it counts for the best."""
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
    """How a search stands by its trials; `more`: further fields of its status."""
    with_loss = [(one.loss, one.tid) for one in trials if one.loss is not None]
    best = min(with_loss, key=itemgetter(0), default=None)  # of equal ones the first
    stop = stored_stop(settings)
    return SearchStatus(
        name=name,
        max_evals=target_of(settings),
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
    """How a search stands by what this process has in memory, acknowledged or not."""
    trials = [
        TrialFacts(doc["tid"], countable_loss(doc), has_ended(doc), is_pruned(doc))
        for doc in documents
    ]
    unfinished = any(doc["state"] in OPEN for doc in documents)
    done = count_ended(documents)
    return status_of_trials(name, trials, settings, done=done, unfinished=unfinished)


def target_of(settings: Mapping[str, Any]) -> int | None:
    """How many trials the search shall have; None where there is no target."""
    max_evals = settings.get("max_evals")
    return max_evals if isinstance(max_evals, int) and max_evals < sys.maxsize else None
