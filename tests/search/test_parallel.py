"""Parallel trials on threads: reproducible points, pending trials in the record, stops."""

import functools
import gc
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import hyperopt
import pytest
from hyperopt.early_stop import no_progress_loss
from hyperopt.pyll import rec_eval

from colab_drive_tuner.emulator import DriveEmulator
from colab_drive_tuner.errors import UsageError
from colab_drive_tuner.search.drive_trials import DriveTrials
from colab_drive_tuner.search.executors import dispatcher, worker
from colab_drive_tuner.search.loop import parallel, stopping_rules
from colab_drive_tuner.search.resume import resume_search
from colab_drive_tuner.training.trial import running_trial
from tests.processes import wait_until
from tests.search.sample_searches import (
    ALGORITHMS,
    SPACE,
    open_read_only,
    replayed,
    resume_sample_search,
    run_fmin,
    run_hyperopt,
    run_in_store,
    sample_objective,
    trial_values,
    uneven,
)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    """A pool of four threads."""
    with ThreadPoolExecutor(4) as pool:
        yield pool


@pytest.mark.parametrize("algo", ["rand", "tpe", "anneal"])
def test_width_1_equals_the_search_without_an_executor(
    algo: str, tmp_path: Path, threads: Executor
) -> None:
    """With `width=1`, two sessions on threads give plain hyperopt's trials, bit for bit."""
    for most in (11, 30):
        trials = run_in_store(tmp_path, algo, most, sample_objective, executor=threads, width=1)
    assert trial_values(trials) == trial_values(run_hyperopt(algo, 30))
    assert trial_values(open_read_only(tmp_path)) == trial_values(trials)
    assert not trials.log.pending_of, "nothing was pending when it was asked"


def test_a_batch_on_an_executor_equals_hyperopts(tmp_path: Path, threads: Executor) -> None:
    """With `width=1` and `max_queue_len`, the trials are plain hyperopt's, too."""
    trials = run_in_store(
        tmp_path, "tpe", 26, sample_objective, executor=threads, width=1, max_queue_len=3
    )
    assert trial_values(trials) == trial_values(run_hyperopt("tpe", 26, max_queue_len=3))


@pytest.mark.parametrize("algo", ["tpe", "anneal"])
def test_points_are_a_function_of_the_record(algo: str, tmp_path: Path, threads: Executor) -> None:
    """Each suggestion can be repeated from the results that it had seen by the record."""
    for most in (13, 40):
        trials = run_in_store(tmp_path, algo, most, uneven, executor=threads)
    history = open_read_only(tmp_path).log.history
    assert [doc["tid"] for doc in trials.trials] == list(range(40))
    assert max(len(entry.pending) for entry in history.trials.values()) == 3
    recorded = {doc["tid"]: doc["misc"]["vals"] for doc in trials.trials}
    assert replayed(history, algo) == recorded


def test_starts_are_recorded_before_and_ends_as_they_come(
    tmp_path: Path, threads: Executor
) -> None:
    """A trial runs only after its start is in the journal; ends are recorded as they arrive."""
    appended: list[Any] = []

    def objective(point: Any) -> float:
        tid = running_trial().tid  # type: ignore[union-attr]
        assert tid in log._named
        assert tid > 0 or free.wait(60)
        return sample_objective(point)

    def record(doc: Any, *args: Any, **options: Any) -> None:
        appended.append(doc["tid"])
        end(doc, *args, **options)
        if len(appended) == 5:
            free.set()

    free = threading.Event()
    trials = DriveTrials("search", store=tmp_path)
    log, end = trials.log, trials.log.end
    trials.log.end = record  # type: ignore[method-assign]
    trials.fmin(objective, SPACE, max_evals=6, show_progressbar=False, executor=threads, width=3)
    assert sorted(appended) == list(range(6))
    assert appended[-1] == 0


def test_hundreds_of_workers_stay_below_drives_quota(drive_emulator: DriveEmulator) -> None:
    """Trials that start and end together share a request, so that Drive refuses none."""
    drive_emulator.faults.add("rate_limit", per_second=325_000 / 50 / 60)  # Drive's quota of edits
    with ThreadPoolExecutor(300) as pool:
        result = resume_search(
            lambda point: (time.sleep(0.2), sample_objective(point))[1],
            space=SPACE,
            algo=ALGORITHMS["rand"],
            name="hundreds",
            max_evals=900,
            executor=pool,
            progress=False,
        )
    assert len(result.trials) == 900
    assert not [one for one in drive_emulator.log if one["status"] in (403, 429)]
    assert len(drive_emulator.log) < 900 / 5


def test_what_an_objective_raises_is_recorded_and_raised(tmp_path: Path, threads: Executor) -> None:
    """The trial that raised runs again next time, and the results of the others are not lost."""

    @functools.wraps(sample_objective)  # so that it counts as the same objective
    def failing(point: Any) -> float:
        if running_trial().tid == 2:  # type: ignore[union-attr]
            raise ValueError("out of tune")
        return sample_objective(point)

    with pytest.raises(ValueError, match="out of tune"):
        run_in_store(tmp_path, "rand", 8, failing, executor=threads)
    (error,) = [doc for doc in open_read_only(tmp_path)._dynamic_trials if doc["state"] == 3]
    assert "in failing" in error["misc"]["traceback"]
    assert trial_values(
        run_in_store(tmp_path, "rand", 8, sample_objective, executor=threads)
    ) == trial_values(run_hyperopt("rand", 8))


def test_full_garbage_collections_are_rare_during_a_parallel_run(
    tmp_path: Path, threads: Executor
) -> None:
    """Full collections, which stop all threads, are delayed during a run and usual after it."""
    before, during = gc.get_threshold(), []

    def objective(point: Any) -> float:
        gc.collect()
        during.append(gc.get_threshold())
        return sample_objective(point)

    run_in_store(tmp_path, "rand", 1, objective, executor=threads)
    assert during[0][:2] == before[:2]
    assert during[0][2] > 1_000_000
    assert gc.get_threshold() == before


def test_caught_errors_count(tmp_path: Path, threads: Executor) -> None:
    """With `catch_eval_exceptions`, errors and results that are not plain data count as trials."""

    def failing(point: Any) -> Any:
        if point["q"] > 6:
            raise ValueError("out of tune")
        return (
            {"status": "ok", "loss": 1.0, "odd": object()}
            if point["q"] < 3
            else sample_objective(point)
        )

    expected = run_hyperopt("rand", 12, sample_objective)
    trials = run_in_store(
        tmp_path, "rand", 12, failing, executor=threads, catch_eval_exceptions=True
    )
    ok = [doc["tid"] for doc in expected.trials if 3 <= doc["misc"]["vals"]["q"][0] <= 6]
    assert [doc["tid"] for doc in trials.trials] == ok
    assert len(trials._dynamic_trials) == 12


def test_attachments_come_back(tmp_path: Path, threads: Executor) -> None:
    """Attachments of a result and of `Ctrl` are recorded under the trial that they belong to."""

    @hyperopt.fmin_pass_expr_memo_ctrl
    def objective(expr: Any, memo: Any, ctrl: Any) -> Any:
        x = rec_eval(expr, memo=memo)["x"]
        ctrl.attachments["tid"] = ctrl.current_trial["tid"]
        return {"status": "ok", "loss": x, "attachments": {"x": str(x)}}

    trials = run_in_store(tmp_path, "rand", 6, objective, executor=threads)
    again = open_read_only(tmp_path)
    for doc in again.trials:
        attached = again.trial_attachments(doc)
        assert (attached["x"], attached["tid"]) == (str(doc["misc"]["vals"]["x"][0]), doc["tid"])
    assert len(trials.attachments) == 12


class UnshowableError(Exception):
    """An error without a text."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize("where", ["here", "threads", "threads with a timeout"])
def test_an_error_whose_text_fails_is_the_trials_error(
    where: str, tmp_path: Path, threads: Executor
) -> None:
    """An exception whose `__str__` raises is recorded with a placeholder and re-raised."""

    @functools.wraps(sample_objective)
    def failing(point: Any) -> float:
        if running_trial().tid == 2:  # type: ignore[union-attr]
            raise UnshowableError
        return sample_objective(point)

    options: dict[str, Any] = {} if where == "here" else {"executor": threads}
    if where == "threads with a timeout":
        options["trial_timeout"] = 60.0
    with pytest.raises(UnshowableError):
        run_in_store(tmp_path, "rand", 3, failing, **options)
    trials = run_in_store(tmp_path, "rand", 4, failing, catch_eval_exceptions=True, **options)
    errors = [doc["misc"]["error"][1] for doc in trials._dynamic_trials if doc["state"] == 3]
    assert errors == ["<UnshowableError that cannot be shown>"]
    assert len(trials.trials) == 3


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failing_early_stop_function_loses_no_result_that_has_arrived(
    error: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Results that arrived together are all recorded, although `early_stop_fn` raises at one."""
    wait = dispatcher.Dispatcher.wait

    def wait_for_three(self: Any, timeout: float) -> list[Any]:
        completions = wait(self, timeout)
        while len(completions) < 3 and self.in_flight:
            completions += wait(self, timeout)
        return completions

    monkeypatch.setattr(dispatcher.Dispatcher, "wait", wait_for_three)

    calls: list[int] = []

    def stop(trials: Any, *_: Any) -> Any:
        calls.append(len(trials.trials))
        if error is ValueError or len(calls) == 1:  # a second interrupt ends the wait
            raise error("broken")
        return False, ()

    with ThreadPoolExecutor(3) as pool, pytest.raises(error):
        run_in_store(tmp_path, "rand", 3, sample_objective, executor=pool, early_stop_fn=stop)
    assert open_read_only(tmp_path).log.history.done == 3


def test_an_early_stop_function_sees_ended_trials_only(tmp_path: Path, threads: Executor) -> None:
    """An `early_stop_fn` that reads the newest loss works, and ends the search for good."""
    stop = no_progress_loss(5)
    trials = run_in_store(tmp_path, "rand", 200, uneven, executor=threads, early_stop_fn=stop)
    assert 5 < len(trials) < 200
    assert all("loss" in doc["result"] for doc in trials.trials)
    again = run_in_store(tmp_path, "rand", 200, uneven, executor=threads, early_stop_fn=stop)
    assert len(again) == len(trials), "the search has ended"


def test_a_loss_threshold_ends_a_parallel_search(tmp_path: Path, threads: Executor) -> None:
    """Once the threshold is reached, nothing more is suggested and running trials are awaited."""
    trials = run_in_store(tmp_path, "rand", 500, uneven, executor=threads, loss_threshold=1.0)
    assert len(trials) < 500
    assert min(trials.losses()) < 1.0
    assert {doc["state"] for doc in trials._dynamic_trials} == {2}


def test_no_trial_is_started_that_would_end_too_late(
    tmp_path: Path, threads: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trial that would end after `max_time` is not started."""
    hours = list[int]()  # one entry for each trial
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + 3600 * sum(hours), time=time.time)
    monkeypatch.setattr(stopping_rules, "time", clock)
    monkeypatch.setattr(worker, "time", clock)

    def objective(point: Any) -> float:
        hours.append(1)
        return sample_objective(point)

    options: dict[str, Any] = {"max_evals": 100, "executor": threads, "width": 1}
    result = resume_sample_search(tmp_path, objective, max_time=10.5 * 3600, **options)
    assert [doc["state"] for doc in result.trials._dynamic_trials] == [2] * 10


def test_a_trial_that_takes_too_long_ends_as_failed(tmp_path: Path, threads: Executor) -> None:
    """`trial_timeout` ends a trial as failed with the reason, and the search continues."""

    def objective(point: Any) -> float:
        if running_trial().tid == 1:  # type: ignore[union-attr]
            while True:
                time.sleep(0.01)
        return sample_objective(point)

    trials = run_in_store(tmp_path, "rand", 8, objective, executor=threads, trial_timeout=6.0)
    (failed,) = [doc for doc in trials.trials if doc["result"]["status"] == "fail"]
    assert failed["tid"] == 1
    assert "trial_timeout=6 " in failed["result"]["reason"]
    assert len(trials) == 8


@pytest.mark.parametrize("trial_timeout", [None, 60.0])
def test_a_search_in_a_trial_may_not_wait_for_its_own_worker(
    trial_timeout: float | None, tmp_path: Path, threads: Executor
) -> None:
    """A search in a trial is refused the threads that run the trial; it runs without them."""
    errors: list[str] = []

    def objective(point: dict[str, Any]) -> float:
        inner = tmp_path / str(running_trial().tid)  # type: ignore[union-attr]
        with pytest.raises(UsageError, match="runs the trial that makes this call") as refused:
            resume_sample_search(inner, executor=threads)
        errors.append(str(refused.value))
        return float(resume_sample_search(inner, max_evals=2).best_loss)

    result = resume_sample_search(
        tmp_path, objective, max_evals=3, executor=threads, trial_timeout=trial_timeout
    )
    assert len(errors) == result.done == 3


def test_an_interrupt_reports_what_happens_to_running_trials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After Ctrl-C, trials that end in time are recorded; the others run again, not as retries."""
    monkeypatch.setattr(parallel, "LEAVE_SECONDS", 0.5)
    messages: list[str] = []
    attempts: list[int] = []
    hold, stopping = threading.Event(), threading.Event()
    all_run = threading.Barrier(3)

    def leaving(self: Any, patience: Any) -> None:
        stopping.set()
        wait_until(lambda: self._dispatcher._done)  # trial 1
        leave(self, patience)

    leave = parallel.ParallelLoop._stop_trials
    monkeypatch.setattr(parallel.ParallelLoop, "_stop_trials", leaving)

    def objective(point: Any) -> float:
        trial = running_trial()
        assert trial is not None
        if not stopping.is_set():
            all_run.wait(60)
            if trial.tid == 0:
                raise KeyboardInterrupt
            (stopping if trial.tid == 1 else hold).wait(60)
        attempts.append(trial.attempt)
        return sample_objective(point)

    def session(pool: Executor) -> DriveTrials:
        trials = DriveTrials("search", store=tmp_path, notify=messages.append, seed=3)
        return run_fmin(trials, "rand", 5, objective, executor=pool, width=3)

    with ThreadPoolExecutor(3) as pool:
        with pytest.raises(KeyboardInterrupt, match=r"stopped after \d of 5 trials"):
            session(pool)
        hold.set()
    (line,) = messages
    assert "trial 1 ended and recorded" in line
    assert "trial 2 stopped: run again" in line
    assert open_read_only(tmp_path).log.history.done == 1
    with ThreadPoolExecutor(3) as pool:
        assert trial_values(session(pool)) == trial_values(run_hyperopt("rand", 5))
    assert set(attempts) == {1}
