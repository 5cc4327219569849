"""Trials whose session died, raised, was stopped or lost its search."""

import functools
import os
import signal
from pathlib import Path
from typing import Any

import hyperopt
import pytest

from colab_drive_tuner.errors import SearchError
from colab_drive_tuner.search.drive_trials import DriveTrials
from colab_drive_tuner.search.results.read_search import read_search, read_status
from colab_drive_tuner.search.results.svg_charts.timeline import runtime_lanes, timeline
from colab_drive_tuner.store import open_store
from colab_drive_tuner.training.trial import running_trial
from tests.processes import run_python, running_python
from tests.search.sample_searches import (
    SPACE,
    open_read_only,
    run_fmin,
    run_hyperopt,
    run_in_fork,
    sample_objective,
    trial_values,
)


def search(store: Path, objective: Any, max_evals: int = 8, **options: Any) -> DriveTrials:
    """Run a session that gives a trial up after two deaths."""
    trials = DriveTrials("search", store=store, max_attempts=2, notify=lambda _: None)
    return run_fmin(trials, "rand", max_evals, objective, **options)


def deadly(*poisoned: int) -> Any:
    """Return an objective that kills its process at once in the trials `poisoned`."""

    def objective(point: Any) -> float:
        trial = running_trial()
        assert trial is not None
        if trial.tid in poisoned:
            os.kill(os.getpid(), signal.SIGKILL)
        return sample_objective(point)

    return objective


def test_a_poison_trial_is_given_up_and_the_search_goes_on(tmp_path: Path) -> None:
    """Two poison trials kill two or three runtimes each; no other trial is given up.

    The timeline marks each in the lane of the runtime that gave it up.
    """
    deaths = 0
    while run_in_fork(lambda: search(tmp_path, deadly(2, 5))) == -signal.SIGKILL:
        deaths += 1
        assert deaths <= 6
    assert deaths >= 4
    trials = open_read_only(tmp_path)
    failed = [doc for doc in trials.trials if doc["result"]["status"] == "fail"]
    assert [doc["tid"] for doc in failed] == [2, 5]
    assert "given up: 2 runtimes died" in failed[0]["result"]["reason"]
    data = read_search(open_store(tmp_path), "search").data
    lanes = runtime_lanes(data)
    marked = {t.tid: index for index, lane in enumerate(lanes) for t in lane.trials if t.given_up}
    assert (list(marked), len(lanes)) == ([2, 5], len(data.sessions))
    gave_up = [lanes[index] for index in marked.values()]
    assert all(lane.trials[0].began == pytest.approx(lane.began, abs=1e-3) for lane in gave_up)
    assert all(lanes[index - 1].end == "dead" for index in marked.values())
    assert timeline(data).count(">given up<") == 1
    assert [doc["misc"]["vals"] for doc in trials.trials] == [
        doc["misc"]["vals"] for doc in run_hyperopt("rand", 8).trials
    ]
    status = read_status(open_store(tmp_path), "search")
    assert (status.done, status.finished, status.failed) == (8, True, 2)


def test_an_error_that_ended_the_run_is_tried_again(tmp_path: Path) -> None:
    """The failed trial runs again with its parameters; until then its traceback is recorded."""

    @functools.wraps(sample_objective)  # the wrapper must count as the same objective
    def failing(point: Any) -> float:
        if running_trial().tid == 3:  # type: ignore[union-attr]
            raise ValueError("out of tune")
        return sample_objective(point)

    for _ in range(2):
        with pytest.raises(ValueError, match="out of tune"):
            search(tmp_path, failing)
        (error,) = [doc for doc in open_read_only(tmp_path)._dynamic_trials if doc["state"] == 3]
        assert error["tid"] == 3
        assert 'raise ValueError("out of tune")' in error["misc"]["traceback"]
        assert read_status(open_store(tmp_path), "search").done == 3
    assert trial_values(search(tmp_path, sample_objective)) == trial_values(run_hyperopt("rand", 8))


def test_an_error_in_the_last_trial_is_tried_again(tmp_path: Path) -> None:
    """The failed trial runs again even if no other trial is left."""

    @functools.wraps(sample_objective)
    def failing(_point: Any) -> float:
        raise ValueError("out of tune")

    search(tmp_path, sample_objective, 7)
    with pytest.raises(ValueError, match="out of tune"):
        search(tmp_path, failing)
    assert trial_values(search(tmp_path, sample_objective)) == trial_values(run_hyperopt("rand", 8))


@pytest.mark.parametrize("cut", [2, 3, 4, 6])
def test_a_caught_error_counts_in_every_session(cut: int, tmp_path: Path) -> None:
    """With `catch_eval_exceptions`, a resumed search equals the uninterrupted one."""

    def failing(point: Any) -> float:
        if point["q"] > 6:
            raise ValueError("out of tune")
        return sample_objective(point)

    expected = run_hyperopt("rand", 8, failing, catch_eval_exceptions=True)
    assert any(doc["state"] == 3 for doc in expected._dynamic_trials)
    search(tmp_path, failing, cut, catch_eval_exceptions=True)
    trials = search(tmp_path, failing, 8, catch_eval_exceptions=True)
    assert trial_values(trials) == trial_values(expected)
    assert len(trials._dynamic_trials) == 8


def test_a_result_that_is_not_plain_data_is_an_error(tmp_path: Path) -> None:
    """The error names the key of the value, and the trial is recorded as an error."""

    def objective(point: Any) -> dict[str, Any]:
        return {"status": "ok", "loss": sample_objective(point), "history": {"why": object()}}

    with pytest.raises(TypeError, match="why"):
        search(tmp_path, objective)
    assert open_read_only(tmp_path)._dynamic_trials[0]["state"] == 3


def test_sigterm_flushes_and_releases(tmp_path: Path) -> None:
    """SIGTERM leaves a released search with every ended trial recorded."""
    script = f"""
import time
from tests.search.test_worker_deaths import search
def slow(point):
    print("running", len(calls), flush=True)
    time.sleep(0.02 if len(calls) < 3 else 600)
    calls.append(1)
    return 1.0
calls = []
search({str(tmp_path)!r}, slow)
"""
    with running_python("-c", script, ready="running 3") as (process, _):
        process.terminate()
        assert process.wait(timeout=400) == 143
    status = read_status(open_store(tmp_path), "search")
    assert (status.done, status.holder) == (3, None)


def test_a_sigterm_that_python_drops_comes_again(tmp_path: Path) -> None:
    """A finalizer swallows the exception of SIGTERM, but the process still ends."""
    script = f"""
import os, signal, time
from tests.search.test_worker_deaths import search
class Last:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0)
def slow(point):
    if len(calls) == 3:
        Last()
        time.sleep(600)
    calls.append(1)
    return 1.0
calls = []
search({str(tmp_path)!r}, slow)
"""
    assert "Exception ignored" in run_python("-c", script, status=143).stderr
    status = read_status(open_store(tmp_path), "search")
    assert (status.done, status.holder) == (3, None)


def test_a_fork_may_not_write(tmp_path: Path) -> None:
    """A forked child of the owner gets an error, and the search stays intact."""

    def objective(point: Any) -> float:
        if len(trials._dynamic_trials) == 2:
            assert run_in_fork(insert_there) == 0
        return sample_objective(point)

    def insert_there() -> None:
        with pytest.raises(SearchError, match="fork"):
            trials.insert_trial_docs([dict(trials._dynamic_trials[0])])

    trials = DriveTrials("search", store=tmp_path)
    trials.fmin(objective, SPACE, algo=hyperopt.rand.suggest, max_evals=4)
    assert len(open_read_only(tmp_path)) == 4
