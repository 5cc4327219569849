"""Intermediate values that a trial reports step by step, for pruning: a bounded curve, its best."""

import math
from collections.abc import Callable, Hashable, Mapping
from functools import partial
from itertools import pairwise
from typing import Any, Protocol

from colab_drive_tuner.errors import UsageError

MAX_VALUES = 1000
"""Maximum length of a curve: if there are more, every second value is kept, or every fourth, ..."""
MAX_STEP = 2**53
UNNAMED = "value"
"""Name of the metric if no pruner names it."""


class PrunerLike(Protocol, Hashable):
    """The part of a pruner that a running trial needs."""

    @property
    def monitor(self) -> str:
        """Name of the reported metric."""

    @property
    def maximized(self) -> bool:
        """Whether larger values are better."""

    @property
    def settings(self) -> dict[str, Any]:
        """The pruner's arguments, as plain data."""


class IntermediateValues:
    """Values that a trial has reported, and whether it should be pruned.

    Args:
        pruner: The search's pruner; None: a callback may set one.
        thresholds: By pruner and step, the worst best-so-far value with which the trial continues,
            as a number to be minimized.
    """

    def __init__(
        self,
        pruner: PrunerLike | None = None,
        thresholds: Mapping[Any, Mapping[int, float]] | None = None,
    ) -> None:
        self.pruner, self._thresholds = pruner, thresholds or {}
        self.pruned_at: int | None = None
        """The step at which the trial was to be pruned, unless it has reported values since."""
        self.last_step = 0
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

    def set_pruner(self, pruner: PrunerLike) -> None:
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
    whole = all(type(step) is int for step in steps)
    return whole and all(a < b for a, b in pairwise((-1, *steps, MAX_STEP + 1)))


_DUMPED: dict[str, Any] = (
    dict.fromkeys(("_steps", "_values"), list)
    | dict.fromkeys(("_count", "_every", "last_step"), int)
    | dict.fromkeys(("_low", "_high", "_last"), float)
    | {"pruned_at": int | None}
)
"""Names and types of the attributes in a dump."""


def as_number(name: str, value: Any) -> float:
    """Convert a reported value to float; raise `UsageError` with `name` if it is not a number."""
    try:
        if not isinstance(value, str | bytes | bytearray):  # `float` would parse these
            return float(value)
    except (TypeError, ValueError, OverflowError):
        pass
    raise UsageError(f"{name} must be a number, got {value!r:.60}.")
