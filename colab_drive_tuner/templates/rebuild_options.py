"""Re-creation, for every trial, of objects among the options of a choice.

`{{choice([Dropout(0.5), Activation("linear")])}}` creates its layers once, when the space is built.
A layer used by several trials would carry weights and random state from one to the next, and a
search resumed in another process would give other results. So each call evaluates the template
again and takes the new objects at the positions of the sampled ones.
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
    """Return `values` with newly created objects in place of those from the space."""
    result = dict(values)
    for label, value in values.items():
        if label in expressions and not _is_stateless(value):
            old, new = _objects(space[label]), _objects(expressions[label]())
            if len(old) == len(new):
                result[label] = _replace(value, {id(a): b for a, b in zip(old, new, strict=True)})
    return result


def _is_stateless(value: Any) -> bool:
    import numpy as np

    if isinstance(value, dict):
        return all(map(_is_stateless, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_is_stateless, value))
    return isinstance(value, (*_STATELESS, np.generic))


def _objects(expression: Any) -> list[Any]:
    """Return the objects in a hyperopt expression, in an order given by its structure alone."""
    from hyperopt.pyll import Literal, dfs

    return [node.obj for node in dfs(expression) if isinstance(node, Literal)]


def _replace(value: Any, replacements: Mapping[int, Any]) -> Any:
    if _is_stateless(value):
        return value
    if id(value) in replacements:
        return replacements[id(value)]
    if isinstance(value, dict):
        return {key: _replace(part, replacements) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_replace(part, replacements) for part in value)
    return value
