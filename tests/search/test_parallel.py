"""Parallel trials on threads: reproducible points, pending trials in the record, stops."""

import functools
import gc
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import (
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import hyperopt
import pytest
from hyperopt.base import Domain
from hyperopt.early_stop import no_progress_loss
from hyperopt.pyll import rec_eval

from colab_drive_tuner.checkpoint.history import History
from colab_drive_tuner.emulator import DriveEmulator
from colab_drive_tuner.errors import ExecutorError, UsageError
from colab_drive_tuner.search.drive_trials import DriveTrials
from colab_drive_tuner.search.executors import dispatcher, worker
from colab_drive_tuner.search.executors.loky import loky_executor
from colab_drive_tuner.search.executors.worker import Task
from colab_drive_tuner.search.loop import parallel, run_request
from colab_drive_tuner.search.resume import resume_search
from colab_drive_tuner.search.spec.suggestion_seeds import SeedStream, decode_generator
from colab_drive_tuner.search.trial_documents import as_new
from colab_drive_tuner.training.trial import running_trial
from tests.search.sample_searches import (
    ALGORITHMS,
    SPACE,
    open_read_only,
    resume_sample_search,
    run_fmin,
    run_hyperopt,
    run_in_fork,
    run_in_store,
    sample_objective,
    trial_values,
)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    """A pool of four threads."""
    with ThreadPoolExecutor(4) as pool:
        yield pool


def uneven(point: dict[str, Any]) -> float:
    """Return the loss of `sample_objective`, more slowly for some points."""
    time.sleep(0.002 + 0.01 * (point["x"] > 0.5))
    return sample_objective(point)


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


def replayed(history: History, algo: str) -> dict[Any, Any]:
    """Return the points that the algorithm suggests from what it had seen by the record."""
    domain = Domain(sample_objective, SPACE)
    documents = {tid: entry.decoded() for tid, entry in history.trials.items()}
    found = {}
    for tid, entry in history.trials.items():
        seen = hyperopt.Trials()
        for other in range(tid):
            doc = documents[other]
            seen._dynamic_trials.append(as_new(doc) if other in entry.pending else doc)
        seen.refresh()
        assert entry.k is not None
        _, seed = SeedStream(decode_generator(history.settings["rstate"]), entry.k).draw()
        (document,) = ALGORITHMS[algo]([tid], domain, seen, seed)
        found[tid] = document["misc"]["vals"]
    return found


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
    monkeypatch.setattr(run_request, "time", clock)
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

    trials = run_in_store(tmp_path, "rand", 8, objective, executor=threads, trial_timeout=3.0)
    (failed,) = [doc for doc in trials.trials if doc["result"]["status"] == "fail"]
    assert failed["tid"] == 1
    assert "trial_timeout=3 " in failed["result"]["reason"]
    assert len(trials) == 8


class Restartable(Executor):
    """An executor that can replace its workers, and does not know how many are alive."""

    restarts = 0

    def restart(self, *, only_broken: bool = False) -> None:
        """Count the calls: the executor stays usable anyway."""
        self.restarts += 1

    def workers(self) -> int | None:
        """Return the number of living workers, if known."""
        return None


@pytest.fixture
def ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `Restartable` count as one of this package's executors."""
    monkeypatch.setattr("colab_drive_tuner.search.executors.adapters.RayExecutor", Restartable)


class Mute(Restartable):
    """An executor whose first worker never answers."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(2)
        self._first = True

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Lose the first call and run the others."""
        if self._first:
            self._first = False
            lost: Future[Any] = Future()
            lost.set_running_or_notify_cancel()
            return lost
        return self._pool.submit(fn, *args, **kwargs)


@pytest.mark.usefixtures("ours")
def test_a_frozen_worker_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that does not report its timeout is given up; it is killed at the end of the run."""
    monkeypatch.setattr(dispatcher, "WORKER_START_SECONDS", 0.1)
    monkeypatch.setattr(parallel, "TICK_SECONDS", 0.05)
    pool = Mute()
    trials = run_in_store(tmp_path, "rand", 6, uneven, executor=pool, width=2, trial_timeout=2.0)
    assert [doc["result"]["status"] for doc in trials.trials] == ["fail", *["ok"] * 5]
    assert pool.restarts == 1


class Breaking(Executor):
    """An executor that fails all tasks of a batch if one of the trials `deadly` is in it.

    A batch runs once it has three tasks, or after a pause. The pause is short if a task ran before
    or is one of the `suspects`, which are submitted alone.
    """

    def __init__(
        self,
        *deadly: int,
        error: type[BaseException] = BrokenProcessPool,
        suspects: Collection[int] = (),
    ) -> None:
        self.ran: list[list[int]] = []
        self._deadly, self._error, self._suspects = deadly, error, suspects
        self._waiting: list[tuple[int, Future[Any], Callable[[], Any]]] = []
        self._lock = threading.Lock()
        self._last = threading.Timer(0, lambda: None)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Collect the call for the next batch."""
        future: Future[Any] = Future()
        tid = next(one.attempt.tid for one in args if isinstance(one, Task))
        with self._lock:
            self._waiting.append((tid, future, lambda: fn(*args, **kwargs)))
            self._last.cancel()
            again = tid in self._suspects or any(tid in tids for tids in self.ran)
            pause = 0.0 if len(self._waiting) == 3 else 0.7 if again else 20.0
            self._last = threading.Timer(pause, self._run)
            self._last.start()
        return future

    def _run(self) -> None:
        with self._lock:
            batch, self._waiting = self._waiting, []
        self.ran.append([tid for tid, _, _ in batch])
        for _, future, work in batch:
            if set(self.ran[-1]) & set(self._deadly):
                future.set_exception(self._error("gone"))
            else:
                future.set_result(work())


class WorkerCrashedError(Exception):
    """Ray's error for the death of the worker of one trial."""

    __module__ = "ray.exceptions"


class OwnBreaking(Breaking, Restartable):
    """A breaking executor of three workers that can restart, as `loky_executor` does."""

    num_workers = 3


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


class Shared(Restartable):
    """Two workers; the death of one breaks the pool, so that everything on it is lost.

    Trials take 0.2 s; `deadly`, a search and a trial, kills its worker after 0.1 s.
    """

    num_workers = 2

    def __init__(self, deadly: tuple[str, int]) -> None:
        self.deaths = 0
        self._deadly, self._running = deadly, set[Future[Any]]()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run the call on a thread."""
        future: Future[Any] = Future()
        self._running.add(future)
        attempt = next(one.attempt for one in args if isinstance(one, Task))
        dies = (attempt.search, attempt.tid) == self._deadly

        def run() -> None:
            if dies:
                self.deaths += 1
                lost, self._running = self._running, set()
                for one in lost:
                    one.set_exception(BrokenProcessPool("gone"))
            elif future in self._running:
                self._running.discard(future)
                future.set_result(fn(*args, **kwargs))

        threading.Timer(0.1 if dies else 0.2, run).start()
        return future


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


def test_a_broken_pool_of_the_user_ends_the_run(tmp_path: Path) -> None:
    """An error names the suspects; later runs find the poison trial and count its deaths."""
    with pytest.raises(ExecutorError, match=r"died while trials 3, 4, 5 .* first with these"):
        resume_sample_search(
            tmp_path, sample_objective, max_evals=9, executor=Breaking(4), width=3, max_attempts=2
        )
    assert len(DriveTrials("s", store=tmp_path).trials) == 6
    assert DriveTrials("s", store=tmp_path).log.settings["suspects"] == [3, 4, 5]
    options: dict[str, Any] = {"max_evals": 9, "width": 3, "max_attempts": 2}
    for then in ("ran. .* first with these", "for the last time: it is given up"):
        with pytest.raises(ExecutorError, match=f"while trial 4 of .* {then}"):
            resume_sample_search(
                tmp_path, sample_objective, executor=Breaking(4, suspects=(3, 4, 5)), **options
            )
    result = resume_sample_search(
        tmp_path, sample_objective, executor=Breaking(4, suspects=(3, 4, 5)), **options
    )
    assert [doc["tid"] for doc in result.trials.trials if doc["result"]["status"] == "fail"] == [4]
    assert result.done == 9


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
    monkeypatch.setattr(parallel, "GONE_SECONDS", 0.2)
    monkeypatch.setattr(dispatcher, "WORKER_CHECK_SECONDS", 0.01)
    messages: list[str] = []
    trials = DriveTrials("s", store=tmp_path, notify=messages.append)
    with pytest.raises(ExecutorError, match="no workers for"):
        trials.fmin(
            sample_objective, SPACE, max_evals=4, show_progressbar=False, executor=Deserted()
        )
    assert "has no workers: 3 trials of search 's' wait" in messages[0]


def test_an_interrupt_reports_what_happens_to_running_trials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After Ctrl-C, trials that end in time are recorded; the others run again, not as retries."""
    monkeypatch.setattr(parallel, "LEAVE_SECONDS", 2.0)
    messages: list[str] = []
    attempts: list[int] = []
    hold, stopping = threading.Event(), threading.Event()
    all_run = threading.Barrier(3)

    def leaving(self: Any, patience: Any) -> None:
        stopping.set()
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


class FullPool(ThreadPoolExecutor):
    """A pool that cannot start threads."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Fail as if the process had reached its limit of threads."""
        raise RuntimeError("can't start new thread")


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


class BreaksBetweenTrials(Executor):
    """A pool that breaks after some trials; with `late`, none of them has ended by then."""

    def __init__(self, runs: int, *, late: bool) -> None:
        self._runs, self._late, self._hanging = runs, late, list[Future[Any]]()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run it at once, or with `late` never."""
        future: Future[Any] = Future()
        if not self._runs:
            for lost in self._hanging:
                threading.Timer(0.05, lost.set_exception, (BrokenProcessPool("gone"),)).start()
            self._hanging = []
            raise BrokenProcessPool("gone")
        self._runs -= 1
        if self._late:
            self._hanging.append(future)
        else:
            future.set_result(fn(*args, **kwargs))
        return future


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


class OfMPI(Executor):
    """Three threads whose class has the module of MPI's executor."""

    num_workers = 3

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(self.num_workers)

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """See `Executor.submit`."""
        return self._pool.submit(fn, *args, **kwargs)


OfMPI.__module__ = "mpi4py.futures.pool"


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


@pytest.mark.parametrize("cause", [CancelledError, WorkerCrashedError])
def test_cancelled_trials_and_crashed_workers_of_a_restart_cost_no_attempt(
    cause: type[BaseException], tmp_path: Path
) -> None:
    """A cluster restart, which cancels trials or kills workers, counts as no trial's death."""

    class Restarting(Breaking):
        def _run(self) -> None:
            super()._run()
            self._deadly = ()

    pool = Restarting(1, error=cause)
    result = resume_sample_search(
        tmp_path, sample_objective, max_evals=6, executor=pool, width=3, max_attempts=1
    )
    assert sorted(tid for tids in pool.ran for tid in tids) == [0, 0, 1, 1, 2, 2, 3, 4, 5]
    assert {doc["result"]["status"] for doc in result.trials.trials} == {"ok"}
