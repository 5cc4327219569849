"""Pruning rules: thresholds per step, computed from the curves of trials that have ended.

A trial is pruned after a step at which its best value so far is worse than the step's threshold.
Here all values are minimized; NaN is worse than any other value.
"""

import math
from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from colab_drive_tuner.training.trial import MAX_VALUES

if TYPE_CHECKING:
    from colab_drive_tuner.training.pruner import Pruner

Curve = Sequence[tuple[int, float]]
"""The steps and values that a trial reported, in the order of the steps."""

MAX_JUDGED_STEPS = 10_000
"""Maximum number of different steps at which trials are judged; more than trials report."""


class PruningThresholds:
    """Best value by each step of each earlier trial; `curves` are those of trials that have ended.

    If larger values are better, their negatives are minimized.
    """

    def __init__(self, pruner: "Pruner", curves: Iterable[Curve]) -> None:
        self._pruner = pruner
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
        """Return the threshold of each step, as if the curves in `without` had not been added."""
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
            if len(bests) >= self._pruner.min_trials:
                found[step] = _threshold(self._pruner, bests)
        return {step: threshold for step, threshold in found.items() if threshold < math.inf}

    def _judged_in(self, curve: Curve) -> Iterator[tuple[int, list[float], float]]:
        """Yield each judged step of a curve, the best values of all trials, and the curve's."""
        few = subsample(curve)
        if self._pruner.maximized:
            few = [(step, -value) for step, value in few]
        for step, best in best_so_far(few):
            bests = self._at.get(step)
            if bests is None:
                if len(self._at) >= MAX_JUDGED_STEPS or not _is_judged(self._pruner, step):
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


def _threshold(pruner: "Pruner", bests: Sequence[float]) -> float:
    """Return the worst of these values, in ascending order, with which a trial continues."""
    if pruner.reduction_factor is not None:
        # Of all trials that have reached the rung, including the new one, at least one continues.
        promoted = max((len(bests) + 1) // pruner.reduction_factor, 1)
        return bests[promoted - 1]
    place = (pruner.percentile or 50) / 100 * (len(bests) - 1)
    below, above = bests[math.floor(place)], bests[math.ceil(place)]
    return below if below == above else below + (above - below) * (place - math.floor(place))


def _is_judged(pruner: "Pruner", step: int) -> bool:
    """Return whether trials are judged after a step.

    For successive halving these are the rungs: 1, r, r * r, ... steps after the warm-up.
    """
    beyond = step - pruner.warmup_steps
    if pruner.reduction_factor is None:
        return beyond > 0
    while beyond > 1 and beyond % pruner.reduction_factor == 0:
        beyond //= pruner.reduction_factor
    return beyond == 1
