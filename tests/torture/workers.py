"""Checks and mutants for searches that run several trials at once."""

import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from colab_drive_tuner.checkpoint import history
from colab_drive_tuner.errors import ExecutorError
from colab_drive_tuner.search.drive_trials import DriveTrials
from colab_drive_tuner.search.executors import adapters, dispatcher, worker_deaths
from colab_drive_tuner.search.loop import missing_trials, parallel
from colab_drive_tuner.search.trials.logbook import Logbook
from colab_drive_tuner.search.trials.stored_trials import StoredTrials
from colab_drive_tuner.store.folder import FolderStore
from colab_drive_tuner.training.trial import running_trial
from tests.search.fake_executors import Breaking, OwnBreaking, WorkerCrashedError
from tests.search.sample_searches import (
    ALGORITHMS,
    SPACE,
    held_journals,
    replayed,
    resume_sample_search,
    run_hyperopt,
    run_in_fork,
    run_in_store,
    sample_objective,
    uneven,
)
from tests.torture import driver_deaths
from tests.torture.checks import check
from tests.torture.mutants import mutant
from tests.torture.search_checks import with_hole


@check
def only_a_trial_that_dies_alone_is_given_up(folder: Path) -> None:
    """Pools break until the poison trial is found: it runs alone twice, and the others end."""
    ran: list[list[int]] = []
    for _ in range(8):
        pool = Breaking(4, suspects={tid for tids in ran for tid in tids if len(tids) > 1})
        try:
            result = resume_sample_search(
                folder, sample_objective, max_evals=9, executor=pool, width=3, max_attempts=2
            )
        except ExecutorError:
            ran += pool.ran
            continue
        failed = [doc["tid"] for doc in result.trials.trials if doc["result"]["status"] == "fail"]
        assert failed == [4]
        assert [tids for tids in ran if 4 in tids] == [[3, 4, 5], [4], [4]]
        return
    pytest.fail("the deadly trial is never given up")


@check
def points_follow_from_the_record(folder: Path) -> None:
    """The points follow from the ends that the record says the algorithm had seen."""
    with ThreadPoolExecutor(4) as pool:
        trials = run_in_store(folder, "tpe", 40, uneven, executor=pool)
    recorded = {doc["tid"]: doc["misc"]["vals"] for doc in trials.trials}
    assert replayed(DriveTrials("search", store=folder).log.history, "tpe") == recorded


@check
def a_dead_driver_costs_its_trials_one_attempt(folder: Path) -> None:
    """After a death in any phase all trials end; only trials in flight cost an attempt."""
    for number, (phase, attempt) in enumerate(driver_deaths.PHASES.items()):
        doomed, place = 4, folder / str(number)
        place.mkdir()
        driver_deaths.die_in(place, phase, doomed)
        ran_before = {path.name.split("-")[0] for path in (place / "marks").iterdir()}
        driver_deaths.session(place, driver_deaths.MOST)
        attempts = driver_deaths.judge(place)
        assert max(attempts[doomed]) == (attempt or 1), phase
        for tid, ran in attempts.items():
            assert max(ran) <= 2, phase
            assert len(ran) == 1 or str(tid) in ran_before, phase


@check
def a_start_that_only_a_spool_names_costs_an_attempt(folder: Path) -> None:
    """The death of a driver counts, if the start of its trial is recorded by the next one only."""
    for phase in ("its start is only spooled", "running and acknowledged"):
        driver_deaths.die_in(folder, phase, 4)
    driver_deaths.session(folder, driver_deaths.MOST)
    assert sorted(driver_deaths.judge(folder)[4]) == [2, 3]


@check
def an_end_is_recorded_when_it_comes(folder: Path) -> None:
    """Ends that come while the first trial still runs survive the driver's death."""
    marks = folder / "marks"

    def deadly(tid: int) -> None:
        if tid == 0:
            while not list(marks.glob("9-*")):  # until trials before the ninth have ended
                time.sleep(0.01)
            assert all(journal.flush_to_disk(60) for journal in held_journals())
            os.kill(os.getpid(), signal.SIGKILL)

    dead = run_in_fork(lambda: driver_deaths.session(folder, driver_deaths.MOST, deadly))
    assert dead == -signal.SIGKILL
    driver_deaths.session(folder, driver_deaths.MOST)
    attempts = driver_deaths.judge(folder)
    assert [attempts[tid] for tid in range(1, 4)] == [[1]] * 3


@check
def ends_during_a_stop_are_recorded(folder: Path) -> None:
    """A trial that ends while the user's stop waits for it is recorded."""
    begun, stopping = threading.Event(), threading.Event()

    def objective(point: Any) -> float:
        tid = running_trial().tid  # type: ignore[union-attr]
        if tid == 0:
            assert begun.wait(60)
            raise KeyboardInterrupt
        begun.set()
        assert stopping.wait(60)
        return sample_objective(point)

    def leaving(self: Any, patience: Any) -> None:
        stopping.set()
        leave(self, patience)

    leave, parallel.ParallelLoop._stop_trials = parallel.ParallelLoop._stop_trials, leaving  # type: ignore[method-assign]
    with ThreadPoolExecutor(2) as pool, pytest.raises(KeyboardInterrupt):
        run_in_store(folder, "rand", 2, objective, executor=pool)
    assert DriveTrials("search", store=folder).log.history.done == 1


@check
def the_packages_own_pool_finds_the_poison_trial(folder: Path) -> None:
    """The pool is replaced; its trials run again alone, and the poison trial twice."""
    adapters.RayExecutor = OwnBreaking  # type: ignore[misc, assignment]
    pool = OwnBreaking(4)
    try:
        result = resume_sample_search(
            folder, sample_objective, max_evals=9, executor=pool, max_attempts=2
        )
    finally:
        assert pool.ran[:2] == [[0, 1, 2], [3, 4, 5]]
        assert sorted(pool.ran[2:6]) == [[3], [4], [4], [5]]
        assert sorted(tid for tids in pool.ran[6:] for tid in tids) == [6, 7, 8]
    assert [one["status"] for one in result.trials.results].count("fail") == 1


@check
def a_lost_cluster_costs_no_attempt(folder: Path) -> None:
    """Cancelled trials, and workers that die together, do not count as attempts."""

    class Restarting(Breaking):
        def _run(self) -> None:
            super()._run()
            self._deadly = ()

    for number, cause in enumerate((CancelledError, WorkerCrashedError)):
        pool = Restarting(1, error=cause)
        where = folder / str(number)
        result = resume_sample_search(
            where, sample_objective, max_evals=6, executor=pool, width=3, max_attempts=1
        )
        assert sorted(tid for tids in pool.ran for tid in tids) == [0, 0, 1, 1, 2, 2, 3, 4, 5]
        assert {result["status"] for result in result.trials.results} == {"ok"}


@check
def a_missing_trial_waits_for_those_before_it(folder: Path) -> None:
    """A gap in the spool of a search with three trials at once is filled first."""
    store = FolderStore(folder / "store")
    with_hole(folder, 0, 2)  # the end of a recorded trial, and everything about another one
    with ThreadPoolExecutor(3) as pool:
        trials = DriveTrials("search", store=store, max_attempts=100, notify=lambda _: None)
        trials.fmin(
            uneven,
            SPACE,
            algo=ALGORITHMS["anneal"],
            max_evals=14,
            rstate=np.random.default_rng(3),
            show_progressbar=False,
            executor=pool,
        )
    assert [doc["misc"]["vals"] for doc in trials.trials[:8]] == [
        doc["misc"]["vals"] for doc in run_hyperopt("anneal", 8).trials
    ]
    recorded = {doc["tid"]: doc["misc"]["vals"] for doc in trials.trials}
    assert replayed(DriveTrials("search", store=store).log.history, "anneal") == recorded


@mutant
def a_broken_pool_blames_every_trial() -> None:
    """WORKERS: every trial in flight is guilty of the death."""
    handle = parallel.ParallelLoop._handle_deaths

    def blame_all(self: Any, lost: Any, *, several: bool) -> None:
        if not several:
            handle(self, lost, several=False)
            return
        for started in [*lost, *self._running.values()]:
            self._charge_death(started)
        self._running.clear()
        self._fail(ExecutorError("broken"))

    parallel.ParallelLoop._handle_deaths = blame_all  # type: ignore[method-assign]


@mutant
def suspects_run_beside_others() -> None:
    """WORKERS: no suspect runs alone, so none is ever guilty."""
    worker_deaths.LostTrials.runs_alone = lambda self, tid: False  # type: ignore[method-assign]


@mutant
def deaths_of_workers_are_not_counted() -> None:
    """ATTEMPTS: the deaths that a start records are ignored."""
    attempt = history.History._note_attempt
    history.History._note_attempt = lambda self, entry, owner, start: attempt(  # type: ignore[method-assign]
        self, entry, owner, start._replace(deaths=0)
    )


@mutant
def pending_trials_are_not_recorded() -> None:
    """WORKERS: a suggestion does not record which trials were pending."""
    insert = StoredTrials.insert_suggested
    StoredTrials.insert_suggested = (  # type: ignore[method-assign]
        lambda self, docs, k, pending: insert(self, docs, k, [])
    )


@mutant
def starts_are_not_recorded() -> None:
    """WORKERS: a trial is submitted without a recorded start."""
    start = Logbook.start

    def forgetting(self: Any, document: Any, *args: Any, **options: Any) -> None:
        append, self._append = self._append, lambda *args, **options: None
        try:
            start(self, document, *args, **options)
        finally:
            self._append = append

    Logbook.start = forgetting  # type: ignore[method-assign]


@mutant
def replayed_starts_count_as_own() -> None:
    """WORKERS: a replayed start counts as one of this session."""
    Logbook.replayed = property(lambda self: frozenset(), lambda self, tids: None)  # type: ignore[assignment]


@mutant
def starts_are_recorded_after_their_submission() -> None:
    """WORKERS: a trial runs before its start is recorded."""
    start, submit = Logbook.start, dispatcher.Dispatcher.submit
    late: list[Callable[[], None]] = []

    def submitting(self: Any, submission: Any) -> None:
        submit(self, submission)
        time.sleep(0.5)  # the trial begins meanwhile
        late.pop()()

    Logbook.start = (  # type: ignore[method-assign]
        lambda self, *args, **options: late.append(partial(start, self, *args, **options))
    )
    dispatcher.Dispatcher.submit = submitting  # type: ignore[method-assign]


@mutant
def ends_are_recorded_in_the_order_of_their_numbers() -> None:
    """WORKERS: an end waits for the ends of all trials before it."""
    end = parallel.ParallelLoop._handle_outcome
    held: dict[int, Any] = {}

    def in_order(self: Any, started: Any, outcome: Any) -> None:
        held[started.document["tid"]] = started, outcome
        running = [one.document["tid"] for one in self._running.values()]
        for tid in sorted(held):
            if all(tid < other for other in running):
                end(self, *held.pop(tid))

    parallel.ParallelLoop._handle_outcome = in_order  # type: ignore[method-assign]


@mutant
def an_end_that_comes_while_stopping_is_dropped() -> None:
    """WORKERS: a stop waits for no trial."""
    leave = parallel.ParallelLoop._stop_trials
    parallel.ParallelLoop._stop_trials = lambda self, patience: leave(self, 0.0)  # type: ignore[method-assign]


@mutant
def suspects_run_twice() -> None:
    """WORKERS: the trials of a broken pool are submitted twice."""
    suspect = parallel.ParallelLoop._suspect

    def twice(self: Any, lost: Any) -> None:
        suspect(self, lost)
        self._to_rerun.extend(lost)

    parallel.ParallelLoop._suspect = twice  # type: ignore[method-assign]


@mutant
def suspects_are_forgotten_between_sessions() -> None:
    """WORKERS: the next session does not know which trials must run alone."""
    worker_deaths.LostTrials._record_suspects = lambda self: None  # type: ignore[method-assign]


@mutant
def a_cancelled_trial_is_guilty() -> None:
    """WORKERS: a trial that was cancelled from outside counts as a death."""
    parallel.ParallelLoop._rerun_cancelled = parallel.ParallelLoop._charge_death  # type: ignore[method-assign]


@mutant
def workers_that_die_together_are_all_guilty() -> None:
    """WORKERS: the death of a worker is charged to its trial, even if others died with it."""
    handle = parallel.ParallelLoop._handle_deaths

    def blame_each(self: Any, lost: Any, *, several: bool) -> None:
        if several:
            handle(self, lost, several=True)
            return
        for started in lost:
            self._charge_death(started)

    parallel.ParallelLoop._handle_deaths = blame_each  # type: ignore[method-assign]


@mutant
def missing_trials_do_not_wait() -> None:
    """HOLES: with trials in flight the algorithm suggests new ones before missing ones."""
    missing_trials.MissingTrials.complete = property(lambda self: True, lambda self, value: None)  # type: ignore[assignment]
