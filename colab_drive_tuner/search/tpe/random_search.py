"""hyperopt's random search without evaluating the graph of the space anew for each suggestion."""

import logging
import threading
from typing import Any

import numpy as np
from hyperopt import rand
from hyperopt.base import Domain, Trials
from hyperopt.pyll.base import scope
from hyperopt.pyll.stochastic import implicit_stochastic_symbols

from colab_drive_tuner.search.tpe.program import Call, Program, UnknownNodeError, evaluation_order

_logger = logging.getLogger(__name__)


class FastRand:
    """`rand.suggest`; keeps the compiled space."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._domain: Domain | None = None
        self._space: RandomSpace | None = None

    def __call__(self, new_ids: list[int], domain: Domain, trials: Trials, seed: Any) -> Any:
        """What `rand.suggest` returns for the same arguments."""
        space = self._space_of(domain)
        usual = isinstance(seed, int | np.integer) and all(type(tid) is int for tid in new_ids)
        if space is None or not usual:
            return rand.suggest(new_ids, domain, trials, seed)
        rng = np.random.default_rng(seed)
        documents = []
        for tid in new_ids:
            try:
                values = space.draw(rng)
            except Exception:  # noqa: BLE001 - hyperopt raises it, too, and prints where it arose
                return rand.suggest(new_ids, domain, trials, seed)
            (place,) = np.asarray([tid])  # the very type that hyperopt's `idxs` have
            misc = {
                "tid": tid,
                "cmd": domain.cmd,
                "workdir": domain.workdir,
                "idxs": {label: [place] if values[label] else [] for label in values},
                "vals": values,
            }
            documents += trials.new_trial_docs([tid], [None], [domain.new_result()], [misc])
        return documents

    def _space_of(self, domain: Domain) -> "RandomSpace | None":
        with self._lock:
            if domain is not self._domain:
                self._domain = None  # an interrupt leaves it to be done again
                try:
                    self._space = RandomSpace(domain)
                except UnknownNodeError as error:
                    self._space = None
                    _logger.debug("left to hyperopt's own random search: %s", error)
                self._domain = domain
            return self._space


class RandomSpace:
    """The draws for a space's parameters, in hyperopt's order and by its functions."""

    def __init__(self, domain: Domain) -> None:
        if not all(isinstance(label, str) for label in domain.params):
            raise UnknownNodeError("a label that is not text")
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
        """Each parameter's value in a list; an empty list where the parameter is not active."""
        values = dict(self._program.constants)
        values[self._rng] = rng
        for call in self._program.steps:
            values[call.node] = call.value(values)
        return {label: list(values[node]) for label, node in self._values.items()}
