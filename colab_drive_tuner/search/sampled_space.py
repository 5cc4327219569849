"""The objective's argument: a search space filled with a trial's sampled values.

hyperopt evaluates the space's graph node by node for each trial, which takes longer than all other
work per trial. Nearly all spaces are dicts, lists and choices of parameters; these are compiled to
nested functions once. hyperopt evaluates any other space.
"""

from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import Any

import numpy as np
from hyperopt.base import Ctrl
from hyperopt.pyll import dfs
from hyperopt.pyll.base import Apply, Literal, scope

from colab_drive_tuner.search.algorithms.space_program import PURE_FUNCTIONS, UnsupportedError

_NUMBERS = ("literal", "hyperopt_param", "float", "int")
"""Nodes that may be evaluated twice with the same result; most of them wrap a parameter."""


SampledSpace = Callable[[Mapping[str, Any]], Any]
"""Maps parameter values to the value of a part of a space; raises if the part has none."""


def sampled_space(expression: Apply) -> SampledSpace:
    """Compile a space; raise `UnsupportedError` if hyperopt has to evaluate it."""
    users: dict[Apply, int] = {}
    for node in dfs(expression):
        if node.name == "hyperopt_param":
            continue  # its distribution does not matter here
        for argument in node.inputs():
            users[argument] = users.get(argument, 0) + 1
            # hyperopt shares one object between the two places, and the objective may change it.
            if users[argument] > 1 and argument.name not in _NUMBERS:
                raise UnsupportedError(f"{argument.name}, which occurs in two places")
    return _part(expression)


def _part(node: Apply) -> SampledSpace:
    if node.name == "hyperopt_param":
        return itemgetter(node.arg["label"].obj)
    if isinstance(node, Literal):
        constant = node.obj
        if constant is Ctrl:  # hyperopt replaces it by the trial's own
            raise UnsupportedError("Ctrl")
        return lambda _: constant
    if node.name == "switch":
        return _choice(*map(_part, node.pos_args))
    if node.name not in PURE_FUNCTIONS:
        raise UnsupportedError(node.name)
    function, arguments = scope._impls[node.name], list(map(_part, node.pos_args))
    named = {name: _part(argument) for name, argument in node.named_args}
    return lambda sampled: function(
        *[argument(sampled) for argument in arguments],
        **{name: argument(sampled) for name, argument in named.items()},
    )


def _choice(index_of: SampledSpace, *options: SampledSpace) -> SampledSpace:
    def chosen(sampled: Mapping[str, Any]) -> Any:
        index = index_of(sampled)
        if not isinstance(index, int | np.integer) or index < 0:
            raise TypeError(f"{index!r:.60} chooses no option")
        return options[int(index)](sampled)

    return chosen
