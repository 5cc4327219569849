"""`FastAnneal`: hyperopt's annealing without reading all trials for each suggestion."""

import threading
from typing import Any

import numpy as np
from hyperopt import anneal
from hyperopt.algobase import SuggestAlgo
from hyperopt.base import Domain, Trials
from numpy.typing import NDArray

from colab_drive_tuner.search.algorithms.observations import Observations, UnsupportedHistoryError


class FastAnneal:
    """`anneal.suggest` with these settings; caches the observations."""

    def __init__(self, **settings: Any) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._domain: Domain | None = None
        self._observations: Observations | None = None

    def __call__(self, new_ids: list[int], domain: Domain, trials: Trials, seed: Any) -> Any:
        """Return what `anneal.suggest` returns for the same arguments."""
        with self._lock:
            if domain is not self._domain:
                supported = type(domain).loss is Domain.loss
                self._domain = domain
                self._observations = Observations(list(domain.params)) if supported else None
            if self._observations is not None and len(new_ids) == 1:
                try:
                    self._observations.update(trials.trials)
                    algo = _Annealing(domain, trials, self._observations, seed, **self._settings)
                    return algo(new_ids[0])
                except UnsupportedHistoryError:
                    self._observations = None
        return anneal.suggest(new_ids, domain, trials, seed, **self._settings)


class _Annealing(anneal.AnnealingAlgo):  # type: ignore[misc]  # hyperopt is untyped
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
        self._losses = observations.all_losses()
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
