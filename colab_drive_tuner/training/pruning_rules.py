"""Rules of pruning: curves of trials that have ended become one threshold per step.

A trial is pruned after a step where its best value so far is worse than the step's threshold. All
values are numbers to be minimized here; one that is NaN is worse than any other.
"""

import math
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate

from colab_drive_tuner.intermediate_values import MAX_VALUES

Curve = Sequence[tuple[int, float]]
"""What a trial reported: step and value, in the order of the steps."""

MOST_JUDGED = 10_000
"""So many different steps are judged: more than trainings report that are to be compared."""


class BestValues:
    """What earlier trials had as their best value by each step; trials are added as they end.

    Args:
        curves: Those of the trials that have ended.
        cut: The threshold among best values, which are in order.
        judged: Whether trials are judged after a step.
        min_trials: How many earlier trials must have reported a value of the step.
        maximized: Whether larger values are better; thresholds are minimized all the same.
    """

    def __init__(
        self,
        curves: Iterable[Curve],
        cut: Callable[[Sequence[float]], float],
        *,
        judged: Callable[[int], bool],
        min_trials: int,
        maximized: bool = False,
    ) -> None:
        self._cut, self._judged, self._min_trials = cut, judged, min_trials
        self._maximized = maximized
        self._at: dict[int, list[float]] = {}
        for curve in curves:
            for _, bests, best in self._judged_in(curve):
                bests.append(best)
        for bests in self._at.values():
            bests.sort()

    def add(self, curve: Curve) -> None:
        """Take in the curve of a trial that has ended."""
        for _, bests, best in self._judged_in(curve):
            insort(bests, best)

    @property
    def full(self) -> bool:
        """Whether steps may have been left out: which ones depends on the order of the curves."""
        return len(self._at) >= MOST_JUDGED

    def thresholds(self, without: Iterable[Curve] = ()) -> dict[int, float]:
        """By step, the value that a trial must not be worse than.

        Args:
            without: Curves that were added and do not count for this trial.
        """
        left: dict[int, list[float]] = {}
        for curve in without:
            for step, bests, best in self._judged_in(curve):
                if step not in left:
                    left[step] = bests.copy()
                place = bisect_left(left[step], best)
                if left[step][place : place + 1] == [best]:  # else its document was changed since
                    del left[step][place]
        found = {}
        for step, all_bests in self._at.items():
            bests = left.get(step, all_bests)
            if len(bests) >= self._min_trials and (value := self._cut(bests)) < math.inf:
                found[step] = value
        return found

    def _judged_in(self, curve: Curve) -> Iterator[tuple[int, list[float], float]]:
        """By judged step of a curve, all best values that are kept of it, and the curve's own."""
        few = subsample(curve)
        if self._maximized:
            few = [(step, -value) for step, value in few]
        for step, best in best_so_far(few):
            bests = self._at.get(step)
            if bests is None:
                if len(self._at) >= MOST_JUDGED or not self._judged(step):
                    continue
                bests = self._at[step] = []
            yield step, bests, best


def subsample(curve: Curve) -> Curve:
    """A curve of more values than a trial reports, as one that it would have reported."""
    every = 1
    while len(curve) > every * (MAX_VALUES + 1):
        every *= 2
    return curve[every - 1 :: every]


def best_so_far(curve: Curve) -> Iterable[tuple[int, float]]:
    """Each step of a curve with the lowest value up to it; infinity before there is a number."""
    values = (math.inf if math.isnan(value) else value for _, value in curve)
    return zip((step for step, _ in curve), accumulate(values, min), strict=True)


def percentile_threshold(bests: Sequence[float], percentile: float) -> float:
    """The percentile of numbers in ascending order, interpolated between neighbours."""
    place = percentile / 100 * (len(bests) - 1)
    below = bests[math.floor(place)]
    above = bests[math.ceil(place)]
    return below if below == above else below + (above - below) * (place - math.floor(place))


def halving_threshold(bests: Sequence[float], reduction_factor: int) -> float:
    """The worst value that is promoted from a rung where these values, in order, were seen.

    Of all that have reached the rung, the new trial included, the best `1/reduction_factor` go on,
    at least one.
    """
    promoted = max((len(bests) + 1) // reduction_factor, 1)
    return bests[promoted - 1]


def is_rung(step: int, warmup_steps: int, reduction_factor: int) -> bool:
    """Whether there is a rung at a step: after the warm-up at 1, r, r * r, ... steps."""
    beyond = step - warmup_steps
    while beyond > 1 and beyond % reduction_factor == 0:
        beyond //= reduction_factor
    return beyond == 1
