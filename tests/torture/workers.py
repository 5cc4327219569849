"""Demands on trials that run several at once, and builds that break them."""

from pathlib import Path
from typing import Any

import pytest

from colab_drive_tuner.checkpoint import history
from colab_drive_tuner.errors import ExecutorError
from colab_drive_tuner.search.drive_trials import DriveTrials
from colab_drive_tuner.search.executors import losses
from colab_drive_tuner.search.loop import parallel
from colab_drive_tuner.search.trials.stored import StoredTrials
from tests.search.searching import bowl, go
from tests.search.test_parallel import Breaking, replayed, uneven, wide
from tests.torture.checks import check
from tests.torture.mutants import mutant


@check
def only_what_dies_alone_is_given_up(folder: Path) -> None:
    """Pools break until the deadly trial is found; the others end, and it is tried twice alone."""
    ran: list[list[int]] = []
    for _ in range(8):
        pool = Breaking(4)
        try:
            result = go(folder, bowl, max_evals=9, executor=pool, width=3, max_attempts=2)
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
    """What the record says was seen gives the recorded points."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(4) as pool:
        trials = wide(folder, "tpe", 40, uneven, executor=pool)
    recorded = {doc["tid"]: doc["misc"]["vals"] for doc in trials.trials}
    assert replayed(DriveTrials("search", store=folder).log.history, "tpe") == recorded


@mutant
def a_broken_pool_blames_everybody() -> None:
    """WORKERS: all that was in flight is guilty."""

    def blame_all(self: Any, broken: Any) -> None:
        for started in [*broken, *self._started.values()]:
            self._blame(started)
        self._started.clear()
        self._fail(ExecutorError("broken"))

    parallel.ParallelLoop._break = blame_all  # type: ignore[method-assign]


@mutant
def suspects_run_beside_others() -> None:
    """WORKERS: nothing runs alone, so nobody is ever guilty."""
    losses.Losses.runs_alone = lambda self, tid: False  # type: ignore[method-assign]
    losses.Losses.any_alone = lambda self, tids: False  # type: ignore[method-assign]


@mutant
def deaths_of_workers_are_not_counted() -> None:
    """ATTEMPTS: a start that says so is like any other."""
    attempt = history.History._attempt
    history.History._attempt = lambda self, entry, owner, start: attempt(  # type: ignore[method-assign]
        self, entry, owner, start._replace(deaths=0)
    )


@mutant
def what_was_pending_is_not_recorded() -> None:
    """WORKERS: a suggestion does not say which ends it had not seen."""
    insert = StoredTrials.insert_suggested
    StoredTrials.insert_suggested = (  # type: ignore[method-assign]
        lambda self, docs, k, pending: insert(self, docs, k, [])
    )
