"""TPE's posterior graph of a search space, compiled once to a short program.

hyperopt builds about 30 nodes per parameter and evaluates them for every suggestion, with one row
per candidate. Before any other node reads a parameter, all its candidates are replaced by the best
one (`broadcast_best`), so a single row is enough for the nodes between parameters, which determine
the parameters that a choice makes active.
"""

import inspect
from dataclasses import dataclass
from typing import Any

import numpy as np
from hyperopt import pyll, tpe
from hyperopt.base import Domain
from hyperopt.pyll.base import Apply, Literal

from colab_drive_tuner.search.algorithms.observations import Split
from colab_drive_tuner.search.algorithms.space_program import (
    Call,
    Program,
    UnsupportedError,
    evaluation_order,
)
from colab_drive_tuner.search.algorithms.tpe_parameters import (
    Categorical,
    Continuous,
    Parameter,
    RandInt,
    SuggestOptions,
)

_NARROW, _WIDE = 1e-8, 1e150
"""Priors with a sigma outside of this range are left to hyperopt. It raises sigmas to 1e-12 in some
places only, and a mixture's sigmas go down to a hundredth of the prior's; it squares sigmas."""


@dataclass(frozen=True)
class _Choose:
    """The choice of one parameter's value: `values[node]` holds it, or nothing if inactive."""

    node: Apply
    label: str
    parameter: Parameter
    size: Apply
    p: Apply | None


class CompiledSpace:
    """The parameters of a space in the order in which hyperopt draws for them."""

    def __init__(self, domain: Domain) -> None:
        if not all(isinstance(label, str) for label in domain.params):
            raise UnsupportedError("a label that is not text")
        self.labels = sorted(domain.params)  # the order in the documents
        # 1.0 and 0.25 are placeholders: the real settings are arguments of `suggest`.
        _, _, (idxs, vals) = tpe.build_posterior_wrapper(domain, 1.0, 0.25)
        self._offsets = _offsets(domain)
        chosen = {vals[label]: label for label in self.labels}
        if len(chosen) != len(self.labels):
            raise UnsupportedError("two labels of one parameter")
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
        return _Choose(node, label, Categorical(), named["size"], p)
    numbers = {}
    for name, arg in given.items():
        if not isinstance(arg, Literal) or not _is_number(arg.obj):
            raise UnsupportedError(f"{param.name}({name})")
        numbers[name] = arg.obj
    if param.name == "randint":
        return _Choose(node, label, RandInt(**numbers), named["size"], None)
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
