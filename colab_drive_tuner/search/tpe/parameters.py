"""The choice of one parameter's value: candidates drawn from the better trials' values."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from hyperopt import tpe
from hyperopt.pyll.base import bincount
from hyperopt.pyll.stochastic import categorical

from colab_drive_tuner.search.tpe.observations import Floats, Observed
from colab_drive_tuner.search.tpe.scores import Mixture, clear_best


class Parameter(Protocol):
    """A kind of parameter."""

    def choose(
        self, rng: np.random.Generator, observed: Observed, prior_weight: float, count: int, p: Any
    ) -> Any:
        """The best of `count` candidates; `p` are the prior probabilities of a choice."""


@dataclass(frozen=True)
class Continuous:
    """A parameter whose posterior is a mixture of normals, of its value or its logarithm."""

    prior_mu: float
    prior_sigma: float
    low: float | None = None
    high: float | None = None
    q: float | None = None
    log: bool = False
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
        log = "log" in name
        least: float | None = tpe.EPS if name.startswith("qlog") else None
        if low is not None and high is not None:
            mu, sigma = 0.5 * (high + low), 1.0 * (high - low)
            if least is not None:
                least = float(np.maximum(least, np.exp(low)))
        return cls(mu, sigma, low, high, q, log, least)

    def choose(
        self, rng: np.random.Generator, observed: Observed, prior_weight: float, count: int, p: Any
    ) -> Any:
        """The candidate with the largest quotient of the densities below and above."""
        del p
        below = self._mixture(observed.below, prior_weight)
        draw = tpe.LGMM1 if self.log else tpe.GMM1
        samples = draw(*below, low=self.low, high=self.high, q=self.q, rng=rng, size=count)
        above = self._mixture(observed.above, prior_weight)
        best = clear_best(samples, below, above, self.low, self.high, self.q, log=self.log)
        if best is None:
            lpdf = tpe.LGMM1_lpdf if self.log else tpe.GMM1_lpdf
            bounds = {"low": self.low, "high": self.high, "q": self.q}
            scores = lpdf(samples, *below, **bounds) - lpdf(samples, *above, **bounds)
            best = int(np.argmax(scores))
        return samples[best]

    def _mixture(self, observed: Floats, prior_weight: float) -> Mixture:
        if self.least is not None:
            observed = np.maximum(observed, self.least)
        if self.log:
            observed = np.log(observed)
        return Mixture(
            *tpe.adaptive_parzen_normal(observed, prior_weight, self.prior_mu, self.prior_sigma)
        )


@dataclass(frozen=True)
class RandInt:
    """A number of a range; also the index of a `hp.choice`."""

    low: int
    high: int | None = None

    def choose(
        self, rng: np.random.Generator, observed: Observed, prior_weight: float, count: int, p: Any
    ) -> Any:
        """The best candidate, without the offset of a range that begins elsewhere than at 0."""
        del p
        size = self.low if self.high is None else self.high - self.low
        offset = 0 if self.high is None else self.low

        def posterior(values: Floats) -> Floats:
            weights = tpe.linear_forgetting_weights(len(values), tpe.DEFAULT_LF)
            counts = bincount(values, offset=offset, minlength=size, weights=weights) + prior_weight
            probabilities: Floats = counts / np.sum(counts)
            return probabilities

        return _best_category(rng, posterior(observed.below), posterior(observed.above), count)


@dataclass(frozen=True)
class Categorical:
    """The index of a `hp.pchoice`."""

    def choose(
        self, rng: np.random.Generator, observed: Observed, prior_weight: float, count: int, p: Any
    ) -> Any:
        """The best candidate."""

        def posterior(values: Floats) -> Floats:
            weights = tpe.linear_forgetting_weights(len(values), tpe.DEFAULT_LF)
            counts = bincount(values, p=p, weights=weights)
            probabilities: Floats = tpe.tpe_cat_pseudocounts(counts, prior_weight, p, count)
            return probabilities

        return _best_category(rng, posterior(observed.below), posterior(observed.above), count)


def _best_category(rng: np.random.Generator, below: Floats, above: Floats, count: int) -> Any:
    samples = categorical(below, rng, count)
    return samples[np.argmax(np.log(below[samples]) - np.log(above[samples]))]
