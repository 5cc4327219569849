"""Options of a choice that are objects, made anew for every trial.

`{{choice([Dropout(0.5), Activation("linear")])}}` makes its layers once, when the space is built.
Used in trial after trial, a layer carries weights and random state from one to the next, and a
search that is resumed in another process would go other ways. So a call makes the template's
options again and takes those that stand where the sampled ones stood.
"""

from collections.abc import Callable, Mapping
from types import BuiltinFunctionType, FunctionType
from typing import Any

_STATELESS = (str, bytes, int, float, complex, type(None), type, FunctionType, BuiltinFunctionType)


def rebuild_options(
    values: Mapping[str, Any],
    space: Mapping[str, Any],
    expressions: Mapping[str, Callable[[], Any]],
) -> dict[str, Any]:
    """`values`, with new objects for those that came out of the space itself."""
    result = dict(values)
    for label, value in values.items():
        if label in expressions and not _is_stateless(value):
            old, new = _objects(space[label]), _objects(expressions[label]())
            if len(old) == len(new):
                result[label] = _exchange(value, {id(a): b for a, b in zip(old, new, strict=True)})
    return result


def _is_stateless(value: Any) -> bool:
    import numpy as np

    if isinstance(value, dict):
        return all(map(_is_stateless, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_is_stateless, value))
    return isinstance(value, (*_STATELESS, np.generic))


def _objects(expression: Any) -> list[Any]:
    """The objects in a hyperopt expression, in an order that depends on its shape alone."""
    from hyperopt.pyll import Literal, dfs

    return [node.obj for node in dfs(expression) if isinstance(node, Literal)]


def _exchange(value: Any, replacements: Mapping[int, Any]) -> Any:
    if _is_stateless(value):
        return value
    if id(value) in replacements:
        return replacements[id(value)]
    if isinstance(value, dict):
        return {key: _exchange(part, replacements) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_exchange(part, replacements) for part in value)
    return value
