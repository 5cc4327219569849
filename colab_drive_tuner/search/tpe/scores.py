"""The comparison of candidates by bounds of their scores, so that few are computed exactly.

A candidate's score is the logarithm of its density among the better trials less that among the
others. hyperopt computes it for each candidate and takes the first of the highest. Here a score
is computed in whatever order is fast, without what is the same for all candidates, and with a
bound of how far it can be from hyperopt's. Where one candidate leads by more than that, it is the
one. Otherwise hyperopt's own functions decide.
"""

from typing import NamedTuple

import numpy as np
from hyperopt.tpe import EPS, erf  # scipy's

from colab_drive_tuner.search.tpe.observations import Floats

_EXACT = 1e-9
"""Bounds the relative error of a double: sums of a million terms of 1e-16 each, and logarithms up
to 1e4, in hyperopt's order or in ours."""
_DIFFERENCE = 1e-14
"""Bounds the absolute error of a probability that is a difference of two near 1."""
_SINGLE = 2.0**-23
"""Spacing of single-precision numbers: an operation is right to half of it."""

_LARGE = 0.05
"""From here on a relative error is not nearly that of the logarithm."""


class Mixture(NamedTuple):
    """Normals in the order of their means, as `tpe.adaptive_parzen_normal` returns them."""

    weights: Floats
    mus: Floats
    sigmas: Floats


class Scale(NamedTuple):
    """The bounds of a parameter, its step, and whether its mixture is of logarithms."""

    low: float | None
    high: float | None
    q: float | None
    log: bool


def clear_best(samples: Floats, below: Mixture, above: Mixture, scale: Scale) -> int | None:
    """The index of the best of `samples`, or None where only exact scores can tell."""
    with np.errstate(all="ignore"):
        if scale.q is None:
            values = samples
            scores, errors = _of_densities(np.log(values) if scale.log else values, below, above)
        else:
            # Rounded candidates are often equal, and equal ones have equal scores.
            values = np.unique(samples)
            scores, errors = _of_cells(*_cells(values, scale.q, scale), below, above)
        # Where anything is NaN, it is the maximum, and nothing is as large.
        rivals = (scores + errors >= (scores - errors).max()).nonzero()[0]
    if len(rivals) != 1:
        return None
    # The first of equal candidates: 0.0 and -0.0 are equal, too.
    return int((samples == values[rivals[0]]).argmax())


def _of_densities(at: Floats, below: Mixture, above: Mixture) -> tuple[Floats, Floats]:
    """The scores of candidates at these places, and a bound of their error.

    In single precision, which is twice as fast: in units of the smallest sigma and from the middle
    of the means, so that differences are small numbers. A place is then off by `reach * _SINGLE`,
    and a term within 9 sigmas by 9 times that and 40 roundings of its exponent. Terms farther
    away are less than e**-40, which does not count beside a density of 1e-10. NaN: there it does.
    """
    split = len(below.mus)
    weights, mus, sigmas = (np.concatenate(pair) for pair in zip(below, above, strict=True))
    unit, middle = sigmas.min(), mus[len(mus) // 2]
    narrow = unit / sigmas
    places = ((at - middle) / unit).astype(np.float32)
    means = ((mus - middle) / unit).astype(np.float32)
    exponents = np.subtract.outer(places, means)
    np.multiply(exponents, exponents, out=exponents)
    exponents *= (-0.5 * narrow * narrow).astype(np.float32)
    terms = np.exp(exponents, out=exponents)
    heights = (weights * narrow).astype(np.float32)
    reach = float(max(abs(means).max(), abs(places).max()))
    error = (10 * reach + 100 + len(mus)) * _SINGLE
    logs = []
    for part in (slice(split), slice(split, None)):
        density = np.einsum("ij,j->i", terms[:, part], heights[part]).astype(np.float64)
        density[~((density > heights[part].sum() * 1e-10) & (error < _LARGE))] = np.nan
        logs.append(np.log(density))
    return logs[0] - logs[1], np.full(len(at), 2 * error)


def _cells(values: Floats, q: float, scale: Scale) -> tuple[Floats, Floats]:
    """The bounds of what is rounded to each value, in the terms of the mixture."""
    low, high, _, log = scale
    lower, upper = values - q / 2, values + q / 2
    if low is not None and high is not None:
        lower = np.maximum(lower, np.exp(low) if log else low)
        upper = np.minimum(upper, np.exp(high) if log else high)
    if not log:
        return lower, upper
    # hyperopt refuses a negative upper bound: NaN leaves it to do so.
    upper = np.where(upper < 0, np.nan, upper)
    return np.log(np.maximum(lower, EPS)), np.log(np.maximum(upper, EPS))


def _of_cells(
    lower: Floats, upper: Floats, below: Mixture, above: Mixture
) -> tuple[Floats, Floats]:
    """The scores of candidates with these cells, and bounds of their errors."""
    logs, errors = [], []
    for weights, mus, sigmas in (below, above):
        # Observations that were rounded, too, are often equal: as many components are one.
        first = np.flatnonzero(np.r_[True, (mus[1:] != mus[:-1]) | (sigmas[1:] != sigmas[:-1])])
        means, narrow = mus[first], np.sqrt(0.5) / sigmas[first]
        shares = erf(np.subtract.outer(upper, means) * narrow)
        shares -= erf(np.subtract.outer(lower, means) * narrow)
        mass = 0.5 * np.einsum("ij,j->i", shares, np.add.reduceat(weights, first))
        mass[~(mass > 0)] = np.nan
        logs.append(np.log(mass))
        errors.append(_EXACT + _DIFFERENCE / mass)
    return logs[0] - logs[1], errors[0] + errors[1]
