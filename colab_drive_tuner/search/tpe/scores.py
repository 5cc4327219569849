"""The comparison of candidates by bounds of their scores, so that few are computed exactly.

A candidate's score is the logarithm of its density among the better trials less that among the
others. hyperopt computes it for each candidate and takes the first of the highest. Here a score
is computed in whatever order is fast, without what is the same for all candidates, and with a
bound of how far it can be from hyperopt's. Where one candidate leads by more than that, it is the
one. Those within the bound of the best are compared once more in double precision; where that does
not tell either, hyperopt's own functions decide.
"""

from typing import NamedTuple

import numpy as np
from hyperopt.tpe import EPS, erf  # scipy's
from numpy.typing import NDArray

from colab_drive_tuner.search.tpe.observations import Floats

_EXACT = 1e-9
"""Bounds the relative error of a double: sums of a million terms of 1e-16 each, and logarithms up
to 1e4, in hyperopt's order or in ours."""
_DIFFERENCE = 1e-14
"""Bounds the absolute error of a probability that is a difference of two near 1."""
_SINGLE = 2.0**-23
"""Spacing of single-precision numbers: an operation is right to half of it."""
_DOUBLE = 2.0**-52
"""The same of double-precision numbers."""

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
            at = np.log(values) if scale.log else values
            contenders = _contenders(*_of_densities(at, below, above))
            if len(contenders) > 1:
                closer = _contenders(*_of_few_densities(at[contenders], below, above))
                contenders = contenders[closer]
        else:
            # Rounded candidates are often equal, and equal ones have equal scores.
            values = np.unique(samples)
            contenders = _contenders(*_of_cells(*_cells(values, scale.q, scale), below, above))
    if len(contenders) != 1:
        return None
    # The first of equal candidates: 0.0 and -0.0 are equal, too.
    return int((samples == values[contenders[0]]).argmax())


def _contenders(scores: Floats, errors: Floats) -> NDArray[np.int64]:
    """The indices of those that may be the best; none where a score is not known (NaN)."""
    found: NDArray[np.int64] = (scores + errors >= (scores - errors).max()).nonzero()[0]
    return found


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


def _of_few_densities(at: Floats, below: Mixture, above: Mixture) -> tuple[Floats, Floats]:
    """As `_of_densities`, in double precision: an error of 1e-9 for candidates that are close.

    hyperopt subtracts the same doubles, so a place is off only by what its logarithm may be.
    """
    logs = []
    error = 2 * _EXACT
    for weights, mus, sigmas in (below, above):
        exponents = np.subtract.outer(at, mus)
        exponents /= sigmas
        np.multiply(exponents, exponents, out=exponents)
        exponents *= -0.5
        heights = weights / sigmas
        density = np.einsum("ij,j->i", np.exp(exponents, out=exponents), heights)
        density[~(density > heights.sum() * 1e-10)] = np.nan
        logs.append(np.log(density))
        error += 200 * _DOUBLE * float(abs(at).max() / sigmas.min())
    return logs[0] - logs[1], np.full(len(at), error if error < _LARGE else np.nan)


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
