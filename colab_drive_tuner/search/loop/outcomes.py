"""Outcomes of trials on workers: record ends, rerun lost trials, give up poison trials."""

import bisect
import math
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import hyperopt

from colab_drive_tuner.checkpoint.codec.codec import Captured, capture
from colab_drive_tuner.checkpoint.document_schema import TrialDocument
from colab_drive_tuner.checkpoint.record_items import TrialEnd
from colab_drive_tuner.errors import ExecutorError, SearchTakenOverError
from colab_drive_tuner.search.executors.dispatcher import Completion, Dispatcher, Submission
from colab_drive_tuner.search.executors.worker import Outcome, TaskStatus, failed_outcome
from colab_drive_tuner.search.executors.worker_deaths import Death, LostTrials
from colab_drive_tuner.search.loop.sequential import Loop, StartedTrial
from colab_drive_tuner.search.spec.settings import SUSPECTS, stored_suspects
from colab_drive_tuner.search.trial_documents import (
    ERROR,
    FINISHED,
    OPEN,
    countable_loss,
    plain_result,
)
from colab_drive_tuner.search.trials.poison_trials import (
    give_up_reason,
    given_up_message,
    given_up_result,
)
from colab_drive_tuner.text import text_of
from colab_drive_tuner.tracebacks import add_hint

BREAK_SECONDS = 5.0
"""Time in which a broken pool should report all trials that it was running."""
TOGETHER_SECONDS = 1.0
"""Workers that die within this time of each other have one cause, which may not be a trial."""
RESTART_SECONDS = 30.0
"""A death within this time after a cancellation from outside is attributed to that as well."""
MOST_LOST = 10
"""A trial that is lost this often, although no worker died, ends the run."""


class OutcomeLoop(Loop):
    """The part of the parallel loop that handles what workers return.

    A trial that killed `max_attempts` workers or runtimes is given up.
    """

    def __init__(self, *args: Any, dispatcher: Dispatcher) -> None:
        super().__init__(*args)
        self._dispatcher, self._max_attempts = dispatcher, self._trials.max_attempts
        self._owner = f"{dispatcher.executor.name} of {self._owner}"
        self._running: dict[Submission, StartedTrial] = {}
        """Trials that were submitted and whose outcome is not handled yet."""
        self._arrived: deque[Completion] = deque()
        """Completions to handle; an interrupt leaves the rest to `_completions_within`."""
        self._to_rerun: deque[StartedTrial] = deque()
        """Lost trials, waiting to run again."""
        settings = self._trials.log.settings
        self._lost_trials = LostTrials(
            stored_suspects(settings), lambda tids: self._trials.log.set({SUSPECTS: tids})
        )
        for tid, deaths in self._trials.log.inherited.items():
            # On its last attempt a trial runs alone, so that only the guilty one reaches the limit.
            if dispatcher.executor.dies_with_worker and 0 < deaths >= self._max_attempts - 1:
                self._lost_trials.suspect(tid)
        self._cancelled_at = -math.inf
        """`time.monotonic()` when a trial was last cancelled from outside."""
        self._failure: BaseException | None = None
        """The first error that ends the run; raised once all that arrived is handled."""
        self._stop_reason = ""
        """Why the search ends before all trials have run; empty while it does not."""
        self._interrupted = False
        """Whether a trial has stopped itself to be resumed: no other is started."""
        self._notify_once = cache(self._trials.notify)
        losses = map(countable_loss, self._trials._dynamic_trials)
        self._best_losses = sorted(loss for loss in losses if loss is not None)
        """The lowest losses, of the trials whose models are kept."""

    # -- ends

    def _handle_completions(self, completions: list[Completion]) -> None:
        """Handle completions; a failure is raised only after all of them are handled."""
        broken, alone = list[StartedTrial](), list[StartedTrial]()
        self._arrived.extend(completions)
        while self._arrived:
            completion = self._arrived.popleft()
            started = self._running.pop(completion.submission)
            if completion.outcome is not None:
                self._handle_outcome(started, completion.outcome)
            elif completion.death is None:
                self._fail(self._executor_error(started, completion.error))
            elif completion.death == Death.CANCELLED or self._is_restarting:
                self._rerun_cancelled(started)
            elif completion.death == Death.ONE_TRIAL:
                alone.append(started)
            else:
                broken.append(started)
        if broken or alone:
            self._handle_deaths(broken + alone, several=bool(broken))

    def _handle_outcome(self, started: StartedTrial, outcome: Outcome) -> None:
        """Handle what a worker returned; an error in it must not lose what the others returned."""
        try:
            self._record_outcome(started, outcome)
        except SearchTakenOverError:
            raise
        except Exception as error:  # noqa: BLE001 - such as one of the early-stop function's
            self._fail(error)
        for notice in outcome.notices:
            self._notify_once(notice)

    def _record_outcome(self, started: StartedTrial, outcome: Outcome) -> None:
        """Record a trial's end by the status of its outcome, or note what ends the run."""
        document, tid = started.document, started.document["tid"]
        document["owner"] = outcome.worker or document["owner"]
        started = replace(started, began=time.monotonic() - outcome.seconds)
        if outcome.backed_up and not self._dispatcher.executor.in_process:
            started = replace(started, artifacts=self._trials.backups.adopt(tid, started.artifacts))
        if outcome.status == TaskStatus.DONE:
            self._handle_result(started, outcome)
        elif outcome.status == TaskStatus.RAISED:
            self._handle_error(started, outcome)
        elif outcome.status == TaskStatus.TIMED_OUT:
            limit = f"{self._dispatcher.trial_timeout:g}"
            reason = f"timed out: it ran for more than trial_timeout={limit} seconds"
            self._record_end(started, TrialEnd.DONE, {"status": "fail", "reason": reason})
        elif outcome.status == TaskStatus.INTERRUPTED:
            self._interrupted = True  # the next run resumes the trial
        else:
            self._fail(outcome.exception())

    def _handle_result(self, started: StartedTrial, outcome: Outcome) -> None:
        """Record the result that an objective returned, with its attachments and its model."""
        tid, parts = started.document["tid"], outcome.parts
        assert parts is not None  # noqa: S101 - set if done
        try:
            for name, value in outcome.attachments.items():
                self._trials.attachments[name] = value
            result = self._trials.models.keep(parts, tid)
            captured = capture(plain_result(result))
        except SearchTakenOverError:
            raise
        except Exception as error:  # noqa: BLE001 - a result that is not plain data is an error of the trial
            self._handle_error(started, failed_outcome(TaskStatus.RAISED, error))
            return
        if parts.curves:
            started.document["misc"]["history"] = parts.curves
        self._record_end(started, TrialEnd.DONE, result, captured)

    def _handle_error(self, started: StartedTrial, outcome: Outcome) -> None:
        """Record an error of the objective; it ends the run unless errors are caught."""
        document, error = started.document, outcome.error
        if error is not None and not isinstance(error, Exception):
            self._fail(outcome.exception())  # an interrupt: it has not ended
            return
        how = self._note_error(document, outcome.error_type, outcome.error_text, outcome.traceback)
        self._record_end(started, how)
        if how == TrialEnd.RAISED:
            raised = outcome.exception()
            add_hint(raised, document["tid"], self._trials.name)
            self._fail(raised)

    def _record_end(
        self,
        started: StartedTrial,
        how: TrialEnd,
        result: dict[str, Any] | None = None,
        captured: Captured | None = None,
    ) -> None:
        """Record the end of a trial, and judge whether the search ends.

        `captured` is the snapshot of the result, if one has been taken already.
        """
        document = started.document
        document |= {"state": ERROR} if result is None else {"state": FINISHED, "result": result}
        self._tell(started, how, captured)
        if (loss := countable_loss(document)) is not None:
            bisect.insort(self._best_losses, loss)
            del self._best_losses[max(1, self._trials.keep_models) :]
        self._lost_trials.end(document["tid"])
        self._save()
        if how != TrialEnd.RAISED and self._counts.next_queued is None and not self._stop_reason:
            self._stop_reason, settings = self._stopping_rules.judge(
                self._ended_trials(document), self._counts
            )
            self._trials.log.set(settings)

    def _ended_trials(self, newest: TrialDocument) -> hyperopt.Trials:
        """Return the trials for the early-stop function: only ended ones, the newest last."""
        if not self._running or self._request.early_stop_fn is None:
            return self._trials
        ended = (one for one in self._trials._dynamic_trials if one["state"] not in OPEN)
        others = [one for one in ended if one is not newest]
        return self._trials.plain_trials([*others, newest])

    def _fail(self, error: BaseException) -> None:
        """Note an error that ends the run; the first one is raised."""
        self._failure = self._failure or error

    def _executor_error(self, started: StartedTrial, error: BaseException | None) -> BaseException:
        """Return the error of an executor that could not run a trial; an interrupt is unchanged."""
        if error is not None and not isinstance(error, Exception):
            return error
        failure = ExecutorError(
            f"{self._dispatcher.executor.name} could not run {named([started])} of search "
            f"{self._trials.name!r}: {type(error).__name__}: {text_of(error)}. Its workers need "
            "colab-drive-tuner, and the packages that the objective imports."
        )
        failure.__cause__ = error
        return failure

    # -- deaths

    @property
    def _is_restarting(self) -> bool:
        """Whether trials were just cancelled: a restarting cluster also kills workers."""
        return time.monotonic() - self._cancelled_at < RESTART_SECONDS

    def _handle_deaths(self, lost: list[StartedTrial], *, several: bool) -> None:
        """Charge a death to a trial that was lost alone; else suspect all that were lost together.

        `several`: a pool broke, or a worker of several trials died.
        """
        executor = self._dispatcher.executor
        pool = several and executor.death_breaks_pool
        seconds = BREAK_SECONDS if pool else 0.0 if several else TOGETHER_SECONDS
        for completion in self._completions_within(seconds):
            started = self._running.pop(completion.submission)
            if completion.outcome is not None:
                self._handle_outcome(started, completion.outcome)
            elif several or completion.death not in (None, Death.CANCELLED):
                lost.append(started)
            elif completion.death is None:
                self._fail(self._executor_error(started, completion.error))
            else:
                self._rerun_cancelled(started)
        if pool:
            lost += self._running.values()
            self._running.clear()
        alone = len(lost) == 1 and not (several and self._running)
        shared = self._dispatcher.was_shared
        if alone and (not shared or self._lost_trials.runs_alone(lost[0].document["tid"])):
            self._charge_death(lost[0])
        else:
            self._suspect(lost)
        if several and executor.restartable:
            self._dispatcher.restart(only_broken=True)
        elif pool:
            self._fail(self._broken_pool(lost))

    def _broken_pool(self, lost: list[StartedTrial]) -> ExecutorError:
        """Record the known deaths of lost trials; return the error that ends the run."""
        for started in lost:
            if died := self._lost_trials.take_new_deaths(started.document["tid"]):
                self._start(started.document, died=died, durable=True)
        return ExecutorError(
            f"executor={self._dispatcher.executor.name} is broken: a worker died while "
            f"{named(lost)} of search {self._trials.name!r} ran. What had ended is recorded: make "
            "a new executor, and call again to continue. (cdt.loky_executor(n) replaces its "
            "workers itself.)"
        )

    def _completions_within(self, seconds: float) -> Iterator[Completion]:
        """Yield completions for up to `seconds`, while any trial is running."""
        until = time.monotonic() + seconds
        while True:
            while self._arrived:
                yield self._arrived.popleft()
            if not self._running or (left := until - time.monotonic()) <= 0:
                return
            self._arrived.extend(self._dispatcher.wait(min(0.1, left)))

    def _suspect(self, lost: list[StartedTrial]) -> None:
        """Rerun each of these trials alone: at most one of them killed the workers."""
        for started in lost:
            self._lost_trials.suspect(started.document["tid"])
            self._to_rerun.append(started)
        self._trials.notify(
            f"Workers died while {named(lost)} of search {self._trials.name!r} ran. Each runs "
            "again alone, and only one that kills its worker then is charged with an attempt."
        )

    def _charge_death(self, started: StartedTrial) -> None:
        """Charge a worker's death to this trial alone; give the trial up, or rerun it alone."""
        tid, inherited = started.document["tid"], self._trials.log.inherited
        further = self._progress(started) > started.progress
        attempts = self._lost_trials.blame(tid, inherited, further=further)
        if attempts >= self._max_attempts:
            reason = give_up_reason(attempts, "worker", "runtime")
            self._record_end(started, TrialEnd.GIVEN_UP, given_up_result(reason))
            self._trials.notify(given_up_message(self._trials.name, tid, reason))
            return
        self._trials.notify(
            f"A worker died while trial {tid} of search {self._trials.name!r} ran; it runs again, "
            f"alone (attempt {attempts + 1} of {self._max_attempts})."
        )
        self._lost_trials.suspect(tid)
        self._to_rerun.append(started)

    def _progress(self, started: StartedTrial) -> int:
        """Return how far the trial's backups got, as left by its worker."""
        backups = self._trials.backups
        reached = backups.worker_folder(started.attempt.search, started.artifacts) is not None
        return backups.progress_of(started.document["tid"]) if reached else 0

    def _rerun_cancelled(self, started: StartedTrial) -> None:
        """Rerun a trial that was cancelled from outside."""
        self._cancelled_at = time.monotonic()
        self._to_rerun.append(started)
        if self._lost_trials.cancel(tid := started.document["tid"]) >= MOST_LOST:
            self._fail(
                ExecutorError(
                    f"Trial {tid} of search {self._trials.name!r} was cancelled by "
                    f"{self._dispatcher.executor.name} {MOST_LOST} times, so the run ends: look at "
                    "its log."
                )
            )


def named(trials: list[StartedTrial]) -> str:
    """Name trials in a message: "trials 3, 5"."""
    numbers = ", ".join(str(one.document["tid"]) for one in trials)
    return f"trial{'s' * (len(trials) > 1)} {numbers}"
