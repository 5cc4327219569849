"""Comparison of TPE's candidates by approximate scores with error bounds.

A candidate's score is the log of its density among the better trials minus the log of its density
among the others. hyperopt computes all scores and takes the first of the highest. Here scores are
computed in a faster order, without terms common to all candidates, and with a bound of their
difference from hyperopt's. A candidate that leads by more than the bounds is the best. Otherwise
the contenders are compared again in double precision, and if that is still not conclusive, by
hyperopt's own functions.
"""

from typing import NamedTuple

import numpy as np
from hyperopt.tpe import EPS, erf  # scipy's
from numpy.typing import NDArray

from colab_drive_tuner.search.algorithms.observations import Floats

_EXACT = 1e-9
"""Bound of a double's relative error: sums of a million terms, 1e-16 each, and logarithms up to
1e4, in hyperopt's order or in ours."""
_DIFFERENCE = 1e-14
"""Bound of the absolute error of a probability that is a difference of two near 1."""
_SINGLE = 2.0**-23
"""Spacing of single-precision numbers; an operation is off by up to half of it."""
_DOUBLE = 2.0**-52
"""Spacing of double-precision numbers."""

_MAX_ERROR = 0.05
"""Below it, a relative error approximates the absolute error of the logarithm."""


class Mixture(NamedTuple):
    """Mixture of normals in the order of their means, as in `tpe.adaptive_parzen_normal`."""

    weights: Floats
    mus: Floats
    sigmas: Floats


class Scale(NamedTuple):
    """Bounds and step of a parameter; with `log`, its mixture is of logarithms."""

    low: float | None
    high: float | None
    q: float | None
    log: bool


def best_candidate(samples: Floats, below: Mixture, above: Mixture, scale: Scale) -> int | None:
    """Return the index of the best of `samples`, or None if exact scores are needed."""
    with np.errstate(all="ignore"):
        if scale.q is None:
            values = samples
            at = np.log(values) if scale.log else values
            contenders = _contenders(*_density_scores(at, below, above))
            if len(contenders) > 1:
                closer = _contenders(*_precise_density_scores(at[contenders], below, above))
                contenders = contenders[closer]
        else:
            # Rounded candidates are often equal, and equal ones have equal scores.
            values = np.unique(samples)
            contenders = _contenders(
                *_interval_scores(*_rounding_intervals(values, scale.q, scale), below, above)
            )
    if len(contenders) != 1:
        return None
    # The first of equal candidates; 0.0 and -0.0 are equal too.
    return int((samples == values[contenders[0]]).argmax())


def _contenders(scores: Floats, errors: Floats) -> NDArray[np.int64]:
    """Return the indices of candidates that may be the best; none if a score is NaN (unknown)."""
    found: NDArray[np.int64] = (scores + errors >= (scores - errors).max()).nonzero()[0]
    return found


def _density_scores(at: Floats, below: Mixture, above: Mixture) -> tuple[Floats, Floats]:
    """Return the scores of candidates at positions `at`, and a bound of their error.

    Computed in single precision, which is twice as fast. Positions are in units of the smallest
    sigma, relative to the middle mean, so that differences are small numbers. A position is then
    off by `reach * _SINGLE`, and a term within 9 sigmas by 9 times that plus 40 roundings of its
    exponent. Terms farther away are below e**-40, negligible against a density of 1e-10; scores of
    lower densities are NaN.
    """
    split = len(below.mus)
    weights, mus, sigmas = (np.concatenate(pair) for pair in zip(below, above, strict=True))
    unit, middle = sigmas.min(), mus[len(mus) // 2]
    narrow = unit / sigmas
    positions = ((at - middle) / unit).astype(np.float32)
    means = ((mus - middle) / unit).astype(np.float32)
    exponents = np.subtract.outer(positions, means)
    np.multiply(exponents, exponents, out=exponents)
    exponents *= (-0.5 * narrow * narrow).astype(np.float32)
    terms = np.exp(exponents, out=exponents)
    heights = (weights * narrow).astype(np.float32)
    reach = float(max(abs(means).max(), abs(positions).max()))
    error = (10 * reach + 100 + len(mus)) * _SINGLE
    logs = []
    for part in (slice(split), slice(split, None)):
        density = np.einsum("ij,j->i", terms[:, part], heights[part]).astype(np.float64)
        density[~((density > heights[part].sum() * 1e-10) & (error < _MAX_ERROR))] = np.nan
        logs.append(np.log(density))
    return logs[0] - logs[1], np.full(len(at), 2 * error)


def _precise_density_scores(at: Floats, below: Mixture, above: Mixture) -> tuple[Floats, Floats]:
    """Like `_density_scores`, in double precision: an error of 1e-9 for candidates that are close.

    hyperopt subtracts the same doubles, so a position is off only by the error of its logarithm.
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
    return logs[0] - logs[1], np.full(len(at), error if error < _MAX_ERROR else np.nan)


def _rounding_intervals(values: Floats, q: float, scale: Scale) -> tuple[Floats, Floats]:
    """Return the bounds of the interval that is rounded to each value, on the mixture's scale."""
    low, high, _, log = scale
    lower, upper = values - q / 2, values + q / 2
    if low is not None and high is not None:
        lower = np.maximum(lower, np.exp(low) if log else low)
        upper = np.minimum(upper, np.exp(high) if log else high)
    if not log:
        return lower, upper
    # hyperopt rejects a negative upper bound: NaN leaves the candidate to it.
    upper = np.where(upper < 0, np.nan, upper)
    return np.log(np.maximum(lower, EPS)), np.log(np.maximum(upper, EPS))


def _interval_scores(
    lower: Floats, upper: Floats, below: Mixture, above: Mixture
) -> tuple[Floats, Floats]:
    """Return the scores of candidates with these intervals, and bounds of their errors."""
    logs, errors = [], []
    for weights, mus, sigmas in (below, above):
        # Rounded observations are often equal too: merge the components of equal ones.
        first = np.flatnonzero(np.r_[True, (mus[1:] != mus[:-1]) | (sigmas[1:] != sigmas[:-1])])
        means, narrow = mus[first], np.sqrt(0.5) / sigmas[first]
        shares = erf(np.subtract.outer(upper, means) * narrow)
        shares -= erf(np.subtract.outer(lower, means) * narrow)
        mass = 0.5 * np.einsum("ij,j->i", shares, np.add.reduceat(weights, first))
        mass[~(mass > 0)] = np.nan
        logs.append(np.log(mass))
        errors.append(_EXACT + _DIFFERENCE / mass)
    return logs[0] - logs[1], errors[0] + errors[1]
