"""Death of a driver in each phase of a trial, with several in flight, and checks afterwards."""

import functools
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from colab_drive_tuner.checkpoint.record_items import TrialEnd
from colab_drive_tuner.journal import Journal
from colab_drive_tuner.search.drive_trials import DriveTrials
from colab_drive_tuner.search.executors.dispatcher import Dispatcher
from colab_drive_tuner.search.loop.parallel import ParallelLoop
from colab_drive_tuner.search.loop.sequential import Loop
from colab_drive_tuner.search.trials.logbook import Logbook
from colab_drive_tuner.store.folder import FolderStore
from colab_drive_tuner.training.trial import running_trial
from tests.search.sample_searches import (
    ALGORITHMS,
    SPACE,
    held_journals,
    replayed,
    run_in_fork,
    sample_objective,
)

MOST, WIDTH = 12, 3
PHASES: dict[str, int] = {
    "before its start is recorded": 1,
    "its start is recorded": 2,
    "submitted": 2,
    "running": 2,
    "its result has arrived": 2,
    "its end is recorded": 0,
}
"""Phases of a trial in which the driver dies, and the attempt number of its rerun (0: no rerun)."""


def session(
    folder: Path,
    most: int,
    deadly: Callable[[int], None] = lambda tid: None,
    max_attempts: int = 99,
) -> None:
    """Run the search up to `most` trials, three at once; leave a mark for each run of a trial."""
    marks = folder / "marks"
    marks.mkdir(exist_ok=True)
    store = folder / "store"
    trials = DriveTrials("search", store=store, max_attempts=max_attempts, notify=lambda _: None)

    log = trials.log

    @functools.wraps(sample_objective)
    def objective(point: Any) -> float:
        trial = running_trial()
        assert trial is not None
        assert trial.tid in log._named, "it runs, and its start is not recorded"
        (marks / f"{trial.tid}-{trial.attempt}-{os.getpid()}").touch()
        deadly(trial.tid)
        time.sleep(0.002 + 0.01 * (point["x"] > 0.5))
        return sample_objective(point)

    with ThreadPoolExecutor(WIDTH) as pool:
        trials.fmin(
            objective,
            SPACE,
            algo=ALGORITHMS["anneal"],
            max_evals=most,
            rstate=np.random.default_rng(3),
            show_progressbar=False,
            return_argmin=False,
            executor=pool,
        )


def poisoned(folder: Path, poison: int) -> None:
    """Run a session that trial `poison` kills whenever it runs, once all before is spooled."""

    def deadly(tid: int) -> None:
        if tid == poison:
            assert all(journal.flush_to_disk(60) for journal in held_journals())
            os.kill(os.getpid(), signal.SIGKILL)
        elif abs(tid - poison) < WIDTH:
            time.sleep(1)  # keeps this trial in flight at each death

    session(folder, MOST, deadly, max_attempts=3)


def _tid_of_start(item: Any) -> int:
    return int(getattr(item, "tid", -1))


_CALLS: dict[str, tuple[type, str, Callable[[Any], int], bool]] = {
    "before its start is recorded": (Loop, "_start", itemgetter("tid"), True),
    "its start is recorded": (Loop, "_start", itemgetter("tid"), False),
    "its start is only spooled": (Logbook, "_append", _tid_of_start, False),
    "submitted": (Dispatcher, "submit", attrgetter("task.attempt.tid"), False),
    "its result has arrived": (
        ParallelLoop,
        "_handle_outcome",
        lambda started: int(started.document["tid"]),
        True,
    ),
    "its end is recorded": (Logbook, "end", itemgetter("tid"), False),
}
"""By phase, the method at which the driver dies, its trial by its argument, and whether before."""


def die_in(folder: Path, phase: str, doomed: int, most: int = MOST) -> None:
    """Run a session whose driver dies in a phase of one trial, once all before is spooled."""
    flush = Journal.flush if phase == "running and acknowledged" else Journal.flush_to_disk

    def die(tid: int) -> None:
        if tid == doomed:
            assert all(flush(journal, 60) for journal in held_journals())
            os.kill(os.getpid(), signal.SIGKILL)

    def work() -> None:
        if phase in _CALLS:
            owner, name, tid_of, before = _CALLS[phase]
            inner = getattr(owner, name)

            def wrapped(self: Any, first: Any, *args: Any, **options: Any) -> Any:
                tid = tid_of(first)
                if before:
                    die(tid)
                if tid == doomed and phase == "its start is only spooled":
                    FolderStore.create = lambda *_, **__: time.sleep(60)  # type: ignore[assignment]
                result = inner(self, first, *args, **options)
                die(tid)
                return result

            setattr(owner, name, wrapped)
        session(folder, most, die if phase.startswith("running") else lambda tid: None)

    assert run_in_fork(work) == -signal.SIGKILL


def judge(folder: Path, most: int = MOST) -> dict[int, list[int]]:
    """Assert the invariants of a resumed search; return the attempt numbers of each trial."""
    history = DriveTrials("search", store=folder / "store").log.history
    entries = history.trials
    assert sorted(entries) == list(entries) == list(range(most))
    assert {entry.end for entry in entries.values()} == {TrialEnd.DONE}
    recorded = {tid: entry.decoded()["misc"]["vals"] for tid, entry in entries.items()}
    assert replayed(history, "anneal") == recorded
    attempts: dict[int, list[int]] = {tid: [] for tid in range(most)}
    for mark in (folder / "marks").iterdir():
        tid, attempt, _ = map(int, mark.name.split("-"))
        attempts[tid].append(attempt)
    return attempts
