"""Rules of pruning: curves of trials that have ended become one threshold per step.

A trial is pruned after a step where its best value so far is worse than the step's threshold. All
values are numbers to be minimized here; one that is NaN is worse than any other.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate

Curve = Sequence[tuple[int, float]]
"""What a trial reported: step and value, in the order of the steps."""


def thresholds(
    curves: Iterable[Curve],
    cut: Callable[[Sequence[float]], float],
    *,
    judged: Callable[[int], bool],
    min_trials: int,
) -> dict[int, float]:
    """By step, the value that a trial must not be worse than.

    Args:
        curves: Those of the earlier trials.
        cut: The threshold among the earlier trials' best values so far, which are in order.
        judged: Whether trials are judged after a step.
        min_trials: How many earlier trials must have reported a value of the step.
    """
    at: dict[int, list[float]] = {}
    for curve in curves:
        for step, best in best_so_far(curve):
            if judged(step):
                at.setdefault(step, []).append(best)
    found = {s: cut(sorted(bests)) for s, bests in sorted(at.items()) if len(bests) >= min_trials}
    return {step: value for step, value in found.items() if value < math.inf}


def best_so_far(curve: Curve) -> Iterable[tuple[int, float]]:
    """Each step of a curve with the lowest value up to it; infinity before there is a number."""
    values = (math.inf if math.isnan(value) else value for _, value in curve)
    return zip((step for step, _ in curve), accumulate(values, min), strict=True)


def percentile_of(bests: Sequence[float], percentile: float) -> float:
    """The percentile of numbers in ascending order, interpolated between neighbours."""
    place = percentile / 100 * (len(bests) - 1)
    below = bests[math.floor(place)]
    above = bests[math.ceil(place)]
    return below if below == above else below + (above - below) * (place - math.floor(place))


def last_promoted(bests: Sequence[float], reduction_factor: int) -> float:
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
