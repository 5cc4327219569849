"""Pruning rules: thresholds per step, computed from the curves of trials that have ended.

A trial is pruned after a step at which its best value so far is worse than the step's threshold.
Here all values are minimized; NaN is worse than any other value.
"""

import math
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate

from colab_drive_tuner.training.trial import MAX_VALUES

Curve = Sequence[tuple[int, float]]
"""The steps and values that a trial reported, in the order of the steps."""

MAX_JUDGED_STEPS = 10_000
"""Maximum number of different steps at which trials are judged; more than trials report."""


class BestValues:
    """Best value of each earlier trial by each step; trials are added as they end.

    Args:
        curves: Curves of the trials that have ended.
        threshold: Returns the threshold for a sorted sequence of best values.
        judged: Returns whether trials are judged after a step.
        min_trials: Number of earlier trials that must have reported a value at the step.
        maximized: Whether larger values are better; their negatives are then minimized.
    """

    def __init__(
        self,
        curves: Iterable[Curve],
        threshold: Callable[[Sequence[float]], float],
        *,
        judged: Callable[[int], bool],
        min_trials: int,
        maximized: bool = False,
    ) -> None:
        self._threshold, self._judged, self._min_trials = threshold, judged, min_trials
        self._maximized = maximized
        self._at: dict[int, list[float]] = {}
        """Sorted best values of all trials, by step."""
        for curve in curves:
            for _, bests, best in self._judged_in(curve):
                bests.append(best)
        for bests in self._at.values():
            bests.sort()

    def add(self, curve: Curve) -> None:
        """Add the curve of a trial that has ended."""
        for _, bests, best in self._judged_in(curve):
            insort(bests, best)

    @property
    def full(self) -> bool:
        """Whether steps may be missing; which ones depends on the order of the curves."""
        return len(self._at) >= MAX_JUDGED_STEPS

    def thresholds(self, without: Iterable[Curve] = ()) -> dict[int, float]:
        """Return the threshold of each step; a trial with a worse best value is pruned.

        Args:
            without: Curves that were added but do not count for this trial.
        """
        left: dict[int, list[float]] = {}
        for curve in without:
            for step, bests, best in self._judged_in(curve):
                if step not in left:
                    left[step] = bests.copy()
                place = bisect_left(left[step], best)
                if left[step][place : place + 1] == [best]:  # else the document has been changed
                    del left[step][place]
        found = {}
        for step, all_bests in self._at.items():
            bests = left.get(step, all_bests)
            if len(bests) >= self._min_trials and (value := self._threshold(bests)) < math.inf:
                found[step] = value
        return found

    def _judged_in(self, curve: Curve) -> Iterator[tuple[int, list[float], float]]:
        """Yield each judged step of a curve, the best values of all trials, and the curve's."""
        few = subsample(curve)
        if self._maximized:
            few = [(step, -value) for step, value in few]
        for step, best in best_so_far(few):
            bests = self._at.get(step)
            if bests is None:
                if len(self._at) >= MAX_JUDGED_STEPS or not self._judged(step):
                    continue
                bests = self._at[step] = []
            yield step, bests, best


def subsample(curve: Curve) -> Curve:
    """Drop values from a curve that is longer than trials report, as reporting would have."""
    every = 1
    while len(curve) > every * (MAX_VALUES + 1):
        every *= 2
    return curve[every - 1 :: every]


def best_so_far(curve: Curve) -> Iterable[tuple[int, float]]:
    """Return each step with the lowest value up to it; infinity before the first number."""
    values = (math.inf if math.isnan(value) else value for _, value in curve)
    return zip((step for step, _ in curve), accumulate(values, min), strict=True)


def percentile_threshold(bests: Sequence[float], percentile: float) -> float:
    """Return a percentile of numbers in ascending order, interpolated between neighbours."""
    place = percentile / 100 * (len(bests) - 1)
    below = bests[math.floor(place)]
    above = bests[math.ceil(place)]
    return below if below == above else below + (above - below) * (place - math.floor(place))


def halving_threshold(bests: Sequence[float], reduction_factor: int) -> float:
    """Return the worst value that is promoted from a rung with these sorted values.

    Of all trials that have reached the rung, including the new one, the best `1/reduction_factor`
    continue, at least one.
    """
    promoted = max((len(bests) + 1) // reduction_factor, 1)
    return bests[promoted - 1]


def is_rung(step: int, warmup_steps: int, reduction_factor: int) -> bool:
    """Return whether a step is a rung: 1, r, r * r, ... steps after the warm-up."""
    beyond = step - warmup_steps
    while beyond > 1 and beyond % reduction_factor == 0:
        beyond //= reduction_factor
    return beyond == 1
