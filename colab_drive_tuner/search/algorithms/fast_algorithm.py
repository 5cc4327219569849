"""`fast_algorithm`: hyperopt's suggest functions on a compiled space and cached observations."""

import logging
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import hyperopt
import numpy as np
from hyperopt import anneal, mix, rand, tpe
from hyperopt.algobase import SuggestAlgo
from hyperopt.base import Domain, Trials
from hyperopt.pyll.base import scope
from hyperopt.pyll.stochastic import implicit_stochastic_symbols
from numpy.typing import NDArray

from colab_drive_tuner.search.algorithms.observations import Observations, UnsupportedError
from colab_drive_tuner.search.algorithms.space_program import (
    Call,
    Program,
    TpeSpace,
    evaluation_order,
)
from colab_drive_tuner.search.algorithms.tpe_parameters import SuggestOptions

Algorithm = Callable[..., Any]

_SUPPORTED_VERSION = "0.3.0"
"""The version of hyperopt that is reproduced; any other version runs its own algorithms."""
_TPE_SETTINGS = ("prior_weight", "n_startup_jobs", "n_EI_candidates", "gamma", "verbose")
_logger = logging.getLogger(__name__)


def fast_algorithm(algo: Algorithm, domain: Domain) -> Algorithm:
    """Return a faster function with the same suggestions for `domain` as `algo`, or `algo` itself.

    Supported are `rand.suggest`, `tpe.suggest` and `anneal.suggest`, also in a `functools.partial`
    with their settings or in a `partial(mix.suggest, p_suggest=[...])`. The function caches what it
    has seen of a search, so each search needs its own.
    """
    if hyperopt.__version__ != _SUPPORTED_VERSION:
        return algo
    function, settings = algo, dict[str, Any]()
    if isinstance(algo, partial) and not algo.args:
        function, settings = algo.func, algo.keywords
    if function is mix.suggest and isinstance(settings.get("p_suggest"), list | tuple):
        mixed = [(share, fast_algorithm(one, domain)) for share, one in settings["p_suggest"]]
        return partial(mix.suggest, **{**settings, "p_suggest": mixed})
    try:
        if function is rand.suggest and not settings:
            return _with_fallback(RandomSearch(domain), algo)
        if function is tpe.suggest and settings.keys() <= {*_TPE_SETTINGS}:
            return _with_fallback(Tpe(domain, **settings), algo)
        if function is anneal.suggest and settings.keys() <= {"avg_best_idx", "shrink_coef"}:
            return _with_fallback(Annealing(domain, settings), algo)
    except UnsupportedError as error:
        _logger.debug("left to hyperopt's own algorithm: %s", error)
    return algo


def _with_fallback(fast: Algorithm, algo: Algorithm) -> Algorithm:
    """Return a suggest function that leaves to hyperopt's `algo` what `fast` does not support.

    `fast` returns None for such a call, and raises `UnsupportedError` if `algo` has to make all
    later suggestions too: checking again would cost more than it gains.
    """
    supported = True

    def suggest(new_ids: list[int], domain: Domain, trials: Trials, seed: Any) -> Any:
        nonlocal supported
        suggested = None
        if supported:
            try:
                suggested = fast(new_ids, trials, seed)
            except UnsupportedError as error:
                supported = False
                _logger.debug("left to hyperopt's own algorithm: %s", error)
        return algo(new_ids, domain, trials, seed) if suggested is None else suggested

    return suggest


def _document(
    domain: Domain, trials: Trials, tid: int, index: Any, values: dict[str, list[Any]]
) -> Any:
    """Return a list of one new trial, as hyperopt makes it; `index` is its entry in `idxs`."""
    misc = {
        "tid": tid,
        "cmd": domain.cmd,
        "workdir": domain.workdir,
        "idxs": {label: [index] if given else [] for label, given in values.items()},
        "vals": values,
    }
    return trials.new_trial_docs([tid], [None], [domain.new_result()], [misc])


class RandomSearch:
    """`rand.suggest`: draws a space's parameters in hyperopt's order and with its functions."""

    def __init__(self, domain: Domain) -> None:
        self._domain = domain
        self._program = Program(domain.s_new_ids)
        top = domain.s_idxs_vals
        ends = {top, *top.pos_args}
        for node in evaluation_order(top, domain):
            if node.name in implicit_stochastic_symbols:
                self._program.steps.append(Call(node, scope._impls[node.name]))
            elif node not in ends:
                self._program.add(node)
        _, values = top.pos_args
        self._values = dict(values.named_args)

    def __call__(self, new_ids: list[int], trials: Trials, seed: Any) -> Any:
        """Return the suggestions; None if hyperopt has to make them."""
        if not isinstance(seed, int | np.integer) or any(type(tid) is not int for tid in new_ids):
            return None
        rng = np.random.default_rng(seed)
        documents = []
        for tid in new_ids:
            try:
                values = self._draw(rng)
            except Exception:  # noqa: BLE001 - hyperopt raises it too, and prints the traceback
                return None
            (numpy_tid,) = np.asarray([tid])  # the type of the entries in hyperopt's `idxs`
            documents += _document(self._domain, trials, tid, numpy_tid, values)
        return documents

    def _draw(self, rng: np.random.Generator) -> dict[str, list[Any]]:
        """Return each parameter's value in a list, which is empty for an inactive parameter."""
        values = self._program.constants | {self._domain.s_rng: rng}
        for call in self._program.steps:
            values[call.node] = call.value(values)
        return {label: list(values[node]) for label, node in self._values.items()}


class Tpe:
    """`tpe.suggest` with these settings."""

    def __init__(
        self,
        domain: Domain,
        prior_weight: float = tpe._default_prior_weight,
        n_startup_jobs: int = tpe._default_n_startup_jobs,
        n_EI_candidates: int = tpe._default_n_EI_candidates,  # noqa: N803 - hyperopt's name
        gamma: float = tpe._default_gamma,
        verbose: bool = True,  # noqa: ARG002 - hyperopt's, for its log
    ) -> None:
        numbers = prior_weight, gamma, n_startup_jobs
        finite = all(isinstance(one, int | float) and math.isfinite(one) for one in numbers)
        # With others, the error bounds of scores do not hold, or hyperopt raises.
        if not (
            finite and prior_weight > 0 and type(n_EI_candidates) is int and n_EI_candidates > 0
        ):
            raise UnsupportedError("the settings")
        self._domain, self._space = domain, TpeSpace(domain)
        self._observations = Observations(list(domain.params))
        self._startup, self._gamma = n_startup_jobs, gamma
        self._prior_weight, self._candidates = float(prior_weight), n_EI_candidates

    def __call__(self, new_ids: list[int], trials: Trials, seed: Any) -> Any:
        """Return the suggestion."""
        observations = self._observations
        observations.update(trials.trials)
        if observations.count < self._startup:
            return rand.suggest(new_ids, self._domain, trials, seed)
        options = SuggestOptions(np.random.default_rng(seed), self._prior_weight, self._candidates)
        chosen = self._space.suggest(options, observations.split(self._gamma))
        tid, labels = new_ids[0], self._space.labels
        values = {label: [chosen[label]] if label in chosen else [] for label in labels}
        return _document(self._domain, trials, tid, tid, values)


class Annealing:
    """`anneal.suggest` with these settings."""

    def __init__(self, domain: Domain, settings: dict[str, float]) -> None:
        self._domain, self._settings = domain, settings
        self._observations = Observations(list(domain.params))

    def __call__(self, new_ids: list[int], trials: Trials, seed: Any) -> Any:
        """Return the suggestion; None for several, which hyperopt has to make."""
        if len(new_ids) != 1:
            return None
        self._observations.update(trials.trials)
        algo = _AnnealingAlgo(self._domain, trials, self._observations, seed, **self._settings)
        return algo(new_ids[0])


class _AnnealingAlgo(anneal.AnnealingAlgo):  # type: ignore[misc]  # hyperopt is untyped
    """hyperopt's algorithm for one new trial, on cached observations."""

    def __init__(
        self,
        domain: Domain,
        trials: Trials,
        observations: Observations,
        seed: Any,
        avg_best_idx: float = 2.0,
        shrink_coef: float = 0.1,
    ) -> None:
        # Skip the constructor of AnnealingAlgo, which reads all trials.
        SuggestAlgo.__init__(self, domain, trials, seed=seed)
        self.avg_best_idx, self.shrink_coef = avg_best_idx, shrink_coef
        self._losses = observations.losses
        columns = {label: observations.column(label) for label in domain.params}
        self._rows = {label: rows for label, (rows, _) in columns.items()}
        self.node_vals = {label: values for label, (_, values) in columns.items()}
        self._best_rows: list[int] = []

    def choose_ltv(self, label: str, size: int) -> tuple[Any, Any, Any]:
        """Return loss, trial and value to draw the new value of `label` around, as hyperopt."""
        rows, values = self._rows[label], self.node_vals[label]
        if size == 1:
            # Prefer a trial that was chosen for another parameter, if it has this one.
            for row in self._best_rows:
                index = int(rows.searchsorted(row))
                if index < len(rows) and rows[index] == row:
                    return self._losses[row], row, values[index]
        ranks = self.rng.geometric(1 / self.avg_best_idx, size=size) - 1
        ranks = np.clip(ranks, 0, len(rows) - 1).astype("int32")
        # `np.argsort` is not stable, so it must sort the same array as hyperopt's call.
        order = np.argsort(self._losses[rows]) if size else np.empty(0, int)
        picks: NDArray[np.int64] = order[ranks]
        if size == 1:
            self._best_rows.append(int(rows[picks[0]]))
        return self._losses[rows[picks]], rows[picks], values[picks]
