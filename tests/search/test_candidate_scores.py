"""Bounds on candidates' scores contain hyperopt's exact scores."""

import numpy as np
import pytest
from hyperopt import tpe
from hypothesis import given, settings
from hypothesis import strategies as st

from colab_drive_tuner.search.algorithms import candidate_scores as scores
from colab_drive_tuner.search.algorithms.candidate_scores import Mixture, Scale, best_candidate

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # hyperopt takes log(0)


def mixture(observed: np.ndarray, low: float, high: float) -> Mixture:
    """Return hyperopt's mixture for the observations of a parameter between two bounds."""
    return Mixture(*tpe.adaptive_parzen_normal(observed, 1.0, 0.5 * (low + high), high - low))


def exact(samples: np.ndarray, below: Mixture, above: Mixture, scale: Scale) -> np.ndarray:
    """Return the scores that hyperopt computes."""
    lpdf = tpe.LGMM1_lpdf if scale.log else tpe.GMM1_lpdf
    bounds = scale.low, scale.high, scale.q
    return lpdf(samples, *below, *bounds) - lpdf(samples, *above, *bounds)


@st.composite
def contests(draw: st.DrawFn):
    """Draw candidates and observations that are spread, piled up, far from 0 or rounded."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    log = draw(st.booleans())
    low = draw(st.sampled_from([-3.0, 0.0, 2.0] if log else [-5.0, 0.0, 1e3, -1e6]))
    width = draw(st.sampled_from([1e-3, 1.0, 4.0] if log else [1e-3, 1.0, 300.0]))
    q = draw(st.sampled_from([None, None, 1e-7, 0.01, 1.0]))
    spread = draw(st.sampled_from([1.0, 0.1, 1e-3]))
    high = low + width
    counts = draw(st.integers(0, 25)), draw(st.sampled_from([0, 1, 30, 400, 3000]))

    def places(count: int) -> np.ndarray:
        found = low + width * np.clip(0.3 + spread * rng.normal(size=count), 0, 1)
        if q is None:
            return found
        rounded = np.round((np.exp(found) if log else found) / q) * q
        return np.log(np.maximum(rounded, max(tpe.EPS, np.exp(low)))) if log else rounded

    below, above = (mixture(places(count), low, high) for count in counts)
    scale = Scale(low, high, q, log)
    draw_samples = tpe.LGMM1 if log else tpe.GMM1
    samples = draw_samples(*below, low=low, high=high, q=q, rng=rng, size=24)
    return samples, below, above, scale


@settings(max_examples=150, deadline=None)
@given(contests(), st.sampled_from([scores._density_scores, scores._precise_density_scores]))
def test_score_differences_are_within_the_stated_errors(contest, of_densities):
    """Differences between two scores equal hyperopt's within the stated errors."""
    samples, below, above, scale = contest
    if scale.q is None:
        values = samples
        at = np.log(values) if scale.log else values
        found, errors = of_densities(at, below, above)
    else:
        values = np.unique(samples)
        cells = scores._rounding_intervals(values, scale.q, scale)
        found, errors = scores._interval_scores(*cells, below, above)
    right = exact(values, below, above, scale)
    known = np.isfinite(found) & np.isfinite(right)
    found, errors, right = found[known], errors[known], right[known]
    difference = np.subtract.outer(found, found) - np.subtract.outer(right, right)
    assert (abs(difference) <= np.add.outer(errors, errors)).all()


@settings(max_examples=150, deadline=None)
@given(contests())
def test_a_decided_best_candidate_is_hyperopts(contest):
    """A candidate that the bounds select is the one that hyperopt's exact scores select."""
    samples, below, above, scale = contest
    best = best_candidate(samples, below, above, scale)
    if best is not None:
        assert best == np.argmax(exact(samples, below, above, scale))


@pytest.mark.parametrize("spread", [5, 0.05], ids=["begun", "converged"])
def test_most_contests_are_decided(spread):
    """At least 95 of 100 suggestions need no exact scores, even when all candidates are close."""
    rng = np.random.default_rng(3)
    scale = Scale(-5, 5, None, log=False)
    decided = 0
    for _ in range(100):
        observed = (np.clip(rng.normal(0, spread, count), -5, 5) for count in (8, 3000))
        below, above = (mixture(values, -5, 5) for values in observed)
        samples = tpe.GMM1(*below, low=-5, high=5, rng=rng, size=24)
        best = best_candidate(samples, below, above, scale)
        decided += best is not None
        assert best in (None, np.argmax(exact(samples, below, above, scale)))
    assert decided >= 95


@pytest.mark.parametrize("q", [None, 1.0])
def test_equal_scores_are_left_to_hyperopt(q):
    """Without observations all scores are equal, and the bounds select no candidate."""
    prior = mixture(np.empty(0), -5, 5)
    samples = np.array([2.0, 1.0, 3.0])
    assert best_candidate(samples, prior, prior, Scale(-5, 5, q, log=False)) is None


def test_the_first_of_two_equal_candidates_is_selected():
    """0.0 and -0.0 are equal candidates, and the first of them is selected."""
    below, above = mixture(np.zeros(5), -5, 5), mixture(np.full(50, 4.0), -5, 5)
    scale = Scale(-5, 5, 1.0, log=False)
    assert best_candidate(np.array([3.0, -0.0, 0.0]), below, above, scale) == 1
    assert best_candidate(np.array([3.0, 0.0, -0.0]), below, above, scale) == 1


@pytest.mark.parametrize("odd", [np.nan, np.inf])
@pytest.mark.parametrize("q", [None, 1.0])
def test_candidates_that_are_not_finite_are_left_to_hyperopt(odd, q):
    """With a NaN or infinite candidate no best is selected, because `argmax` may take that one."""
    below, above = mixture(np.zeros(5), -5, 5), mixture(np.full(50, 4.0), -5, 5)
    samples = np.array([3.0, 0.0, odd])
    assert best_candidate(samples, below, above, Scale(None, None, q, log=False)) is None
