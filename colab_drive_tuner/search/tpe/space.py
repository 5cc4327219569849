"""A search space as a short program: hyperopt's posterior graph, compiled once.

hyperopt builds a graph of some 30 nodes for each parameter and evaluates it anew for each
suggestion, for all candidates side by side. All candidates of a parameter become the best one
before anything depends on them (`broadcast_best`), so one row is enough for whatever lies between
the parameters: which of them a choice makes active.
"""

import inspect
from dataclasses import dataclass
from typing import Any

import numpy as np
from hyperopt import pyll, tpe
from hyperopt.base import Domain
from hyperopt.pyll.base import Apply, Literal

from colab_drive_tuner.search.tpe.observations import Split
from colab_drive_tuner.search.tpe.parameters import (
    Categorical,
    Continuous,
    Parameter,
    RandInt,
    Request,
)
from colab_drive_tuner.search.tpe.program import Call, Program, UnknownNodeError, evaluation_order

_NARROW = 1e-8
"""hyperopt rounds sigmas up to 1e-12 in some places only; theirs are a hundredth of the prior's."""


@dataclass(frozen=True)
class _Choose:
    """All nodes of one parameter: `values[node]` are its best candidate, once per active row."""

    node: Apply
    label: str
    parameter: Parameter
    size: Apply
    p: Apply | None


class CompiledSpace:
    """The parameters of a space in the order in which hyperopt draws for them."""

    def __init__(self, domain: Domain) -> None:
        if not all(isinstance(label, str) for label in domain.params):
            raise UnknownNodeError("a label that is not text")
        self.labels = sorted(domain.params)  # as the documents have them
        # The settings enter the graph as constants, which the program takes as arguments.
        _, _, (idxs, vals) = tpe.build_posterior_wrapper(domain, 1.0, 0.25)
        self._offsets = _offsets(domain)
        chosen = {vals[label]: label for label in self.labels}
        if len(chosen) != len(self.labels):
            raise UnknownNodeError("two labels of one parameter")
        steps: dict[Apply, _Choose] = {}
        for node, label in chosen.items():
            step = _choose(node, label, domain.params[label])
            steps[node.pos_args[0]] = step  # its draw is when the generator is used
        wanted = _wanted([*idxs.values(), *vals.values()], chosen, steps)
        self._program = Program(domain.s_new_ids)
        for node in evaluation_order(pyll.as_apply((idxs, vals)), domain):
            if node in steps:
                self._program.steps.append(steps[node])
            elif node in wanted and node not in chosen:
                self._program.add(node)

    def suggest(self, request: Request, split: Split) -> dict[str, Any]:
        """The active parameters' new values, each the best of its candidates."""
        values = dict(self._program.constants)
        chosen = {}
        for step in self._program.steps:
            node = step.node
            if isinstance(step, Call):
                values[node] = step.value(values)
            elif values[step.size] > 0:
                p = None if step.p is None else values[step.p]
                below, above = split.of(step.label)
                value = step.parameter.choose(request, below, above, p)
                values[node], chosen[step.label] = [value], value
            else:
                values[node] = []
        # As hyperopt does: choices between branches have seen the value without its offset.
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
        raise UnknownNodeError(node.name)
    draw = node.pos_args[0]
    named = dict(draw.named_args)
    try:
        # The same call that hyperopt makes, so that defaults and names are its own.
        sampler = inspect.signature(tpe.adaptive_parzen_samplers[param.name])
        bound = sampler.bind(
            None,
            None,
            *param.pos_args,
            **{name: arg for name, arg in param.named_args if name not in ("rng", "size")},
        )
    except (KeyError, TypeError) as error:
        raise UnknownNodeError(param.name) from error
    given = {
        name: arg for name, arg in bound.arguments.items() if name not in ("obs", "prior_weight")
    }
    if param.name == "categorical":
        # The probabilities as vectorized, not as in the space.
        _counts, _prior_weight, p, _size = draw.pos_args[0].pos_args  # of tpe_cat_pseudocounts
        return _Choose(node, label, Categorical(), named["size"], p)
    numbers = {}
    for name, arg in given.items():
        if not isinstance(arg, Literal) or not _is_number(arg.obj):
            raise UnknownNodeError(f"{param.name}({name})")
        numbers[name] = arg.obj
    if param.name == "randint":
        return _Choose(node, label, RandInt(**numbers), named["size"], None)
    continuous = Continuous.of(param.name, **numbers)
    if continuous.prior_sigma < _NARROW:  # also where low is not below high
        raise UnknownNodeError(f"the width of {label}")
    return _Choose(node, label, continuous, named["size"], None)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and np.isfinite(value)


def _wanted(ends: list[Apply], chosen: dict[Apply, str], steps: dict[Apply, _Choose]) -> set[Apply]:
    """The nodes that the ends depend on, except those within a parameter."""
    wanted: set[Apply] = set()
    todo = list(ends)
    while todo:
        node = todo.pop()
        if node in wanted:
            continue
        wanted.add(node)
        if node in chosen:
            step = steps[node.pos_args[0]]
            todo += [step.size] if step.p is None else [step.size, step.p]
        else:
            todo += node.inputs()
    return wanted
