"""`fast_algorithm`: a faster function with the same suggestions, for each algorithm of hyperopt."""

import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import hyperopt
from hyperopt import anneal, mix, rand, tpe
from hyperopt.base import Domain, Trials

from colab_drive_tuner.search.algorithms.space_program import UnsupportedError
from colab_drive_tuner.search.algorithms.suggestions import Annealing, RandomSearch, Tpe

Algorithm = Callable[..., Any]

_SUPPORTED_VERSION = "0.3.0"
"""The version of hyperopt that is reproduced; any other version runs its own algorithms."""
_TPE_SETTINGS = ("prior_weight", "n_startup_jobs", "n_EI_candidates", "gamma", "verbose")
_logger = logging.getLogger(__name__)


def fast_algorithm(algo: Algorithm) -> Algorithm:
    """Return a faster function with the same suggestions as `algo`, or `algo` itself.

    Args:
        algo: A suggest function of hyperopt. Supported are `rand.suggest`, `tpe.suggest` and
            `anneal.suggest`, also in a `functools.partial` with their settings or in a
            `partial(mix.suggest, p_suggest=[...])`.

    Returns:
        A function with the arguments of `algo` (`new_ids, domain, trials, seed`). It caches what
        it has seen of a search, so each search needs its own.
    """
    if hyperopt.__version__ != _SUPPORTED_VERSION:
        return algo
    function, settings = algo, dict[str, Any]()
    if isinstance(algo, partial) and not algo.args:
        function, settings = algo.func, algo.keywords
    if function is rand.suggest and not settings:
        return _FastAlgorithm(algo, RandomSearch)
    if function is tpe.suggest and settings.keys() <= {*_TPE_SETTINGS}:
        return _FastAlgorithm(algo, partial(Tpe, **settings))
    if function is anneal.suggest and settings.keys() <= {"avg_best_idx", "shrink_coef"}:
        return _FastAlgorithm(algo, partial(Annealing, **settings))
    if function is mix.suggest and isinstance(settings.get("p_suggest"), list | tuple):
        mixed = [(share, fast_algorithm(one)) for share, one in settings["p_suggest"]]
        return partial(mix.suggest, **{**settings, "p_suggest": mixed})
    return algo


class _FastAlgorithm:
    """hyperopt's suggest function, compiled for the space of its first call.

    `compiled` makes the fast function for a space. That returns None for a single call, and raises
    `UnsupportedError` for all calls, that are left to hyperopt.
    """

    def __init__(self, algo: Algorithm, compiled: Callable[[Domain], Algorithm]) -> None:
        self._algo, self._compiled = algo, compiled
        self._lock = threading.Lock()
        self._domain: Domain | None = None
        self._fast: Algorithm | None = None

    def __call__(self, new_ids: list[int], domain: Domain, trials: Trials, seed: Any) -> Any:
        """Return what hyperopt's function returns for the same arguments."""
        with self._lock:
            try:
                if domain is not self._domain:
                    self._domain = None  # after an interrupt, the next call compiles again
                    self._fast = self._compiled(domain)
                    self._domain = domain
                suggested = self._fast(new_ids, trials, seed) if self._fast else None
            except UnsupportedError as error:
                # Permanently: checking again costs more than it gains.
                self._fast, self._domain, suggested = None, domain, None
                _logger.debug("left to hyperopt's own algorithm: %s", error)
        return self._algo(new_ids, domain, trials, seed) if suggested is None else suggested
