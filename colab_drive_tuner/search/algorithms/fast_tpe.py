"""`FastTpe`: `tpe.suggest` with a compiled space and cached observations."""

import logging
import math
import threading
from typing import Any

import numpy as np
from hyperopt import rand, tpe
from hyperopt.base import Domain, Trials

from colab_drive_tuner.search.algorithms.observations import Observations, UnsupportedHistoryError
from colab_drive_tuner.search.algorithms.space_program import UnsupportedNodeError
from colab_drive_tuner.search.algorithms.tpe_parameters import SuggestOptions
from colab_drive_tuner.search.algorithms.tpe_space import CompiledSpace

TPE_SETTINGS = {"prior_weight", "n_startup_jobs", "n_EI_candidates", "gamma", "verbose"}
_logger = logging.getLogger("hyperopt.tpe")
_own_logger = logging.getLogger(__name__)


class FastTpe:
    """`tpe.suggest` with these settings; caches the compiled space and the observations."""

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
        """Return what `tpe.suggest` returns for the same arguments."""
        with self._lock:
            try:
                if domain is not self._domain:
                    self._compile(domain)
                if self._space is not None and self._supported_settings:
                    self._observations.update(trials.trials)
                    return self._suggest(self._space, new_ids, domain, trials, seed)
            except UnsupportedHistoryError as error:
                self._space = None  # permanently: checking again costs more than it gains
                _own_logger.debug("left to hyperopt's own TPE: %s", error)
        return tpe.suggest(new_ids, domain, trials, seed, **self._settings)

    def _compile(self, domain: Domain) -> None:
        self._domain = None  # after an interrupt, the next call compiles again
        try:
            self._space = CompiledSpace(domain)
        except UnsupportedNodeError as error:
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
        chosen = space.suggest(
            SuggestOptions(rng, float(self._prior_weight), self._candidates), split
        )
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
    def _supported_settings(self) -> bool:
        """Whether the error bounds of scores hold and hyperopt would not raise."""
        numbers = self._prior_weight, self._gamma, self._startup
        return (
            all(isinstance(number, int | float) and math.isfinite(number) for number in numbers)
            and self._prior_weight > 0
            and type(self._candidates) is int
            and self._candidates > 0
        )
