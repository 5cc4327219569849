"""The choice of one parameter's value: candidates drawn from the better trials' values.

All parameters share one generator: each draw is made with hyperopt's arguments and in its order.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from hyperopt import tpe
from hyperopt.pyll.base import bincount
from hyperopt.pyll.stochastic import categorical

from colab_drive_tuner.search.tpe.observations import Floats, Sample
from colab_drive_tuner.search.tpe.scores import Mixture, Scale, clear_best


class Request(NamedTuple):
    """What one suggestion is made with."""

    rng: np.random.Generator
    prior_weight: float
    candidates: int
    """How many each parameter has."""


class Parameter(Protocol):
    """A kind of parameter."""

    def choose(self, request: Request, below: Sample, above: Sample, p: Any) -> Any:
        """The best candidate, given the values of the better and the other trials.

        `p` are the prior probabilities of a choice that has them.
        """


@dataclass(frozen=True)
class Continuous:
    """A parameter whose posterior is a mixture of normals, of its value or its logarithm."""

    prior_mu: float
    prior_sigma: float
    scale: Scale
    least: float | None = None
    """Lower observations count as this one: rounded to 0, they would have no logarithm."""

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
        """The parameter of hyperopt's distribution `name` with its arguments."""
        least: float | None = tpe.EPS if name.startswith("qlog") else None
        if low is not None and high is not None:
            mu, sigma = 0.5 * (high + low), 1.0 * (high - low)
            if least is not None:
                least = float(np.maximum(least, np.exp(low)))
        return cls(mu, sigma, Scale(low, high, q, log="log" in name), least)

    def choose(self, request: Request, below: Sample, above: Sample, p: Any) -> Any:
        """The candidate with the largest quotient of the densities below and above."""
        del p
        better, others = (self._mixture(sample, request.prior_weight) for sample in (below, above))
        samples = self._draw(request, better)
        best = clear_best(samples, better, others, self.scale)
        if best is None:
            log, *bounds = self.scale.log, self.scale.low, self.scale.high, self.scale.q
            lpdf = tpe.LGMM1_lpdf if log else tpe.GMM1_lpdf
            scores = lpdf(samples, *better, *bounds) - lpdf(samples, *others, *bounds)
            best = int(np.argmax(scores))
        return samples[best]

    def _mixture(self, sample: Sample, prior_weight: float) -> Mixture:
        """What `tpe.adaptive_parzen_normal` makes of the observations, by the same operations."""
        observed = sample.values
        if self.least is not None:
            observed = np.maximum(observed, self.least)
        if self.scale.log:
            observed = np.log(observed)
        count = len(observed)
        order = np.argsort(observed)  # not stable: of equal values the weights go as in hyperopt
        ordered = observed[order]
        if count < 2 or not np.isfinite(ordered[[0, -1]]).all():
            prior = self.prior_mu, self.prior_sigma
            return Mixture(*tpe.adaptive_parzen_normal(observed, prior_weight, *prior))
        place = ordered.searchsorted(self.prior_mu)
        mus, weights, sigmas = np.empty(count + 1), np.empty(count + 1), np.empty(count + 1)
        mus[:place], mus[place], mus[place + 1 :] = ordered[:place], self.prior_mu, ordered[place:]
        forgetting = sample.weights[order]
        weights[:place], weights[place] = forgetting[:place], prior_weight
        weights[place + 1 :] = forgetting[place:]
        weights /= weights.sum()
        gaps = mus[1:] - mus[:-1]
        sigmas[0], sigmas[-1] = gaps[0], gaps[-1]
        np.maximum(gaps[1:], gaps[:-1], out=sigmas[1:-1])
        np.maximum(sigmas, self.prior_sigma / min(100.0, 1.0 + len(mus)), out=sigmas)
        np.minimum(sigmas, self.prior_sigma, out=sigmas)
        sigmas[place] = self.prior_sigma
        return Mixture(weights, mus, sigmas)

    def _draw(self, request: Request, mixture: Mixture) -> Floats:
        """What `tpe.GMM1` and `tpe.LGMM1` draw."""
        rng, count = request.rng, request.candidates
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
class RandInt:
    """A number of a range; also the index of a `hp.choice`."""

    low: int
    high: int | None = None

    def choose(self, request: Request, below: Sample, above: Sample, p: Any) -> Any:
        """The best candidate, without the offset of a range that begins elsewhere than at 0."""
        del p
        size = self.low if self.high is None else self.high - self.low
        offset = 0 if self.high is None else self.low

        def posterior(sample: Sample) -> Floats:
            counts = bincount(sample.values, offset, sample.weights, size) + request.prior_weight
            probabilities: Floats = counts / np.sum(counts)
            return probabilities

        return _best_category(request, posterior(below), posterior(above))


@dataclass(frozen=True)
class Categorical:
    """The index of a `hp.pchoice`."""

    def choose(self, request: Request, below: Sample, above: Sample, p: Any) -> Any:
        """The best candidate."""

        def posterior(sample: Sample) -> Floats:
            counts = bincount(sample.values, p=p, weights=sample.weights)
            probabilities: Floats = tpe.tpe_cat_pseudocounts(
                counts, request.prior_weight, p, request.candidates
            )
            return probabilities

        return _best_category(request, posterior(below), posterior(above))


def _best_category(request: Request, below: Floats, above: Floats) -> Any:
    samples = categorical(below, request.rng, request.candidates)
    return samples[np.argmax(np.log(below[samples]) - np.log(above[samples]))]
