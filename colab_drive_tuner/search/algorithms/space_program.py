"""Search space graphs compiled to a list of calls, so that nothing is ordered per suggestion.

hyperopt orders and evaluates the graph for every trial, with one row per trial. Here one row is
enough, and 0 stands for the trial's number, which no node reads. Nodes that depend on constants
only are computed once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hyperopt.base import Domain
from hyperopt.pyll.base import Apply, Literal, scope

from colab_drive_tuner.search.spec.space_values import PURE_FUNCTIONS

_CONNECTING_NODES = {
    *("array_union", "asarray", "getitem", "idxs_map", "idxs_take", "len", "pos_args", "repeat"),
    *("vchoice_merge", "vchoice_split"),
}
"""Nodes that hyperopt's vectorization inserts between parameters."""


class UnsupportedError(Exception):
    """The space, a trial or a setting holds something that only hyperopt's own code supports."""


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
    """Calls in order of evaluation, and the values of constant nodes.

    Args:
        new_ids: The node that stands for the numbers of the new trials.
    """

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
