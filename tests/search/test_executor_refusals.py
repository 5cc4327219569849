"""Executors and arguments that are refused, and executors that stop taking trials."""

import functools
import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest

from colab_drive_tuner.errors import ExecutorError, UsageError
from colab_drive_tuner.search.executors.loky import loky_executor
from colab_drive_tuner.training.trial import running_trial
from tests.search.fake_executors import Breaking, FullPool
from tests.search.sample_searches import (
    resume_sample_search,
    run_hyperopt,
    run_in_store,
    sample_objective,
    trial_values,
)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"width": 2}, "width= goes with executor="),
        ({"trial_timeout": 2}, "trial_timeout= goes with executor="),
        ({"executor": ThreadPoolExecutor}, "is a class: pass an instance"),
        ({"executor": object()}, "has no submit"),
        ({"executor": "threads"}, "has no submit"),
        ({"executor": ThreadPoolExecutor(1), "width": 0}, "width must be an integer >= 1"),
        ({"executor": ThreadPoolExecutor(1), "width": True}, "width"),
        ({"executor": ThreadPoolExecutor(1), "width": 1.5}, "width"),
        ({"executor": ThreadPoolExecutor(1), "trial_timeout": 0}, "trial_timeout must be"),
        ({"executor": ThreadPoolExecutor(1), "trial_timeout": -1}, "trial_timeout must be"),
        ({"executor": ThreadPoolExecutor(1), "trial_timeout": "1h"}, "trial_timeout"),
        ({"executor": ThreadPoolExecutor(1), "trial_timeout": float("nan")}, "trial_timeout"),
        ({"executor": Breaking()}, "does not say how many"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_written(
    options: dict[str, Any], named: str, tmp_path: Path
) -> None:
    """An invalid argument is refused by name, and no store is created."""
    with pytest.raises(UsageError, match=named):
        resume_sample_search(tmp_path / "store", sample_objective, **options)
    assert not (tmp_path / "store").exists()


def _loky() -> Executor:
    pool: Executor = pytest.importorskip("joblib.externals.loky").ProcessPoolExecutor(1)
    return pool


@pytest.mark.parametrize("make", [lambda: ThreadPoolExecutor(1), lambda: loky_executor(1), _loky])
def test_an_executor_that_was_shut_down_is_refused(
    make: Callable[[], Executor], tmp_path: Path
) -> None:
    """An executor that was shut down is refused before anything is written."""
    pool = make()
    pool.shutdown()
    with pytest.raises(UsageError, match="was shut down"):
        resume_sample_search(tmp_path / "store", sample_objective, executor=pool)
    assert not (tmp_path / "store").exists()


def test_a_pool_that_broke_is_called_broken(tmp_path: Path) -> None:
    """A broken pool has shut down too; the error says that it broke, and why."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        with pytest.raises(BrokenProcessPool):
            pool.submit(os._exit, 1).result()
        with pytest.raises(UsageError, match=r"is broken \(A child process terminated abruptly"):
            resume_sample_search(tmp_path, sample_objective, executor=pool)


@pytest.mark.parametrize("kind", ["threads", "processes", "full"])
def test_an_executor_whose_workers_do_not_start_is_refused(kind: str, tmp_path: Path) -> None:
    """A pool whose initializer fails is refused before anything is written; no trial is charged."""
    pool: Executor
    if kind == "threads":
        pool = ThreadPoolExecutor(1, initializer=int, initargs=("no number",))
    elif kind == "full":
        pool = FullPool(1)
    else:
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(1, context, initializer=os._exit, initargs=(1,))
    with pool, pytest.raises(UsageError, match=f"{type(pool).__name__} do not start .*__main__"):
        resume_sample_search(tmp_path / "store", sample_objective, executor=pool)
    assert not (tmp_path / "store").exists()


def test_a_submit_that_returns_no_future_is_an_error(tmp_path: Path) -> None:
    """If `submit` returns no future, an error names the executor; the search can be resumed."""

    class Ticket(Executor):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            return 3  # type: ignore[return-value]  # an API that only resembles Executor

    with pytest.raises(ExecutorError, match=r"Ticket takes no more trials .*'int' object has no"):
        resume_sample_search(tmp_path, sample_objective, executor=Ticket(), width=2)
    assert resume_sample_search(tmp_path, sample_objective).done == 6


def test_a_future_that_returns_no_outcome_is_the_executors_error(tmp_path: Path) -> None:
    """A future without the outcome of its trial ends the run; no trial is recorded as failed."""

    class Lossy(ThreadPoolExecutor):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            return super().submit(str, fn)

    with Lossy(2) as pool, pytest.raises(ExecutorError, match=r"Lossy could not run trial .* retu"):
        resume_sample_search(tmp_path, sample_objective, executor=pool, catch_eval_exceptions=True)
    assert resume_sample_search(tmp_path, sample_objective).done == 6


def test_an_executor_that_is_shut_down_during_a_run_ends_it(tmp_path: Path) -> None:
    """A shutdown ends the run with an error; a new executor completes the same trials."""
    pool, closed = ThreadPoolExecutor(2), threading.Event()

    @functools.wraps(sample_objective)
    def closing(point: Any) -> float:
        tid = running_trial().tid  # type: ignore[union-attr]
        if tid == 2:
            pool.shutdown(wait=False)
            closed.set()
        assert tid < 2 or closed.wait(60)  # otherwise all other trials could end first
        return sample_objective(point)

    with pytest.raises(ExecutorError, match="takes no more trials"):
        run_in_store(tmp_path, "rand", 8, closing, executor=pool)
    with ThreadPoolExecutor(2) as fresh:
        assert trial_values(
            run_in_store(tmp_path, "rand", 8, sample_objective, executor=fresh)
        ) == trial_values(run_hyperopt("rand", 8))
