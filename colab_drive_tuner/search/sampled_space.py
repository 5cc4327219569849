"""A search space filled with a trial's sampled values: what the objective gets.

hyperopt evaluates the space's graph node by node for each trial, which takes longer than everything
else that is done for it. Nearly all spaces are dicts, lists and choices around their parameters;
these are turned into nested objects once. Any other one is left to hyperopt.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from hyperopt.base import Ctrl
from hyperopt.pyll import dfs
from hyperopt.pyll.base import Apply, Literal, scope

from colab_drive_tuner.search.tpe.program import PURE, UnknownNodeError

_NUMBERS = ("literal", "hyperopt_param", "float", "int")
"""Nodes of which a second evaluation is the first one: most of them stand around a parameter."""


class SampledSpace(Protocol):
    """A part of a space."""

    def value(self, sampled: Mapping[str, Any]) -> Any:
        """Its value, given those of the parameters; raises whatever where it has none."""


def sampled_space(expression: Apply) -> SampledSpace:
    """The space of `expression`; raises `UnknownNodeError` where hyperopt has to evaluate it."""
    users: dict[Apply, int] = {}
    for node in dfs(expression):
        if node.name == "hyperopt_param":
            continue  # how it is drawn does not matter any more
        for argument in node.inputs():
            users[argument] = users.get(argument, 0) + 1
            # hyperopt makes one object of what stands in two places; the objective may change it.
            if users[argument] > 1 and argument.name not in _NUMBERS:
                raise UnknownNodeError(f"{argument.name}, which stands in two places")
    return _part(expression)


def _part(node: Apply) -> SampledSpace:
    if node.name == "hyperopt_param":
        return _Parameter(node.arg["label"].obj)
    if isinstance(node, Literal):
        if node.obj is Ctrl:  # hyperopt puts the trial's own one there
            raise UnknownNodeError("Ctrl")
        return _Constant(node.obj)
    if node.name == "switch":
        index, *options = map(_part, node.pos_args)
        return _Choice(index, options)
    if node.name not in PURE:
        raise UnknownNodeError(node.name)
    named = {name: _part(argument) for name, argument in node.named_args}
    return _Function(scope._impls[node.name], list(map(_part, node.pos_args)), named)


@dataclass(frozen=True)
class _Constant:
    constant: Any

    def value(self, _sampled: Mapping[str, Any]) -> Any:
        return self.constant


@dataclass(frozen=True)
class _Parameter:
    label: str

    def value(self, sampled: Mapping[str, Any]) -> Any:
        return sampled[self.label]


@dataclass(frozen=True)
class _Choice:
    index: SampledSpace
    options: Sequence[SampledSpace]

    def value(self, sampled: Mapping[str, Any]) -> Any:
        index = self.index.value(sampled)
        if not isinstance(index, int | np.integer) or index < 0:
            raise TypeError(f"{index!r:.60} chooses no option")
        return self.options[int(index)].value(sampled)


@dataclass(frozen=True)
class _Function:
    function: Any
    arguments: Sequence[SampledSpace]
    named: Mapping[str, SampledSpace]

    def value(self, sampled: Mapping[str, Any]) -> Any:
        return self.function(
            *[argument.value(sampled) for argument in self.arguments],
            **{name: argument.value(sampled) for name, argument in self.named.items()},
        )
