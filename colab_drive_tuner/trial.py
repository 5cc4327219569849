"""The trial that is running, for code that runs inside it: which it is, its seed, its deadline.

The loop in `search/` fills this in; `training/` reads it. Neither imports the other.
"""

import math
import operator
from collections.abc import Callable, Hashable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

from colab_drive_tuner.errors import UsageError

MOST_VALUES = 1000
"""Of a longer curve every second value is kept, then every fourth, and so on."""
MOST_STEPS = 2**53
UNNAMED = "value"
"""What is reported is called so where no pruner names it."""


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


class Judge(Protocol, Hashable):
    """A pruner, as far as a running trial needs to know it."""

    @property
    def monitor(self) -> str:
        """The name of what is reported."""

    @property
    def maximized(self) -> bool:
        """Whether larger values are better."""

    @property
    def settings(self) -> dict[str, Any]:
        """What it was made with, as plain data."""


class Reports:
    """What a trial has reported step by step, and whether it is to end early.

    Args:
        pruner: The one that the search has; None: a callback may bring one.
        thresholds: By pruner and step, what the trial's best value so far must not be worse than,
            as a number to be minimized.
    """

    def __init__(
        self,
        pruner: Judge | None = None,
        thresholds: Mapping[Any, Mapping[int, float]] | None = None,
    ) -> None:
        self.pruner, self._thresholds = pruner, thresholds or {}
        self.pruned_at: int | None = None
        """The step after which the trial was told to end, unless it went on."""
        self.last_step = 0
        self.offset = 0
        """The steps of the fits before the one that runs."""
        self.epoch: int | None = None
        """The epoch of it that was reported last."""
        self._last = math.nan
        self._steps: list[int] = []
        self._values: list[float] = []
        self._count, self._every = 0, 1
        self._low, self._high = math.inf, -math.inf

    @property
    def begun(self) -> bool:
        """Whether anything was reported."""
        return self._count > 0

    def judge_by(self, pruner: Judge) -> None:
        """Let this pruner decide; raises `UsageError` where another one does already."""
        if self.pruner is not None and self.pruner != pruner:
            raise UsageError(f"Two pruners judge one trial: {self.pruner} and {pruner}. Keep one.")
        self.pruner = pruner

    def add(self, step: int, value: float) -> None:
        """Take in the value of a step that comes after all others."""
        self.last_step, self._last, self.pruned_at = step, value, None
        # Of NaN neither is true, so that it changes nothing.
        self._low, self._high = min(self._low, value), max(self._high, value)
        self._count += 1
        if self._count % self._every:
            return
        self._steps.append(step)
        self._values.append(value)
        if len(self._values) > MOST_VALUES:
            self._every *= 2
            del self._steps[::2], self._values[::2]

    def should_prune(self) -> bool:
        """Whether the best value so far is worse than what earlier trials had at this step."""
        threshold = self._thresholds.get(self.pruner, {}).get(self.last_step)
        if self.pruner is None or threshold is None:
            return False
        best = -self._high if self.pruner.maximized else self._low
        if best > threshold:
            self.pruned_at = self.last_step
        return best > threshold

    def result(self) -> dict[str, Any]:
        """What the trial's result says of it; empty where nothing was reported."""
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
        """All that was reported, as plain data for a backup, which may wait for long."""
        lists = {"_steps": self._steps.copy(), "_values": self._values.copy()}
        return {name: getattr(self, name) for name in (*_KEPT, "pruned_at")} | lists

    def prepare_restore(self, kept: Mapping[str, Any]) -> Callable[[], None]:
        """A function that sets what `dump` gave; raises KeyError, TypeError or ValueError.

        With nothing changed, for anything else.
        """
        found: dict[str, Any] = {name: kind(kept[name]) for name, kind in _KEPT.items()}
        found["_values"] = list(map(float, found["_values"]))
        found["pruned_at"] = kept["pruned_at"]
        if found["pruned_at"] is not None:
            found["pruned_at"] = int(found["pruned_at"])
        is_curve = are_steps(found["_steps"]) and are_steps([found["last_step"]])
        if not is_curve or not len(found["_steps"]) == len(found["_values"]) <= MOST_VALUES:
            raise ValueError("it has no curve that a trial reports")
        if found["_every"] < 1:
            raise ValueError("every 0th value was kept")
        return partial(vars(self).update, found)


def are_steps(steps: list[Any]) -> bool:
    """Whether these are the steps of a curve as a trial reports it, each larger than the last."""
    whole = all(type(step) is int for step in steps)
    return whole and all(a < b for a, b in pairwise((-1, *steps, MOST_STEPS + 1)))


_KEPT: dict[str, type] = (
    dict.fromkeys(("_count", "_every", "last_step"), int)
    | dict.fromkeys(("_low", "_high", "_last"), float)
    | dict.fromkeys(("_steps", "_values"), list)
)
"""The state of reports, besides `pruned_at`, which may be None."""


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
    reports: Reports = field(default_factory=Reports, compare=False)
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
        if not 0 <= number <= MOST_STEPS:
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


def as_number(name: str, value: Any) -> float:
    """What is reported, as a float; raises `UsageError`, which names it, for what is no number."""
    try:
        if not isinstance(value, str | bytes | bytearray):  # `float` would read these
            return float(value)
    except (TypeError, ValueError, OverflowError):
        pass
    raise UsageError(f"{name} must be a number, got {value!r:.60}.")


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
