"""The running trial, as seen by code inside it: its number, seed, deadline and reports.

The loop in `search/` sets it and `training/` reads it; neither imports the other.
"""

import operator
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from colab_drive_tuner.errors import UsageError
from colab_drive_tuner.intermediate_values import MAX_STEP, IntermediateValues, as_number


@dataclass
class Pace:
    """Longest epoch and longest upload of a search's trials in this run, in seconds."""

    epoch: float = 0.0
    upload: float = 0.0


class Writer(Protocol):
    """Background writer of a trial's backups."""

    def drop(self) -> None:
        """Drop all backups, because the trial's result is acknowledged."""

    def wait(self, timeout: float | None) -> bool:
        """Wait until all jobs are done; return False after `timeout` seconds."""


class Artifacts(Protocol):
    """Storage for the files of one running trial (model backups)."""

    pace: Pace
    writer: Writer | None
    """The background writer of the trial's backups; None until `TrialBackup` creates it."""

    def put(self, name: str, path: Path) -> None:
        """Store the file at `path` under `name`, replacing an earlier one; may take long."""

    def get(self, name: str, path: Path) -> bool:
        """Write the file stored under `name` to `path`; return False if there is none."""

    def names(self) -> list[str]:
        """Return the names of the stored files."""

    def drop(self, name: str) -> None:
        """Remove the file stored under `name`, if there is one."""


@dataclass(frozen=True)
class RunningTrial:
    """The trial in which an objective runs."""

    search: str
    tid: int
    seed: int
    """The search's training seed, 0 <= seed < 2**32: the same in every trial, run and attempt."""
    attempt: int = 1
    """1 for the first runtime that works on this trial, 2 for the next, ..."""
    deadline: float | None = None
    """The `time.monotonic()` at which the trial must have stopped; None: no limit."""
    artifacts: Artifacts | None = None
    """Storage for the backups of this trial; None: backups are not possible."""
    notices: list[str] | None = None
    """In a worker of an executor: collects messages that are shown to the user once; else None."""
    reports: IntermediateValues = field(default_factory=IntermediateValues, compare=False)
    """Values that the trial has reported, for pruning."""

    def report(self, step: int, value: float) -> None:
        """Report a value, such as the validation loss after an epoch.

        The trial's result includes the values, under `reported`, and later trials are compared with
        them. Then call `should_prune` to see whether to stop.

        Args:
            step: The number of the epoch or of another unit; larger than the last one. Use the same
                steps in every trial, because values are compared at equal steps.
            value: The value; NaN is worse than any other.

        Raises:
            UsageError: The step is not an integer from 0 to 2**53 or does not come after the last
                one, or the value is not a number.

        Example:
            ```python
            trial = cdt.running_trial()
            for epoch in range(1, 51):
                loss = train(epoch)
                trial.report(epoch, loss)
                if trial.should_prune():
                    break
            return loss
            ```
        """
        try:
            number = -1 if isinstance(step, bool) else operator.index(step)
        except TypeError:
            number = -1
        if not 0 <= number <= MAX_STEP:
            raise UsageError(
                f"report(step, value): step must be an integer from 0 to 2**53, got {step!r:.60}."
            )
        if number <= self.reports.last_step and self.reports.begun:
            raise UsageError(
                f"report(step, value): step {number} does not come after the last one, "
                f"{self.reports.last_step}."
            )
        self.reports.add(number, as_number("report(step, value): value", value))

    def should_prune(self) -> bool:
        """Return whether the objective should stop now and return its current loss.

        The search's `pruner=` compares the values reported so far with those of the trials that
        had ended when this one was suggested. False without a pruner.
        """
        return self.reports.should_prune()


_running: ContextVar[RunningTrial | None] = ContextVar("running_trial", default=None)


def running_trial() -> RunningTrial | None:
    """Return the trial in which this code runs; None outside a search."""
    return _running.get()


class run_as:  # noqa: N801 (a context manager, and at half the cost of `contextmanager`)
    """Context manager within which `running_trial()` returns `trial`."""

    def __init__(self, trial: RunningTrial) -> None:
        self._trial = trial

    def __enter__(self) -> RunningTrial:
        self._token = _running.set(self._trial)
        return self._trial

    def __exit__(self, *_: object) -> None:
        _running.reset(self._token)


class TrialInterrupted(BaseException):
    """The trial stopped before its end; the next run of the search continues it.

    Raised if the next epoch would end after the deadline, or if the backup that the trial resumed
    from turns out to be unusable (then `epoch` is 0). Like KeyboardInterrupt it is not an
    `Exception`, so that neither `except Exception` in a model function nor hyperopt's
    `catch_eval_exceptions` catches it.
    """

    def __init__(self, *, tid: int, fit: int, epoch: int, stored: bool) -> None:
        self.tid = tid
        self.fit = fit
        """Number of the trial's `fit` call that was running, from 0."""
        self.epoch = epoch
        """Number of its epochs that are done."""
        self.stored = stored
        """Whether the store has the backup of exactly this epoch; it may have an older one."""
        where = "backed up" if stored else "but its newest backup did not reach the store in time"
        super().__init__(f"trial {tid} stopped after epoch {epoch}, {where}")
