"""The graph of a search space as a list of calls, ordered once and not for each suggestion.

hyperopt evaluates the graph anew for each trial, for many trials side by side. One row is enough
here: the trial's number goes through the graph unread, so 0 stands for it. What depends on
constants alone is computed once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hyperopt.base import Domain
from hyperopt.pyll.base import Apply, Literal, scope

_BETWEEN = {
    *("array_union", "asarray", "getitem", "idxs_map", "idxs_take", "len", "pos_args", "repeat"),
    *("vchoice_merge", "vchoice_split"),
}
"""Nodes that hyperopt's vectorizing puts between parameters."""
PURE = {
    *("add", "asarray", "cos", "dict", "eq", "exp", "float", "floordiv", "ge", "getitem", "gt"),
    *("int", "le", "len", "list", "log", "lt", "max", "maximum", "min", "minimum", "mul", "neg"),
    *("pos_args", "pow", "sin", "sqrt", "sub", "sum", "tan", "truediv"),
}
"""Functions that depend on nothing but their arguments, and change nothing."""


class UnknownNodeError(Exception):
    """The space has a part that only hyperopt itself can evaluate."""


@dataclass(frozen=True)
class Call:
    """A node, and what computes it."""

    node: Apply
    function: Callable[..., Any]

    def value(self, values: dict[Apply, Any]) -> Any:
        """Its value, given those of the nodes that it takes."""
        return self.function(
            *[values[arg] for arg in self.node.pos_args],
            **{name: values[arg] for name, arg in self.node.named_args},
        )


class Program:
    """Calls in the order in which they were added, and the values of the nodes before them.

    Args:
        new_ids: The node of the new trials' numbers.
    """

    def __init__(self, new_ids: Apply) -> None:
        self.constants: dict[Apply, Any] = {new_ids: [0]}
        self.steps: list[Any] = []

    def add(self, node: Apply) -> None:
        """Add a node between parameters; raises `UnknownNodeError` for any other one."""
        if isinstance(node, Literal):
            self.constants.setdefault(node, node.obj)
            return
        if node.name not in _BETWEEN:
            raise UnknownNodeError(node.name)
        if node.name == "idxs_map" and node.pos_args[1].obj not in PURE:
            raise UnknownNodeError(node.pos_args[1].obj)
        call = Call(node, scope._impls[node.name])
        if all(arg in self.constants for arg in node.inputs()):
            self.constants[node] = call.value(self.constants)
        else:
            self.steps.append(call)


def evaluation_order(top: Apply, domain: Domain) -> list[Apply]:
    """All nodes in the order in which `pyll.rec_eval` evaluates them.

    All parameters draw from one generator, so the order decides over the values.
    """
    given = {domain.s_new_ids, domain.s_rng}
    done: set[Apply] = set()
    order = []
    todo = [top]
    while todo:
        node = todo.pop()
        if node in done or node in given:
            continue
        if node.name == "switch":  # evaluated in parts, as its condition has it
            raise UnknownNodeError(node.name)
        waiting = [arg for arg in node.inputs() if arg not in done and arg not in given]
        if waiting:
            todo += [node, *waiting]
        else:
            done.add(node)
            order.append(node)
    return order
