"""The suggest function, and the algorithms of hyperopt that it can stand in for."""

import logging
import math
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import hyperopt
import numpy as np
from hyperopt import anneal, mix, rand, tpe
from hyperopt.base import Domain, Trials

from colab_drive_tuner.search.tpe.annealing import FastAnneal
from colab_drive_tuner.search.tpe.observations import Observations, UnusualHistoryError
from colab_drive_tuner.search.tpe.parameters import Request
from colab_drive_tuner.search.tpe.program import UnknownNodeError
from colab_drive_tuner.search.tpe.random_search import FastRand
from colab_drive_tuner.search.tpe.space import CompiledSpace

Algorithm = Callable[..., Any]

_KNOWN_VERSION = "0.3.0"
"""The hyperopt whose TPE this is; any other one runs its own."""
_SETTINGS = {"prior_weight", "n_startup_jobs", "n_EI_candidates", "gamma", "verbose"}
_logger = logging.getLogger("hyperopt.tpe")
_own_logger = logging.getLogger(__name__)


def fast_algorithm(algo: Algorithm) -> Algorithm:
    """A faster function with the same suggestions as `algo`, or `algo` itself.

    Args:
        algo: A suggest function of hyperopt. `rand.suggest`, `tpe.suggest` and `anneal.suggest`
            are made faster, also in a `functools.partial` with their settings and in a
            `partial(mix.suggest, p_suggest=[...])`.

    Returns:
        A function that takes what `algo` takes (`new_ids, domain, trials, seed`). It remembers
        what it has seen of a search, so each search should have one of its own.
    """
    if hyperopt.__version__ != _KNOWN_VERSION:
        return algo
    if algo is rand.suggest:
        return FastRand()
    if algo is tpe.suggest:
        return FastTpe()
    if algo is anneal.suggest:
        return FastAnneal()
    if isinstance(algo, partial) and not algo.args:
        if algo.func is tpe.suggest and algo.keywords.keys() <= _SETTINGS:
            return FastTpe(**algo.keywords)
        if algo.func is anneal.suggest and algo.keywords.keys() <= {"avg_best_idx", "shrink_coef"}:
            return FastAnneal(**algo.keywords)
        if algo.func is mix.suggest and isinstance(algo.keywords.get("p_suggest"), list | tuple):
            mixed = [(share, fast_algorithm(one)) for share, one in algo.keywords["p_suggest"]]
            return partial(mix.suggest, **{**algo.keywords, "p_suggest": mixed})
    return algo


class FastTpe:
    """`tpe.suggest` with these settings; keeps the compiled space and the observations."""

    def __init__(self, **settings: Any) -> None:
        self._settings = settings
        self._prior_weight = settings.get("prior_weight", tpe._default_prior_weight)
        self._startup = settings.get("n_startup_jobs", tpe._default_n_startup_jobs)
        self._candidates = settings.get("n_EI_candidates", tpe._default_n_EI_candidates)
        self._gamma = settings.get("gamma", tpe._default_gamma)
        self._verbose = settings.get("verbose", True)
        self._lock = threading.Lock()
        self._domain: Domain | None = None
        self._space: CompiledSpace | None = None
        self._observations = Observations([])

    def __call__(self, new_ids: list[int], domain: Domain, trials: Trials, seed: Any) -> Any:
        """What `tpe.suggest` returns for the same arguments."""
        with self._lock:
            try:
                if domain is not self._domain:
                    self._compile(domain)
                if self._space is not None and self._usual_settings:
                    self._observations.update(trials.trials)
                    return self._suggest(self._space, new_ids, domain, trials, seed)
            except UnusualHistoryError as error:
                self._space = None  # for good: to find it out again costs more than is won
                _own_logger.debug("left to hyperopt's own TPE: %s", error)
        return tpe.suggest(new_ids, domain, trials, seed, **self._settings)

    def _compile(self, domain: Domain) -> None:
        self._domain = None  # an interrupt leaves it to be done again
        try:
            self._space = CompiledSpace(domain)
        except UnknownNodeError as error:
            self._space = None
            _own_logger.debug("left to hyperopt's own TPE: %s", error)
        self._observations, self._domain = Observations(list(domain.params)), domain

    def _suggest(
        self, space: CompiledSpace, new_ids: list[int], domain: Domain, trials: Trials, seed: Any
    ) -> Any:
        observations = self._observations
        if self._verbose and _logger.isEnabledFor(logging.INFO):
            _logger.info("TPE using %s", observations.summary(len(trials)))
        if observations.count < self._startup:
            return rand.suggest(new_ids, domain, trials, seed)
        split = observations.split(self._gamma)
        rng = np.random.default_rng(seed)
        chosen = space.suggest(Request(rng, float(self._prior_weight), self._candidates), split)
        tid = new_ids[0]
        misc = {
            "tid": tid,
            "cmd": domain.cmd,
            "workdir": domain.workdir,
            "idxs": {label: [tid] if label in chosen else [] for label in space.labels},
            "vals": {label: [chosen[label]] if label in chosen else [] for label in space.labels},
        }
        return trials.new_trial_docs([tid], [None], [domain.new_result()], [misc])

    @property
    def _usual_settings(self) -> bool:
        """Those for which the bounds of scores hold, and hyperopt raises nothing."""
        numbers = self._prior_weight, self._gamma, self._startup
        return (
            all(isinstance(number, int | float) and math.isfinite(number) for number in numbers)
            and self._prior_weight > 0
            and type(self._candidates) is int
            and self._candidates > 0
        )
