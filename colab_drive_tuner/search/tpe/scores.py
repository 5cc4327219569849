"""The comparison of candidates by bounds of their scores, so that few are computed exactly.

A candidate's score is the logarithm of its density among the better trials less that among the
others. hyperopt computes it for each candidate and takes the first of the highest. Here a score
is computed in whatever order is fast, without what is the same for all candidates, and with a
bound of how far it can be from hyperopt's. Where one candidate leads by more than that, it is the
one. Otherwise hyperopt's own functions decide.
"""

from typing import NamedTuple

import numpy as np
from hyperopt.tpe import EPS, erf

from colab_drive_tuner.search.tpe.observations import Floats

_ROUNDING = 1e-9
"""Bounds the relative error of a density: sums of up to a million terms of 1e-16 each, and
logarithms of up to 1e4, in hyperopt's order or in ours."""
_DIFFERENCE = 1e-14
"""Bounds the absolute error of a probability that is a difference of two near 1."""
_FAR = 500.0
"""Half the squared distance in sigmas beyond which a component adds nothing: e**-500."""


class Mixture(NamedTuple):
    """Normals in the order of their means, as `tpe.adaptive_parzen_normal` returns them."""

    weights: Floats
    mus: Floats
    sigmas: Floats


def clear_best(
    samples: Floats,
    below: Mixture,
    above: Mixture,
    low: float | None,
    high: float | None,
    q: float | None,
    *,
    log: bool,
) -> int | None:
    """The index of the best of `samples`, or None where only exact scores can tell."""
    if below.sigmas.min() <= EPS or above.sigmas.min() <= EPS:
        return None  # hyperopt treats them as larger in one place, and not in another
    with np.errstate(all="ignore"):
        if q is None:
            values = samples
            at = np.log(values) if log else values
            scores = np.log(_density(at, below)) - np.log(_density(at, above))
            errors = np.full(len(scores), _ROUNDING)
        else:
            # Rounded candidates are often equal, and equal ones have equal scores.
            values = np.unique(samples)
            lower, upper = _cell(values, low, high, q, log=log)
            of_below, of_above = _mass(lower, upper, below), _mass(lower, upper, above)
            scores = np.log(of_below) - np.log(of_above)
            errors = _ROUNDING + _DIFFERENCE / of_below + _DIFFERENCE / of_above
        if not np.isfinite(scores).all():
            return None
        rivals = np.flatnonzero(scores + errors >= (scores - errors).max())
    if len(rivals) > 1:
        return None
    # The first of equal candidates: 0.0 and -0.0 are equal, too.
    return int(np.flatnonzero(samples == values[rivals[0]])[0])


def _density(at: Floats, mixture: Mixture) -> Floats:
    """Proportional to the density at each place; NaN where it is too small to be told."""
    scales = 1 / mixture.sigmas
    distances = np.subtract.outer(at, mixture.mus)
    distances *= np.sqrt(0.5) * scales
    np.multiply(distances, distances, out=distances)
    np.minimum(distances, _FAR, out=distances)  # much smaller ones take the processor much longer
    np.negative(distances, out=distances)
    terms = np.exp(distances, out=distances)
    heights = mixture.weights * scales
    density: Floats = np.einsum("ij,j->i", terms, heights)
    return np.where(density > heights.sum() * 1e-150, density, np.nan)


def _cell(
    values: Floats, low: float | None, high: float | None, q: float, *, log: bool
) -> tuple[Floats, Floats]:
    """The bounds of what is rounded to each value, on the scale of the mixture."""
    lower, upper = values - q / 2, values + q / 2
    if low is not None and high is not None:
        lower = np.maximum(lower, np.exp(low) if log else low)
        upper = np.minimum(upper, np.exp(high) if log else high)
    if not log:
        return lower, upper
    # hyperopt refuses a negative upper bound: NaN leaves it to do so.
    upper = np.where(upper < 0, np.nan, upper)
    return np.log(np.maximum(lower, EPS)), np.log(np.maximum(upper, EPS))


def _mass(lower: Floats, upper: Floats, mixture: Mixture) -> Floats:
    """Proportional to the probability of each cell."""
    weights, mus, sigmas = mixture
    # Observations that were rounded, too, are often equal.
    first = np.flatnonzero(np.r_[True, (mus[1:] != mus[:-1]) | (sigmas[1:] != sigmas[:-1])])
    weights, mus, scales = np.add.reduceat(weights, first), mus[first], np.sqrt(0.5) / sigmas[first]
    share = erf(np.subtract.outer(upper, mus) * scales)
    share -= erf(np.subtract.outer(lower, mus) * scales)
    mass: Floats = np.einsum("ij,j->i", share, weights)
    return 0.5 * mass
