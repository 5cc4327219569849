"""TPE's choice of one parameter's value: draw candidates from the better trials, take the best.

All parameters share one generator, so draws have hyperopt's arguments and order.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from hyperopt import tpe
from hyperopt.pyll.base import bincount
from hyperopt.pyll.stochastic import categorical

from colab_drive_tuner.search.algorithms.candidate_scores import Mixture, Scale, best_candidate
from colab_drive_tuner.search.algorithms.observations import Floats, WeightedValues


class SuggestOptions(NamedTuple):
    """Generator and settings of one suggestion."""

    rng: np.random.Generator
    prior_weight: float
    candidates: int
    """Number of candidates per parameter."""


@dataclass(frozen=True)
class Continuous:
    """A parameter whose posterior is a mixture of normals, of its value or its logarithm."""

    prior_mu: float
    prior_sigma: float
    scale: Scale
    least: float | None = None
    """Observations are raised to this value: those rounded to 0 have no logarithm."""

    @classmethod
    def of(
        cls,
        name: str,
        *,
        low: float | None = None,
        high: float | None = None,
        mu: float = 0.0,
        sigma: float = 0.0,
        q: float | None = None,
    ) -> "Continuous":
        """Create the parameter for hyperopt's distribution `name` and its arguments."""
        least: float | None = tpe.EPS if name.startswith("qlog") else None
        if low is not None and high is not None:
            mu, sigma = 0.5 * (high + low), 1.0 * (high - low)
            if least is not None:
                least = float(np.maximum(least, np.exp(low)))
        return cls(mu, sigma, Scale(low, high, q, log="log" in name), least)

    def choose(
        self, options: SuggestOptions, below: WeightedValues, above: WeightedValues, p: Any
    ) -> Any:
        """Return the candidate with the largest ratio of the densities below and above."""
        del p
        better, others = (self._mixture(sample, options.prior_weight) for sample in (below, above))
        samples = self._draw(options, better)
        best = best_candidate(samples, better, others, self.scale)
        if best is None:
            log, *bounds = self.scale.log, self.scale.low, self.scale.high, self.scale.q
            lpdf = tpe.LGMM1_lpdf if log else tpe.GMM1_lpdf
            scores = lpdf(samples, *better, *bounds) - lpdf(samples, *others, *bounds)
            best = int(np.argmax(scores))
        return samples[best]

    def _mixture(self, sample: WeightedValues, prior_weight: float) -> Mixture:
        """Return what `tpe.adaptive_parzen_normal` returns, by the same operations."""
        observed = sample.values
        if self.least is not None:
            observed = np.maximum(observed, self.least)
        if self.scale.log:
            observed = np.log(observed)
        count = len(observed)
        order = np.argsort(observed)  # not stable, so called as in hyperopt
        ordered = observed[order]
        if count < 2 or not np.isfinite(ordered[[0, -1]]).all():
            prior = self.prior_mu, self.prior_sigma
            return Mixture(*tpe.adaptive_parzen_normal(observed, prior_weight, *prior))
        at = ordered.searchsorted(self.prior_mu)
        mus, weights, sigmas = np.empty(count + 1), np.empty(count + 1), np.empty(count + 1)
        mus[:at], mus[at], mus[at + 1 :] = ordered[:at], self.prior_mu, ordered[at:]
        forgetting = sample.weights[order]
        weights[:at], weights[at] = forgetting[:at], prior_weight
        weights[at + 1 :] = forgetting[at:]
        weights /= weights.sum()
        gaps = mus[1:] - mus[:-1]
        sigmas[0], sigmas[-1] = gaps[0], gaps[-1]
        np.maximum(gaps[1:], gaps[:-1], out=sigmas[1:-1])
        np.maximum(sigmas, self.prior_sigma / min(100.0, 1.0 + len(mus)), out=sigmas)
        np.minimum(sigmas, self.prior_sigma, out=sigmas)
        sigmas[at] = self.prior_sigma
        return Mixture(weights, mus, sigmas)

    def _draw(self, options: SuggestOptions, mixture: Mixture) -> Floats:
        """Draw the same candidates as `tpe.GMM1` and `tpe.LGMM1`."""
        rng, count = options.rng, options.candidates
        weights, mus, sigmas = mixture
        low, high, q, log = self.scale
        if low is None or high is None:
            chosen = rng.multinomial(1, weights, (count,)).argmax(axis=1)
            samples: Floats = rng.normal(mus[chosen], sigmas[chosen])
            samples = np.exp(samples) if log else samples
        else:
            drawn: list[float] = []
            means, widths = mus.tolist(), sigmas.tolist()
            while len(drawn) < count:
                component = rng.multinomial(1, weights).argmax()
                value = rng.normal(means[component], widths[component])
                if low <= value < high:
                    drawn.append(np.exp(value) if log else value)
            samples = np.array(drawn)
        if q is not None:
            samples = np.round(samples / q) * q
        return samples


@dataclass(frozen=True)
class Index:
    """An integer parameter, whose posterior is a table of probabilities.

    Either an integer of a range, counted from its start, as is the index of a `hp.choice`; or the
    index of a `hp.pchoice`, whose prior probabilities are `p`.
    """

    low: int = 0
    high: int | None = None
    """The end of the range; None: the range ends at `low` and starts at 0."""

    def choose(
        self, options: SuggestOptions, below: WeightedValues, above: WeightedValues, p: Any
    ) -> Any:
        """Return the candidate with the largest ratio of the probabilities below and above."""
        better, others = (self._posterior(options, sample, p) for sample in (below, above))
        samples = categorical(better, options.rng, options.candidates)
        return samples[np.argmax(np.log(better[samples]) - np.log(others[samples]))]

    def _posterior(self, options: SuggestOptions, sample: WeightedValues, p: Any) -> Any:
        """Return the probability of each value."""
        if p is not None:
            counts = bincount(sample.values, p=p, weights=sample.weights)
            return tpe.tpe_cat_pseudocounts(counts, options.prior_weight, p, options.candidates)
        size, offset = (self.low, 0) if self.high is None else (self.high - self.low, self.low)
        counts = bincount(sample.values, offset, sample.weights, size) + options.prior_weight
        return counts / np.sum(counts)
