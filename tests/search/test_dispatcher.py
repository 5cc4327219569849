"""Dispatch of trials to an executor that is shared, slow, broken or wider than its workers."""

import os
import pickle
import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from threading import Event, Thread, main_thread
from types import SimpleNamespace
from typing import Any

import pytest
from hyperopt.base import Domain

from colab_drive_tuner.search.evaluate import Attempt, TrainingSettings
from colab_drive_tuner.search.executors import dispatcher
from colab_drive_tuner.search.executors.adapters import check_workers
from colab_drive_tuner.search.executors.dispatcher import Dispatcher, Submission
from colab_drive_tuner.search.executors.loky import loky_executor
from colab_drive_tuner.search.executors.payload import Payload
from colab_drive_tuner.search.executors.trial_locations import Location
from colab_drive_tuner.search.executors.worker import Outcome, Task, TaskStatus
from colab_drive_tuner.search.executors.worker_deaths import Death
from tests.processes import wait_until
from tests.search.sample_searches import SPACE, sample_objective

POINT = {"x": 1.0, "kind": 0, "q": 2.0}


def main_thread_waits() -> bool:
    """Return whether the main thread is in `Event.wait`, called by the dispatcher."""
    frame = sys._current_frames()[main_thread().ident]  # type: ignore[index]
    callers = []
    while frame:
        callers.append(frame.f_code)
        frame = frame.f_back  # type: ignore[assignment]
    return Event.wait.__code__ in callers and Dispatcher.wait.__code__ in callers


class Silent(Executor):
    """An executor whose futures never say that they run, as those of a cluster."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Return a future that never ends."""
        return Future()


@pytest.fixture
def hours(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Hours by which the dispatcher's clock is ahead."""
    ahead: list[int] = []
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + 3600 * sum(ahead))
    monkeypatch.setattr(dispatcher, "time", clock)
    return ahead


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """One thread."""
    with ThreadPoolExecutor(1) as made:
        yield made


def dispatch(executor: Executor, *, width: int = 1, payload: Payload | None = None) -> Dispatcher:
    """A dispatcher whose trials time out after a minute."""
    workers = check_workers(executor, width, 60.0)
    assert workers is not None
    return Dispatcher(workers, payload, Domain(sample_objective, SPACE))


def submission(tid: int = 0) -> Submission:
    """A trial to submit."""
    return Submission(Task(Attempt("s", tid, 1, POINT, TrainingSettings(seed=1))))


def test_a_trial_does_not_time_out_while_it_waits_for_a_thread(
    pool: ThreadPoolExecutor, hours: list[int]
) -> None:
    """`trial_timeout` counts from when a trial runs, not while the pool has other work."""
    free, dispatched = Event(), dispatch(pool)
    pool.submit(free.wait, 60)
    try:
        dispatched.submit(submission())
        for _ in range(3):
            hours.append(1)
            assert dispatched.wait(0.01) == []
    finally:
        free.set()
    (done,) = dispatched.wait(60)
    assert done.outcome is not None
    assert done.outcome.status == TaskStatus.DONE


def test_a_completion_that_arrives_with_an_interrupt_is_not_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The interrupted wait leaves it to the next one, as at a Ctrl-C that also ends trials."""
    future: Future[Any] = Future()
    monkeypatch.setattr(Silent, "submit", lambda *_: future)
    dispatched = dispatch(Silent())
    dispatched.submit(submission())
    switch_interval = sys.getswitchinterval()

    def end_and_interrupt() -> None:
        wait_until(main_thread_waits)
        sys.setswitchinterval(60)  # it sees both at once
        future.set_result(pickle.dumps(Outcome(TaskStatus.DONE, "node:1")))
        os.kill(os.getpid(), signal.SIGINT)
        sys.setswitchinterval(switch_interval)

    thread = Thread(target=end_and_interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        dispatched.wait(60)
    thread.join()
    (done,) = dispatched.wait(60)
    assert done.outcome is not None
    assert done.outcome.status == TaskStatus.DONE


def test_a_trial_does_not_time_out_while_others_start_and_end(hours: list[int]) -> None:
    """Where futures do not show what runs, a queued trial times out only if no other one moves."""
    dispatched = dispatch(Silent(), width=2)
    first, second = submission(0), submission(1)
    dispatched._locations = SimpleNamespace(  # type: ignore[assignment]
        sender=None, read=lambda: [Location(first.task.number, "node:1")]
    )
    for one in (first, second):
        dispatched.submit(one)
    hours.append(1)
    assert dispatched.newly_located() == [(first, "node:1")]
    assert dispatched.wait(0) == []
    hours.append(1)
    late = dispatched.wait(0)
    assert [one.submission for one in late] == [first, second]
    assert {one.outcome.status for one in late if one.outcome} == {TaskStatus.TIMED_OUT}


@pytest.mark.parametrize("make", [ThreadPoolExecutor, loky_executor])
def test_a_pool_runs_no_more_trials_than_it_has_workers(make: Callable[[int], Executor]) -> None:
    """A `width` above the number of a pool's workers is reduced to it."""
    with make(2) as executor:
        widths = [check_workers(executor, width, None).width for width in (None, 1, 8)]  # type: ignore[union-attr]
    assert widths == [2, 1, 2]
    assert check_workers(Silent(), 8, None).width == 8  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("error", "death"),
    [
        (RuntimeError("cannot schedule new futures after shutdown"), None),
        (BrokenProcessPool("gone"), Death.CANCELLED),
    ],
)
def test_an_executor_that_takes_no_objective_any_more_loses_no_other_completion(
    error: Exception, death: Death | None
) -> None:
    """If the objective cannot be sent again, the trials that have ended are still handed out."""
    outcomes = [Outcome(TaskStatus.NEEDS_OBJECTIVE, "node:1"), Outcome(TaskStatus.DONE, "node:1")]

    class Once(Executor):
        def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
            if not outcomes:
                raise error
            future: Future[Any] = Future()
            future.set_result(pickle.dumps(outcomes.pop(0)))
            return future

    dispatched = dispatch(Once(), width=2, payload=Payload("sha", b""))
    dispatched._send(submission(0), with_objective=False)
    dispatched._send(submission(1), with_objective=False)
    lost, done = dispatched.wait(0)
    assert (lost.death, lost.error) == (death, error)
    assert done.outcome is not None
    assert done.outcome.status == TaskStatus.DONE
