"""The loop with several trials at once, on the workers of an Executor: ask, submit, tell.

It differs from `Loop` only in who runs the trials. Starts are recorded before the trials are
submitted, ends in the order of their arrival.
"""

import math
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from hyperopt.utils import coarse_utcnow

from colab_drive_tuner.checkpoint.document_schema import TrialDocument
from colab_drive_tuner.errors import ExecutorError, SearchTakenOverError
from colab_drive_tuner.search.executors.dispatcher import Dispatcher, Submission
from colab_drive_tuner.search.executors.worker import Task, TaskStatus
from colab_drive_tuner.search.executors.worker_deaths import classify_death
from colab_drive_tuner.search.loop.outcomes import OutcomeLoop, named
from colab_drive_tuner.search.loop.sequential import Display, StartedTrial
from colab_drive_tuner.search.trial_documents import RUNNING
from colab_drive_tuner.text import text_of
from colab_drive_tuner.training.memory import PacedCollections

TICK_SECONDS = 1.0
"""Pause between two checks of search and workers while no trial ends."""
LEAVE_SECONDS = 10.0
"""Time that a stop waits for running trials."""
ABSENT_SECONDS, GONE_SECONDS = 30.0, 600.0
"""Time without any worker after which the user is notified, and after which the run ends."""
NOTE_SECONDS, NOTE_PAUSE = 1.0, 3.0
"""Run time after which a trial's worker is recorded; least time between two such records."""


class ParallelLoop(OutcomeLoop):
    """Runs several trials at once of a search that this process owns.

    `on_stop` is called when an exception that stops the run has arrived.
    """

    def __init__(self, *args: Any, dispatcher: Dispatcher, on_stop: Callable[[], None]) -> None:
        super().__init__(*args, dispatcher=dispatcher)
        self._on_stop = on_stop
        self._located: dict[Submission, float] = {}
        """Trials whose worker is known but not recorded, and since when."""
        self._last_note = -math.inf
        self._collections = PacedCollections()

    def run(self, display: Display) -> str:
        """See `Loop.run`."""
        with self._collections, display as show, self._dispatcher.running():
            try:
                self._run(show)
            except BaseException as error:  # an interrupt ends the workers, too
                self._on_stop()
                lost = isinstance(error, SearchTakenOverError)
                self._stop_trials(0.0 if lost else LEAVE_SECONDS)
                raise
            finally:
                self._dispatcher.kill_hanging()
        self._trials.refresh()
        return self._stop_reason

    def _run(self, show: Callable[[str], None]) -> None:
        if self._counts.next_queued is None:
            self._stop_reason = self._judge(self._stopping_rules.judge_interrupted_round)
        while True:
            while self._failure is None and self._submit_next():
                pass
            if self._failure is None:
                if not self._running and not self._is_waiting:
                    return
                self._handle_completions(self._dispatcher.wait(TICK_SECONDS))
            if self._failure is not None:
                raise self._failure
            self._check()
            self._collections.tick()
            show(self._stop_reason)

    @property
    def _is_waiting(self) -> bool:
        """Whether trials wait for workers that hang, or for a trial of another search."""
        occupied = self._dispatcher.all_unresponsive or self._dispatcher.is_waiting
        if self._is_ending or not occupied:
            return False
        return bool(self._to_rerun) or (not self._stop_reason and self._has_work())

    @property
    def _is_ending(self) -> bool:
        """Whether no further trial may start because of an interrupt or the deadline."""
        return self._interrupted or self._stopping_rules.deadline_near

    # -- submit

    def _submit_next(self) -> bool:
        """Submit the next trial; return False if none may start now."""
        if self._is_ending or self._dispatcher.free_slots <= 0:
            return False
        if self._to_rerun:
            if not self._may_submit(self._to_rerun[0].document):
                return False
            lost = self._to_rerun.popleft()
            tid, backups = lost.document["tid"], self._trials.backups
            backups.forget(lost.artifacts)
            if died := self._lost_trials.take_new_deaths(tid):  # recorded with its start
                return self._submit(self._start(lost.document, died=died, durable=True))
            # No longer those of a fresh trial, which never looks for backups.
            return self._submit(replace(lost, artifacts=backups.for_trial(tid)))
        document = None if self._stop_reason else self._next()
        if document is None or not self._may_submit(document):
            return False
        return self._submit(self._start(document, durable=True))

    def _may_submit(self, document: TrialDocument) -> bool:
        return self._dispatcher.may_submit(alone=self._lost_trials.runs_alone(document["tid"]))

    def _next(self) -> TrialDocument | None:
        """Return the next document to run, from the queue or from the algorithm."""
        queued = self._counts.next_queued
        if queued is not None or self._remaining <= 0 or self._stopping_rules.timed_out:
            return queued
        # A missing trial is suggested from the results of all trials before it.
        if not self._missing.complete and self._dispatcher.in_flight:
            return None
        self._restore_missing()
        if self._counts.queued == 0 and not self._ask():
            self._remaining = 0
        return self._counts.next_queued

    def _submit(self, started: StartedTrial) -> bool:
        """Submit a trial; return False if the executor does not take it."""
        attempt, backups = started.attempt, None
        in_process = self._dispatcher.executor.in_process
        if not in_process:  # then artifacts stay here
            backups = self._trials.backups.worker_folder(attempt.search, started.artifacts)
        task = Task(
            attempt,
            trial_timeout=self._dispatcher.trial_timeout,
            loss_to_beat=self._loss_to_beat,
            backups=backups,
            free_memory=self._trials.free_memory,
            driver=os.getpid(),
        )
        submission = Submission(task, started.artifacts if in_process else None)
        self._running[submission] = started
        try:
            self._dispatcher.submit(submission)
        except Exception as error:  # noqa: BLE001 - an executor may raise anything: see worker_deaths.py
            self._to_rerun.append(self._running.pop(submission))  # it has not begun
            if not (classify_death(error) and self._running):  # else their futures report deaths
                self._fail(self._refusal(f"{type(error).__name__}: {text_of(error)}", error))
            return False
        return True

    def _refusal(self, why: str, cause: Exception | None = None) -> ExecutorError:
        """Return the error for an executor that accepts no trials."""
        refusal = ExecutorError(
            f"{self._dispatcher.executor.name} takes no more trials ({why.rstrip('.: ')}). What "
            f"had ended in search {self._trials.name!r} is recorded: make a new executor, and call "
            "again to continue."
        )
        refusal.__cause__ = cause
        return refusal

    @property
    def _loss_to_beat(self) -> float:
        """The loss above which no model is kept."""
        keep = self._trials.keep_models
        if keep == 0:
            return -math.inf
        return self._best_losses[keep - 1] if len(self._best_losses) >= keep else math.inf

    # -- checks while trials run

    def _check(self) -> None:
        """Check that the search is still owned, and that there are workers."""
        self._trials.log.journal.raise_if_lost()
        self._note_workers()
        name, executor = self._trials.name, self._dispatcher.executor
        if executor.closed:
            raise self._refusal("it was closed")
        if self._is_waiting and self._dispatcher.all_unresponsive:
            if not executor.restartable:
                raise ExecutorError(
                    f"All workers of {executor.name} are occupied by trials that hang: restart "
                    f"them and call again to continue search {name!r}."
                )
            self._dispatcher.restart()
        absent = self._dispatcher.seconds_without_workers()
        if absent >= GONE_SECONDS:
            raise ExecutorError(
                f"{executor.name} has had no workers for {GONE_SECONDS / 60:.0f} minutes. What had "
                f"ended in search {name!r} is recorded; start workers, and call again."
            )
        if absent >= ABSENT_SECONDS:
            self._notify_once(
                f"{executor.name} has no workers: {len(self._running)} trials of search {name!r} "
                f"wait for one. The run ends if none comes within {GONE_SECONDS / 60:.0f} minutes."
            )

    def _note_workers(self) -> None:
        """Read which worker runs which trial, and record it when due, at a bounded rate."""
        now = time.monotonic()
        for submission, worker in self._dispatcher.newly_located():
            document = self._running[submission].document
            document["owner"], document["book_time"] = worker, coarse_utcnow()
            self._located[submission] = now
        if now - self._last_note < NOTE_PAUSE:
            return
        self._located = {one: at for one, at in self._located.items() if one in self._running}
        due = [one for one, at in self._located.items() if now - at >= NOTE_SECONDS]
        for submission in due:
            del self._located[submission]
            started = self._running[submission]
            self._trials.log.note_worker(started.document, progress=started.progress)
        if due:
            self._last_note = now

    # -- stop

    def _stop_trials(self, patience: float) -> None:
        """Record trials that end within `patience` seconds; notify the user of the others."""
        left = [*self._to_rerun, *(self._running.pop(one) for one in self._dispatcher.cancel())]
        ended: list[StartedTrial] = []
        # A second interrupt ends the wait; in a search that was taken over nothing can be recorded.
        with suppress(KeyboardInterrupt, SearchTakenOverError):
            for completion in self._completions_within(patience):
                started, outcome = self._running.pop(completion.submission), completion.outcome
                if outcome is None or outcome.status == TaskStatus.INTERRUPTED:
                    left.append(started)
                    continue
                self._handle_outcome(started, outcome)
                running = started.document["state"] == RUNNING
                (left if running else ended).append(started)
        hanging = bool(self._running)
        left += self._running.values()
        parts = [f"{named(ended)} ended and recorded"] if ended else []
        if left:
            parts.append(f"{named(left)} stopped: run again when the search is resumed")
        if hanging and not self._dispatcher.executor.restartable:
            parts.append("some may continue in their workers, unrecorded, until they end")
        if parts:
            self._trials.notify(f"Search {self._trials.name!r}: {'; '.join(parts)}.")
