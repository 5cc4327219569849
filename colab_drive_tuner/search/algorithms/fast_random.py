"""`FastRand`: hyperopt's random search on a compiled space."""

import logging
import threading
from typing import Any

import numpy as np
from hyperopt import rand
from hyperopt.base import Domain, Trials
from hyperopt.pyll.base import scope
from hyperopt.pyll.stochastic import implicit_stochastic_symbols

from colab_drive_tuner.search.algorithms.space_program import (
    Call,
    Program,
    UnsupportedNodeError,
    evaluation_order,
)

_logger = logging.getLogger(__name__)


class FastRand:
    """`rand.suggest`; caches the compiled space."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._domain: Domain | None = None
        self._space: RandomSpace | None = None

    def __call__(self, new_ids: list[int], domain: Domain, trials: Trials, seed: Any) -> Any:
        """Return what `rand.suggest` returns for the same arguments."""
        space = self._space_of(domain)
        supported = isinstance(seed, int | np.integer) and all(type(tid) is int for tid in new_ids)
        if space is None or not supported:
            return rand.suggest(new_ids, domain, trials, seed)
        rng = np.random.default_rng(seed)
        documents = []
        for tid in new_ids:
            try:
                values = space.draw(rng)
            except Exception:  # noqa: BLE001 - hyperopt raises it too, and prints the traceback
                return rand.suggest(new_ids, domain, trials, seed)
            (numpy_tid,) = np.asarray([tid])  # the type of the entries in hyperopt's `idxs`
            misc = {
                "tid": tid,
                "cmd": domain.cmd,
                "workdir": domain.workdir,
                "idxs": {label: [numpy_tid] if values[label] else [] for label in values},
                "vals": values,
            }
            documents += trials.new_trial_docs([tid], [None], [domain.new_result()], [misc])
        return documents

    def _space_of(self, domain: Domain) -> "RandomSpace | None":
        with self._lock:
            if domain is not self._domain:
                self._domain = None  # after an interrupt, the next call compiles again
                try:
                    self._space = RandomSpace(domain)
                except UnsupportedNodeError as error:
                    self._space = None
                    _logger.debug("left to hyperopt's own random search: %s", error)
                self._domain = domain
            return self._space


class RandomSpace:
    """Draws of a space's parameters, in hyperopt's order and with its functions."""

    def __init__(self, domain: Domain) -> None:
        if not all(isinstance(label, str) for label in domain.params):
            raise UnsupportedNodeError("a label that is not text")
        self._rng = domain.s_rng
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

    def draw(self, rng: np.random.Generator) -> dict[str, list[Any]]:
        """Return each parameter's value in a list, which is empty for an inactive parameter."""
        values = dict(self._program.constants)
        values[self._rng] = rng
        for call in self._program.steps:
            values[call.node] = call.value(values)
        return {label: list(values[node]) for label, node in self._values.items()}
