"""Workers that die, hang or disappear: which trials are to blame, and how the run ends."""

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import hyperopt
import pytest

from colab_drive_tuner.errors import ExecutorError
from colab_drive_tuner.search.drive_trials import DriveTrials
from colab_drive_tuner.search.executors import dispatcher, worker
from colab_drive_tuner.search.loop import parallel
from colab_drive_tuner.training.trial import running_trial
from tests.search.fake_executors import (
    Breaking,
    BreaksBetweenTrials,
    FirstDies,
    Mute,
    OfMPI,
    OwnBreaking,
    Restartable,
    Shared,
)
from tests.search.sample_searches import (
    SPACE,
    open_read_only,
    resume_sample_search,
    run_in_fork,
    run_in_store,
    sample_objective,
    uneven,
)


@pytest.fixture
def ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `Restartable` count as one of this package's executors."""
    monkeypatch.setattr("colab_drive_tuner.search.executors.adapters.RayExecutor", Restartable)


@pytest.mark.usefixtures("ours")
def test_a_frozen_worker_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that does not report its timeout is given up; it is killed at the end of the run."""
    monkeypatch.setattr(dispatcher, "WORKER_START_SECONDS", 0.1)
    monkeypatch.setattr(parallel, "TICK_SECONDS", 0.05)
    pool = Mute()
    trials = run_in_store(tmp_path, "rand", 6, uneven, executor=pool, width=2, trial_timeout=6.0)
    assert [doc["result"]["status"] for doc in trials.trials] == ["fail", *["ok"] * 5]
    assert pool.restarts == 1


@pytest.mark.usefixtures("ours")
def test_only_a_trial_that_dies_alone_is_given_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """After a pool breaks, suspects run one at a time; only the poison trial's attempts count."""
    pool = OwnBreaking(4)
    result = resume_sample_search(
        tmp_path, sample_objective, max_evals=9, executor=pool, max_attempts=2
    )
    assert [doc["tid"] for doc in result.trials.trials if doc["result"]["status"] == "fail"] == [4]
    assert pool.ran[:2] == [[0, 1, 2], [3, 4, 5]]
    assert sorted(pool.ran[2:6]) == [[3], [4], [4], [5]]
    assert "given up: 2 workers" in result.trials.trials[4]["result"]["reason"]
    message = "Trial 4 of search 's' is given up: 2 workers or runtimes died while this trial"
    assert capsys.readouterr().out.count(message) == 1
    assert result.trials.log.settings["suspects"] == []
    assert result.done == 9


@pytest.mark.usefixtures("ours")
def test_a_death_is_not_charged_to_the_trials_of_another_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two searches on one executor, a suspect of one runs without trials of the other."""
    monkeypatch.setattr(parallel, "TICK_SECONDS", 0.05)
    pool = Shared(("deadly", 1))

    def search(name: str) -> list[str]:
        result = resume_sample_search(tmp_path, name=name, executor=pool, max_attempts=2)
        return [doc["result"]["status"] for doc in result.trials.trials]

    with ThreadPoolExecutor(2) as searches:
        innocent, deadly = searches.map(search, ["innocent", "deadly"])
    assert innocent == ["ok"] * 6
    assert deadly == ["ok", "fail", *["ok"] * 4]
    assert pool.deaths <= 3


def test_a_broken_pool_of_the_user_ends_the_run(tmp_path: Path) -> None:
    """An error names the suspects; later runs find the poison trial and count its deaths."""
    with pytest.raises(ExecutorError, match=r"died while trials 3, 4, 5 .* call again"):
        resume_sample_search(
            tmp_path, sample_objective, max_evals=9, executor=Breaking(4), width=3, max_attempts=2
        )
    assert len(DriveTrials("s", store=tmp_path).trials) == 6
    assert DriveTrials("s", store=tmp_path).log.settings["suspects"] == [3, 4, 5]
    options: dict[str, Any] = {"max_evals": 9, "width": 3, "max_attempts": 2}
    for _ in range(2):
        with pytest.raises(ExecutorError, match=r"while trial 4 of .* call again"):
            resume_sample_search(
                tmp_path, sample_objective, executor=Breaking(4, suspects=(3, 4, 5)), **options
            )
    result = resume_sample_search(
        tmp_path, sample_objective, executor=Breaking(4, suspects=(3, 4, 5)), **options
    )
    assert [doc["tid"] for doc in result.trials.trials if doc["result"]["status"] == "fail"] == [4]
    assert result.done == 9


def test_an_interrupt_after_a_death_loses_no_result_that_has_arrived(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Results that arrive together after a pool broke are recorded, although Ctrl-C comes."""
    wait = dispatcher.Dispatcher.wait

    def wait_for_one_or_two(self: Any, timeout: float) -> list[Any]:
        completions = wait(self, timeout)
        while len(completions) == len(self.in_flight) == 1:
            completions += wait(self, timeout)
        return completions

    monkeypatch.setattr(dispatcher.Dispatcher, "wait", wait_for_one_or_two)
    calls: list[int] = []

    def stop(*_: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return False, ()

    pool = FirstDies()
    with pytest.raises(KeyboardInterrupt):
        run_in_store(
            tmp_path, "rand", 3, sample_objective, executor=pool, width=3, early_stop_fn=stop
        )
    assert len(calls) == 2
    assert open_read_only(tmp_path).log.history.done == 2


def test_a_pool_that_is_found_broken_ends_the_run(tmp_path: Path) -> None:
    """If `submit` finds the pool broken, only the trials that run at that time are suspects."""
    with pytest.raises(ExecutorError, match=r"takes no more trials \(BrokenProcessPool: gone"):
        resume_sample_search(
            tmp_path, sample_objective, executor=BreaksBetweenTrials(2, late=False), width=1
        )
    assert "suspects" not in DriveTrials("s", store=tmp_path).log.settings
    pool, other = BreaksBetweenTrials(2, late=True), tmp_path / "other"
    with pytest.raises(ExecutorError, match=r"a worker died while trials (0, 1|1, 0) of"):
        resume_sample_search(other, sample_objective, executor=pool, width=3)
    assert sorted(DriveTrials("s", store=other).log.settings["suspects"]) == [0, 1]


def test_a_poison_trial_that_takes_the_driver_with_it_is_given_up_alone(tmp_path: Path) -> None:
    """If each death also kills the driver, as under mpiexec, only the poison trial is given up."""
    marks = tmp_path / "marks"
    marks.mkdir()

    def objective(point: Any) -> float:
        tid, pid = running_trial().tid, os.getpid()  # type: ignore[union-attr]
        (marks / f"{tid}-{pid}").touch()
        if tid == 1:
            deadline = time.monotonic() + 0.5
            while len(list(marks.glob(f"?-{pid}"))) < 3 and time.monotonic() < deadline:
                time.sleep(0.01)
            os.kill(pid, signal.SIGKILL)
        time.sleep(1.0 * (tid < 3))  # these trials must be in flight at each death
        return sample_objective(point)

    deaths = 0

    def run() -> None:
        resume_sample_search(tmp_path, objective, name="search", max_evals=5, executor=OfMPI())

    while run_in_fork(run) == -signal.SIGKILL:
        deaths += 1
        assert deaths <= 4, "the poison trial is never given up"
    results = [doc["result"] for doc in open_read_only(tmp_path).trials]
    assert [one["status"] for one in results] == ["ok", "fail", "ok", "ok", "ok"]


def test_processes_that_the_driver_started_exit_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a worker process, each task calls `exit_with` with the id of the driver's process."""
    drivers: list[int] = []
    monkeypatch.setattr(worker, "exit_with", drivers.append)
    resume_sample_search(tmp_path, sample_objective, executor=OfMPI())
    assert drivers == [os.getpid()] * 6


@pytest.mark.usefixtures("ours")
def test_a_cluster_without_workers_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message reports the missing workers first; then an error ends the run."""

    class Deserted(OwnBreaking):
        def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
            return Future()

        def workers(self) -> int:
            return 0

    monkeypatch.setattr(parallel, "TICK_SECONDS", 0.02)
    monkeypatch.setattr(parallel, "ABSENT_SECONDS", 0.05)
    monkeypatch.setattr(dispatcher, "WORKER_CHECK_SECONDS", 0.01)
    messages: list[str] = []

    def notify(text: str) -> None:
        messages.append(text)
        monkeypatch.setattr(parallel, "GONE_SECONDS", 0.2)

    trials = DriveTrials("s", store=tmp_path, notify=notify)
    with pytest.raises(ExecutorError, match="no workers for"):
        trials.fmin(
            sample_objective, SPACE, max_evals=4, show_progressbar=False, executor=Deserted()
        )
    assert "has no workers: 3 trials of search 's' wait" in messages[0]


def test_a_search_whose_workers_all_hang_ends_with_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If trials that hang occupy all workers, the run ends with an error unless it is complete."""
    monkeypatch.setattr(dispatcher, "WORKER_START_SECONDS", 0.1)
    monkeypatch.setattr(dispatcher, "TIMEOUT_GRACE_SECONDS", 0.1)
    monkeypatch.setattr(parallel, "TICK_SECONDS", 0.05)
    with pytest.raises(ExecutorError, match="occupied by trials that hang"):
        run_in_store(tmp_path, "rand", 3, uneven, executor=Mute(), width=1, trial_timeout=0.1)
    with pytest.raises(hyperopt.exceptions.AllTrialsFailed):
        run_in_store(tmp_path, "rand", 2, uneven, executor=Mute(), width=1, trial_timeout=0.1)
    assert open_read_only(tmp_path).log.history.done == 2
