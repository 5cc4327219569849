"""The curve that a trial reports step by step, within bounds, and its best value: for pruning."""

import math
from collections.abc import Callable, Hashable, Mapping
from functools import partial
from itertools import pairwise
from typing import Any, Protocol

from colab_drive_tuner.errors import UsageError

MOST_VALUES = 1000
"""Of a longer curve every second value is kept, then every fourth, and so on."""
MOST_STEPS = 2**53
UNNAMED = "value"
"""What is reported is called so where no pruner names it."""


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
        return {name: getattr(self, name) for name in _KEPT} | lists

    def prepare_restore(self, kept: Mapping[str, Any]) -> Callable[[], None]:
        """A function that sets what `dump` gave; KeyError, TypeError or ValueError otherwise."""
        found: dict[str, Any] = {name: kept[name] for name in _KEPT}
        steps, values = found["_steps"], found["_values"]
        if not (
            all(isinstance(found[name], kind) for name, kind in _KEPT.items())
            and all(type(value) is float for value in values)
            and are_steps(steps)
            and are_steps([found["last_step"]])
            and len(steps) == len(values) <= MOST_VALUES
            and found["_every"] > 0
        ):
            raise ValueError("it has no curve that a trial reports")
        return partial(vars(self).update, found)


def are_steps(steps: list[Any]) -> bool:
    """Whether these are the steps of a curve as a trial reports it, each larger than the last."""
    whole = all(type(step) is int for step in steps)
    return whole and all(a < b for a, b in pairwise((-1, *steps, MOST_STEPS + 1)))


_KEPT: dict[str, Any] = (
    dict.fromkeys(("_steps", "_values"), list)
    | dict.fromkeys(("_count", "_every", "last_step"), int)
    | dict.fromkeys(("_low", "_high", "_last"), float)
    | {"pruned_at": int | None}
)
"""The state of reports, and its types."""


def as_number(name: str, value: Any) -> float:
    """What is reported, as a float; raises `UsageError`, which names it, for what is no number."""
    try:
        if not isinstance(value, str | bytes | bytearray):  # `float` would read these
            return float(value)
    except (TypeError, ValueError, OverflowError):
        pass
    raise UsageError(f"{name} must be a number, got {value!r:.60}.")
