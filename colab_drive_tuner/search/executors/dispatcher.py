"""Dispatch of trials to workers: submission, resubmission, completions, unresponsive workers.

A trial that may kill its worker runs alone, also without trials of other searches of this process
on the same executor: the death of one worker can end everything that runs there.
"""

import itertools
import pickle
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from hyperopt.base import Domain

from colab_drive_tuner.errors import ExecutorError
from colab_drive_tuner.search.executors.adapters import ExecutorAdapter, Workers
from colab_drive_tuner.search.executors.payload import Payload
from colab_drive_tuner.search.executors.trial_locations import LocationReceiver
from colab_drive_tuner.search.executors.worker import (
    Outcome,
    Task,
    TaskStatus,
    failed_outcome,
    run_in_process,
    run_task,
)
from colab_drive_tuner.search.executors.worker_deaths import Death, classify_death
from colab_drive_tuner.text import text_of
from colab_drive_tuner.training.trial_backup_files import TrialBackupFiles

INLINE_BYTES = 64 * 1024
"""Objectives up to this size are sent with each task, which is faster than a worker asking."""
WORKER_START_SECONDS = 120.0
"""Time for a worker to start, import Keras and load the data, on top of `trial_timeout`."""
TIMEOUT_GRACE_SECONDS = 10.0
"""Time for a worker to report that its trial timed out, on top of `trial_timeout`."""
WORKER_CHECK_SECONDS = 5.0
"""Interval between checks whether the executor has workers."""

_lock = threading.Lock()
_users: dict[int, list["Dispatcher"]] = {}
"""The dispatchers of running searches, by the id of their executor."""


@dataclass(eq=False)
class Submission:
    """One attempt of a trial, submitted to the executor."""

    task: Task
    artifacts: TrialBackupFiles | None = None
    waits_since: float = 0.0
    """`time.monotonic()` when it was submitted, or was last seen in the executor's own queue."""
    located_at: float | None = None
    """`time.monotonic()` when its worker reported that it runs; None: not yet, or not received."""


@dataclass(frozen=True)
class Completion:
    """End of a submission."""

    submission: Submission
    outcome: Outcome | None = None
    death: Death | None = None
    error: BaseException | None = None
    """The executor's exception, where it does not mean that a worker died."""


class Dispatcher:
    """Submits trials to workers and collects their outcomes.

    `payload` is None if the workers are threads, which share `domain`.
    """

    def __init__(self, workers: Workers, payload: Payload | None, domain: Domain) -> None:
        self.executor: ExecutorAdapter = workers.executor
        self.trial_timeout = workers.trial_timeout
        self._width, self._payload, self._domain = workers.width, payload, domain
        self._done: deque[tuple[Submission, Future[Any]]] = deque()
        """Futures that are done, as their callbacks report in any thread."""
        self._woken = threading.Event()
        """Set when `_done` grows."""
        self._completions: list[Completion] = []
        """Completions that `wait` has not returned yet."""
        self._submissions: dict[Submission, Future[Any]] = {}
        """Submissions without an outcome, in the order in which they were submitted."""
        self._unresponsive: set[Future[Any]] = set()
        """Futures that are no longer waited for and may still occupy a worker."""
        self._sent = 0
        """Number of trials sent to the current workers: the first ones get the objective, too."""
        self._numbers = itertools.count()
        self._locations: LocationReceiver | None = None
        self._checked = time.monotonic()
        self._absent_since: float | None = None
        self._progressed = 0.0
        """`time.monotonic()` when a trial was last seen to start or end."""
        self.was_shared = False
        """Whether another search has used the executor at the same time."""
        self.is_waiting = False
        """Whether the next trial may not be submitted yet."""
        self._submitting = False
        """Whether `may_submit` has allowed a trial that is not submitted yet."""
        self._runs_alone = False
        """Whether a trial runs alone, or waits until the others have ended."""

    @property
    def in_flight(self) -> list[Submission]:
        """Submissions without an outcome, in the order in which they were submitted."""
        return list(self._submissions)

    @property
    def free_slots(self) -> int:
        """Number of trials that may be submitted now."""
        self._unresponsive = {future for future in self._unresponsive if not future.done()}
        return self._width - len(self._submissions) - len(self._unresponsive)

    @property
    def all_unresponsive(self) -> bool:
        """Whether every worker is occupied by a trial that is no longer waited for."""
        return len(self._unresponsive) >= self._width

    @contextmanager
    def running(self) -> Iterator[None]:
        """Use the executor, and receive the locations of running trials, within the block."""
        self._locations, key = self.executor.locations(), id(self.executor.shared)
        with _lock:
            users = _users.setdefault(key, [])
            users.append(self)
            if len(users) > 1:
                for user in users:
                    user.was_shared = True
        try:
            yield
        finally:
            with _lock:
                users.remove(self)
                if not users:
                    del _users[key]
            self._locations.close()
            self._locations = None

    def may_submit(self, *, alone: bool) -> bool:
        """Return whether a trial may be submitted now; `submit` must follow if it may."""
        with _lock:
            users = _users[id(self.executor.shared)]
            taken = any(user._runs_alone for user in users if user is not self)
            if not taken and not (self._runs_alone and self._is_busy):
                # A trial that runs alone keeps others from starting while it waits for its turn.
                self._runs_alone = alone
                self._submitting = not (alone and any(user._is_busy for user in users))
            self.is_waiting = not self._submitting
            return self._submitting

    @property
    def _is_busy(self) -> bool:
        """Whether a trial of this search runs, or is about to be submitted."""
        return self._submitting or bool(self._submissions)

    def newly_located(self) -> list[tuple[Submission, str]]:
        """Return submissions that reported since the last call that they run, and their workers."""
        reports = self._locations.read() if self._locations is not None else []
        if not reports:
            return []
        by_number = {one.task.number: one for one in self._submissions}
        located = [
            (by_number[report.number], report.worker)
            for report in reports
            if report.number in by_number
        ]
        for submission, _ in located:
            submission.located_at = self._progressed = time.monotonic()
        return located

    def submit(self, submission: Submission) -> None:
        """Send a trial to a worker; exceptions of the executor are passed on."""
        sender = None if self._locations is None else self._locations.sender
        submission.task = replace(submission.task, number=next(self._numbers), sender=sender)
        small = self._payload is not None and len(self._payload.content) <= INLINE_BYTES
        try:
            self._send(submission, with_objective=small or self._sent < self._width)
        finally:
            self._submitting = False
        self._sent += 1

    def _send(self, submission: Submission, *, with_objective: bool) -> None:
        """Submit a trial to the executor; processes that hold the objective get only its hash."""
        task = submission.task
        if self._payload is None:
            future = self.executor.submit(run_in_process, self._domain, task, submission.artifacts)
        else:
            content = self._payload.content if with_objective else None
            future = self.executor.submit(run_task, self._payload.sha, content, task)
        submission.waits_since = time.monotonic()
        future.add_done_callback(lambda done: self._note_done(submission, done))
        self._submissions[submission] = future

    def _note_done(self, submission: Submission, future: "Future[Any]") -> None:
        self._done.append((submission, future))
        self._woken.set()

    def wait(self, timeout: float) -> list[Completion]:
        """Return completions in order of arrival, after waiting up to `timeout` for the first.

        What arrives with an interrupt is left to the next call. `queue.get` would lose it.
        """
        until = time.monotonic() + timeout
        while not self._completions and (
            self._done or self._woken.wait(max(0.0, until - time.monotonic()))
        ):
            self._woken.clear()
            while self._done:
                self._completions += self._complete(*self._done[0])
                self._done.popleft()
        self._completions += self._drop_overdue()
        completions, self._completions = self._completions, []
        return completions

    def _complete(self, submission: Submission, future: "Future[Any]") -> list[Completion]:
        """Return the completion of a future; none if the trial is submitted again, or forgotten."""
        if self._submissions.get(submission) is not future:
            return []  # dropped as overdue, or from a pool that was replaced
        completion = _completion_of(submission, future)
        # Dask keeps and recomputes a result while its future is referenced.
        del self._submissions[submission]
        self._progressed = time.monotonic()
        outcome = completion.outcome
        if outcome is None or outcome.status != TaskStatus.NEEDS_OBJECTIVE:
            return [completion]
        try:
            self._send(submission, with_objective=True)
        except Exception as error:  # noqa: BLE001 - an executor may raise anything: see worker_deaths.py
            death = Death.CANCELLED if classify_death(error) else None  # it has not begun
            return [Completion(submission, death=death, error=error)]
        return []

    def _drop_overdue(self) -> list[Completion]:
        """Time out trials whose worker has not even reported the timeout.

        A trial may wait for a worker for as long as others start and end.
        """
        if self.trial_timeout is None:
            return []
        now, overdue = time.monotonic(), []
        for one, future in self._submissions.items():
            if self.executor.local and not future.running():
                one.waits_since = now
            begun, patience = one.located_at, TIMEOUT_GRACE_SECONDS
            if begun is None:
                begun, patience = max(one.waits_since, self._progressed), WORKER_START_SECONDS
            if now - begun > self.trial_timeout + patience:
                overdue.append(one)
        for submission in overdue:
            future = self._submissions.pop(submission)
            if not future.cancel():
                self._unresponsive.add(future)
        outcome = Outcome(TaskStatus.TIMED_OUT, seconds=self.trial_timeout)
        return [Completion(one, outcome) for one in overdue]

    def seconds_without_workers(self) -> float:
        """Seconds since the executor was seen without workers; 0 if it has any or cannot tell."""
        now = time.monotonic()
        if now - self._checked >= WORKER_CHECK_SECONDS:
            self._checked = now
            if self.executor.workers() != 0:
                self._absent_since = None
            elif self._absent_since is None:
                self._absent_since = now
        return 0.0 if self._absent_since is None else now - self._absent_since

    def cancel(self) -> list[Submission]:
        """Cancel and return the submissions that have not started."""
        cancelled = [one for one, future in self._submissions.items() if future.cancel()]
        for submission in cancelled:
            del self._submissions[submission]
        return cancelled

    def kill_hanging(self) -> None:
        """Kill the workers that trials still occupy, if the executor can replace its workers."""
        left = [*self._submissions.values(), *self._unresponsive]
        if self.executor.restartable and not all(future.done() for future in left):
            self.restart()

    def restart(self, *, only_broken: bool = False) -> None:
        """Kill the workers; later submissions get new ones.

        `only_broken`: unless another search has replaced the broken pool already.
        """
        self._submissions.clear()
        self._unresponsive.clear()
        self._sent = 0
        self.executor.restart(only_broken=only_broken)


def _completion_of(submission: Submission, future: "Future[Any]") -> Completion:
    """Read a future that is done."""
    if future.cancelled():
        return Completion(submission, death=Death.CANCELLED)
    error = future.exception()
    if error is not None:
        return Completion(submission, death=classify_death(error), error=error)
    outcome = future.result()
    if isinstance(outcome, bytes):  # of a worker process
        try:
            outcome = pickle.loads(outcome)  # noqa: S301 - from this search's own worker
        except Exception as unreadable:  # noqa: BLE001 - such as a class that only the worker can import
            why = text_of(unreadable)
            problem = ExecutorError(f"What the objective returned cannot be read here: {why}")
            outcome = failed_outcome(TaskStatus.RAISED, problem)
            outcome.worker = outcome.traceback = ""
    if not isinstance(outcome, Outcome):
        wrong = TypeError(f"its future returned {text_of(outcome, repr):.80}, not the outcome")
        return Completion(submission, error=wrong)
    return Completion(submission, outcome)
