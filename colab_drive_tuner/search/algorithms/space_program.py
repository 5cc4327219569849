"""Search space graphs compiled to a list of calls, so that nothing is ordered per suggestion.

hyperopt orders and evaluates the graph for every trial, with one row per trial. Here one row is
enough, and 0 stands for the trial's number, which no node reads. Nodes that depend on constants
only are computed once.

TPE's posterior graph has about 30 nodes per parameter and one row per candidate. Before any other
node reads a parameter, all its candidates are replaced by the best one (`broadcast_best`), so a
single row is enough for the nodes between parameters, which determine the parameters that a choice
makes active.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from hyperopt import pyll, tpe
from hyperopt.base import Domain
from hyperopt.pyll.base import Apply, Literal, scope

from colab_drive_tuner.search.algorithms.observations import Split, UnsupportedError
from colab_drive_tuner.search.algorithms.tpe_parameters import (
    Continuous,
    Index,
    SuggestOptions,
)
from colab_drive_tuner.search.spec.space_values import PURE_FUNCTIONS

_CONNECTING_NODES = {
    *("array_union", "asarray", "getitem", "idxs_map", "idxs_take", "len", "pos_args", "repeat"),
    *("vchoice_merge", "vchoice_split"),
}
"""Nodes that hyperopt's vectorization inserts between parameters."""
_NARROW, _WIDE = 1e-8, 1e150
"""Priors with a sigma outside of this range are left to hyperopt. It raises sigmas to 1e-12 in some
places only, and a mixture's sigmas go down to a hundredth of the prior's; it squares sigmas."""


@dataclass(frozen=True)
class Call:
    """A node and the function that computes it."""

    node: Apply
    function: Callable[..., Any]

    def value(self, values: dict[Apply, Any]) -> Any:
        """Compute the node's value from the values of its arguments."""
        return self.function(
            *[values[arg] for arg in self.node.pos_args],
            **{name: values[arg] for name, arg in self.node.named_args},
        )


class Program:
    """Calls in order of evaluation, and the values of constant nodes."""

    def __init__(self, new_ids: Apply) -> None:
        self.constants: dict[Apply, Any] = {new_ids: [0]}
        self.steps: list[Any] = []

    def add(self, node: Apply) -> None:
        """Add a node that connects parameters; raise `UnsupportedError` for other nodes."""
        if isinstance(node, Literal):
            self.constants.setdefault(node, node.obj)
            return
        if node.name not in _CONNECTING_NODES:
            raise UnsupportedError(node.name)
        if node.name == "idxs_map" and node.pos_args[1].obj not in PURE_FUNCTIONS:
            raise UnsupportedError(node.pos_args[1].obj)
        call = Call(node, scope._impls[node.name])
        if all(arg in self.constants for arg in node.inputs()):
            self.constants[node] = call.value(self.constants)
        else:
            self.steps.append(call)


def evaluation_order(top: Apply, domain: Domain) -> list[Apply]:
    """Return all nodes in the order in which `pyll.rec_eval` evaluates them.

    All parameters draw from one generator, so the order determines the values.
    """
    given = {domain.s_new_ids, domain.s_rng}
    done: set[Apply] = set()
    order = []
    todo = [top]
    while todo:
        node = todo.pop()
        if node in done or node in given:
            continue
        if node.name == "switch":  # only the branch of its condition is evaluated
            raise UnsupportedError(node.name)
        waiting = [arg for arg in node.inputs() if arg not in done and arg not in given]
        if waiting:
            todo += [node, *waiting]
        else:
            done.add(node)
            order.append(node)
    return order


@dataclass(frozen=True)
class _Choose:
    """The choice of one parameter's value: `values[node]` holds it, or nothing if inactive."""

    node: Apply
    label: str
    parameter: Continuous | Index
    size: Apply
    p: Apply | None


class TpeSpace:
    """TPE's posterior graph of a space, compiled: parameters in the order of hyperopt's draws."""

    def __init__(self, domain: Domain) -> None:
        self.labels = sorted(domain.params)  # the order in the documents
        # 1.0 and 0.25 are placeholders: the real settings are arguments of `suggest`.
        _, _, (idxs, vals) = tpe.build_posterior_wrapper(domain, 1.0, 0.25)
        self._offsets = _offsets(domain)
        chosen = {vals[label]: label for label in self.labels}
        steps: dict[Apply, _Choose] = {}
        for node, label in chosen.items():
            step = _choose(node, label, domain.params[label])
            steps[node.pos_args[0]] = step  # this node, the draw, uses the generator
        required = _required([*idxs.values(), *vals.values()], chosen, steps)
        self._program = Program(domain.s_new_ids)
        for node in evaluation_order(pyll.as_apply((idxs, vals)), domain):
            if node in steps:
                self._program.steps.append(steps[node])
            elif node in required and node not in chosen:
                self._program.add(node)

    def suggest(self, options: SuggestOptions, split: Split) -> dict[str, Any]:
        """Return new values of the active parameters, each the best of its candidates."""
        values = dict(self._program.constants)
        chosen = {}
        for step in self._program.steps:
            node = step.node
            if isinstance(step, Call):
                values[node] = step.value(values)
            elif values[step.size] > 0:
                p = None if step.p is None else values[step.p]
                below, above = split.of(step.label)
                value = step.parameter.choose(options, below, above, p)
                values[node], chosen[step.label] = [value], value
            else:
                values[node] = []
        # As in hyperopt: choices between branches read the value without its offset.
        for label in chosen.keys() & self._offsets.keys():
            chosen[label] += self._offsets[label]
        return chosen


def _offsets(domain: Domain) -> dict[str, Any]:
    return {
        label: param.pos_args[0].obj
        for label, param in domain.params.items()
        if param.name == "randint" and len(param.pos_args) == 2
    }


def _choose(node: Apply, label: str, param: Apply) -> _Choose:
    if node.name != "broadcast_best":
        raise UnsupportedError(node.name)
    draw = node.pos_args[0]
    named = dict(draw.named_args)
    try:
        # hyperopt's own call, so that defaults and names agree.
        sampler = inspect.signature(tpe.adaptive_parzen_samplers[param.name])
        bound = sampler.bind(
            None,
            None,
            *param.pos_args,
            **{name: arg for name, arg in param.named_args if name not in ("rng", "size")},
        )
    except (KeyError, TypeError) as error:
        raise UnsupportedError(param.name) from error
    given = {
        name: arg for name, arg in bound.arguments.items() if name not in ("obs", "prior_weight")
    }
    if param.name == "categorical":
        # The vectorized probabilities, not those of the space.
        _counts, _prior_weight, p, _size = draw.pos_args[0].pos_args  # of tpe_cat_pseudocounts
        return _Choose(node, label, Index(), named["size"], p)
    numbers = {}
    for name, arg in given.items():
        if not isinstance(arg, Literal) or not _is_number(arg.obj):
            raise UnsupportedError(f"{param.name}({name})")
        numbers[name] = arg.obj
    if param.name == "randint":
        return _Choose(node, label, Index(**numbers), named["size"], None)
    continuous = Continuous.of(param.name, **numbers)
    if not _NARROW <= continuous.prior_sigma <= _WIDE:  # also if low >= high
        raise UnsupportedError(f"the width of {label}")
    return _Choose(node, label, continuous, named["size"], None)


def _is_number(value: Any) -> bool:
    kinds = int | float | np.integer | np.floating
    small = isinstance(value, kinds) and np.asarray(value).dtype != object  # fits 64 bits
    return small and bool(np.isfinite(value))


def _required(
    ends: list[Apply], chosen: dict[Apply, str], steps: dict[Apply, _Choose]
) -> set[Apply]:
    """Return the nodes that `ends` depend on, except those inside a parameter."""
    required: set[Apply] = set()
    todo = list(ends)
    while todo:
        node = todo.pop()
        if node in required:
            continue
        required.add(node)
        if node in chosen:
            step = steps[node.pos_args[0]]
            todo += [step.size] if step.p is None else [step.size, step.p]
        else:
            todo += node.inputs()
    return required
