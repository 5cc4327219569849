"""The running trial, as seen by code inside it: its number, seed, deadline and reported values.

The loop in `search/` sets it; the callbacks in `training/` read it.
"""

import math
import operator
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from colab_drive_tuner.errors import UsageError

if TYPE_CHECKING:
    from colab_drive_tuner.training.pruner import Pruner
    from colab_drive_tuner.training.trial_backup_files import TrialBackupFiles

MAX_VALUES = 1000
"""Maximum length of a curve: if there are more, every second value is kept, or every fourth, ..."""
MAX_STEP = 2**53
UNNAMED = "value"
"""Name of the metric if no pruner names it."""


class IntermediateValues:
    """Values that a trial has reported, and whether it should be pruned.

    Args:
        pruner: The search's pruner; None: a callback may set one.
        thresholds: By pruner and step, the worst best-so-far value with which the trial continues,
            as a number to be minimized.
    """

    def __init__(
        self,
        pruner: "Pruner | None" = None,
        thresholds: Mapping[Any, Mapping[int, float]] | None = None,
    ) -> None:
        self.pruner, self._thresholds = pruner, thresholds or {}
        self.pruned_at: int | None = None
        """The step at which the trial was to be pruned, unless it has reported values since."""
        self.last_step = 0
        self.ended = False
        """Whether the trial has ended, so that further values would be lost."""
        self.offset = 0
        """Number of steps of earlier calls of `fit`."""
        self.epoch: int | None = None
        """Last reported epoch of the current `fit`."""
        self._last = math.nan
        self._steps: list[int] = []
        self._values: list[float] = []
        self._count, self._every = 0, 1
        self._low, self._high = math.inf, -math.inf

    @property
    def begun(self) -> bool:
        """Whether a value was reported."""
        return self._count > 0

    def set_pruner(self, pruner: "Pruner") -> None:
        """Let this pruner decide; raise `UsageError` if a different one was set before."""
        if self.pruner is not None and self.pruner != pruner:
            raise UsageError(f"Two pruners judge one trial: {self.pruner} and {pruner}. Keep one.")
        self.pruner = pruner

    def add(self, step: int, value: float) -> None:
        """Add the value of a step after all earlier ones."""
        self.last_step, self._last, self.pruned_at = step, value, None
        # `min` and `max` ignore NaN as the second argument.
        self._low, self._high = min(self._low, value), max(self._high, value)
        self._count += 1
        if self._count % self._every:
            return
        self._steps.append(step)
        self._values.append(value)
        if len(self._values) > MAX_VALUES:
            self._every *= 2
            del self._steps[::2], self._values[::2]

    def should_prune(self) -> bool:
        """Return whether the best value so far is worse than the threshold of the last step."""
        threshold = self._thresholds.get(self.pruner, {}).get(self.last_step)
        if self.pruner is None or threshold is None:
            return False
        best = -self._high if self.pruner.maximized else self._low
        if best > threshold:
            self.pruned_at = self.last_step
        return best > threshold

    def result(self) -> dict[str, Any]:
        """Return the entries for the trial's result; empty if nothing was reported."""
        if not self.begun:
            return {}
        steps, values = list(self._steps), list(self._values)
        if not steps or steps[-1] != self.last_step:
            steps, values = [*steps, self.last_step], [*values, self._last]
        reported: dict[str, Any] = {
            "metric": self.pruner.monitor if self.pruner else UNNAMED,
            "values": values,
        }
        if steps != list(range(1, len(steps) + 1)):
            reported["steps"] = steps
        if self.pruner is None:
            return {"reported": reported}
        reported["pruner"] = self.pruner.settings
        pruned = {} if self.pruned_at is None else {"pruned_at": self.pruned_at}
        return {"pruned": self.pruned_at is not None, **pruned, "reported": reported}

    def dump(self) -> dict[str, Any]:
        """Return the state as plain data for a backup; a copy, as it may be written much later."""
        lists = {"_steps": self._steps.copy(), "_values": self._values.copy()}
        return {name: getattr(self, name) for name in _DUMPED} | lists

    def prepare_restore(self, kept: Mapping[str, Any]) -> Callable[[], None]:
        """Return a function that restores a dump; raise KeyError, TypeError or ValueError."""
        found: dict[str, Any] = {name: kept[name] for name in _DUMPED}
        steps, values = found["_steps"], found["_values"]
        if not (
            all(isinstance(found[name], kind) for name, kind in _DUMPED.items())
            and all(type(value) is float for value in values)
            and are_valid_steps(steps)
            and are_valid_steps([found["last_step"]])
            and len(steps) == len(values) <= MAX_VALUES
            and found["_every"] > 0
        ):
            raise ValueError("it has no valid curve of reported values")
        return partial(vars(self).update, found)


def are_valid_steps(steps: list[Any]) -> bool:
    """Return whether these are ascending integers from 0 to `MAX_STEP`."""
    whole = {int}.issuperset(map(type, steps))
    return whole and all(map(operator.lt, [-1, *steps], [*steps, MAX_STEP + 1]))


_DUMPED: dict[str, Any] = (
    dict.fromkeys(("_steps", "_values"), list)
    | dict.fromkeys(("_count", "_every", "last_step"), int)
    | dict.fromkeys(("_low", "_high", "_last"), float)
    | {"pruned_at": int | None}
)
"""Names and types of the attributes in a dump."""


def as_integer(name: str, value: Any, *, least: int) -> int:
    """Return `value`, which may be numpy's, as an int; raise `UsageError` if it is less."""
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if isinstance(value, bool) or number < least:
        raise UsageError(f"{name} must be an integer >= {least}, got {value!r:.60}.")
    return number


def as_number(name: str, value: Any) -> float:
    """Convert a reported value to float; raise `UsageError` with `name` if it is not a number."""
    try:
        if not isinstance(value, str | bytes | bytearray):  # `float` would parse these
            return float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # the last: PyTorch
        pass
    raise UsageError(f"{name} must be a number, got {value!r:.60}.")


@dataclass(frozen=True)
class RunningTrial:
    """The trial in which an objective runs."""

    search: str
    tid: int
    seed: int
    """The search's training seed, 0 <= seed < 2**32: the same in every trial, run and attempt."""
    seeded: bool = field(default=True, kw_only=True)
    """Whether the global random generators were seeded for this trial (`seed_training`)."""
    attempt: int = 1
    """1 for the first runtime that works on this trial, 2 for the next, ..."""
    deadline: float | None = None
    """The `time.monotonic()` at which the trial must have stopped; None: no limit."""
    artifacts: "TrialBackupFiles | None" = None
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
                one, the value is not a number, or the trial has ended.

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
        if self.reports.ended:
            raise UsageError(
                f"report(step, value): trial {self.tid} has ended. Call running_trial() in each "
                "trial anew, and report before the objective returns."
            )
        number = as_integer("report(step, value): step", step, least=0)
        if number > MAX_STEP:
            raise UsageError(f"report(step, value): step must be at most 2**53, got {number}.")
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
        self._trial.reports.ended = True


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
