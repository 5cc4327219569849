"""The trial that is running, for code that runs inside it: which it is, its seed, its deadline.

The loop in `search/` fills this in; `training/` reads it. Neither imports the other.
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
    """How long epochs and uploads of a search's trials took in this run, at most, in seconds."""

    epoch: float = 0.0
    upload: float = 0.0


class Writer(Protocol):
    """What sends the backups of a trial in the background."""

    def drop(self) -> None:
        """Forget all backups: the trial's result is safe."""

    def wait(self, timeout: float | None) -> bool:
        """Wait until nothing is left to do; False if that takes longer than so many seconds."""


class Artifacts(Protocol):
    """Where the files of one trial are kept while it runs (model backups)."""

    pace: Pace
    writer: Writer | None
    """The background writer of the trial's backups, which `TrialBackup` makes; None before."""

    def put(self, name: str, path: Path) -> None:
        """Keep the file at `path` under `name`, replacing what was kept under it; may take long."""

    def get(self, name: str, path: Path) -> bool:
        """Write what is kept under `name` to `path`; False if there is nothing."""

    def names(self) -> list[str]:
        """The names under which something is kept."""

    def drop(self, name: str) -> None:
        """Forget what is kept under `name`; nothing happens if there is nothing."""


@dataclass(frozen=True)
class RunningTrial:
    """What a training function may know about the trial in which it runs."""

    search: str
    tid: int
    seed: int
    """The search's training seed, 0 <= seed < 2**32: the same in every trial, run and attempt."""
    attempt: int = 1
    """1 for the first runtime that works on this trial, 2 for the next, ..."""
    deadline: float | None = None
    """`time.monotonic()` by which the trial must have stopped; None: no limit."""
    artifacts: Artifacts | None = None
    """Where backups of this trial go; None: nowhere."""
    notices: list[str] | None = None
    """In a worker of an executor: takes what the user is to be told, once; None: elsewhere."""
    reports: IntermediateValues = field(default_factory=IntermediateValues, compare=False)
    """What the trial has reported, for pruning."""

    def report(self, step: int, value: float) -> None:
        """Report a value, such as the validation loss after an epoch.

        The values are in the trial's result, under `reported`, and later trials are compared with
        them. `should_prune` then says whether to stop here.

        Args:
            step: The number of the epoch, or of whatever is counted; larger than the last one.
                The same steps in every trial: values are compared at equal steps.
            value: The value; NaN is worse than any other.

        Raises:
            UsageError: The step is no integer from 0 to 2**53 or does not come after the last one,
                or the value is no number.

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
        """Whether to stop here and return what there is.

        It is decided by the search's `pruner=`, from the values reported so far and those of the
        trials that had ended when this one was suggested. Without a pruner it is False.
        """
        return self.reports.should_prune()


_running: ContextVar[RunningTrial | None] = ContextVar("running_trial", default=None)


def running_trial() -> RunningTrial | None:
    """The trial that this code runs in, or None outside of a search."""
    return _running.get()


class run_as:  # noqa: N801 (a context manager, and at half the cost of `contextmanager`)
    """Within the block, `running_trial()` returns `trial`."""

    def __init__(self, trial: RunningTrial) -> None:
        self._trial = trial

    def __enter__(self) -> RunningTrial:
        self._token = _running.set(self._trial)
        return self._trial

    def __exit__(self, *_: object) -> None:
        _running.reset(self._token)


class TrialInterrupted(BaseException):
    """The trial stopped before its end, and the next run of the search goes on with it.

    The next epoch would end after the deadline, and what was done is backed up; or the backup with
    which it began cannot be used (then `epoch` is 0).
    Like KeyboardInterrupt it is not an `Exception`, so that neither the `except Exception` of a
    model function nor hyperopt's `catch_eval_exceptions` mistakes it for one.
    """

    def __init__(self, *, tid: int, fit: int, epoch: int, stored: bool) -> None:
        self.tid = tid
        self.fit = fit
        """Which `fit` call of the trial was running, from 0."""
        self.epoch = epoch
        """How many of its epochs are done."""
        self.stored = stored
        """Whether the backup of exactly this epoch lies in the store; else an older one may."""
        where = "backed up" if stored else "but the store did not take its newest backup in time"
        super().__init__(f"trial {tid} stopped after epoch {epoch}, {where}")
