"""The space of a model function: sampled once to find its errors, its objects new in every trial.

`{{choice([Dropout(0.5), Activation("linear")])}}` creates its layers once, when the space is built.
A layer used by several trials would carry weights and random state from one to the next, and a
search resumed in another process would give other results. So each call evaluates the template
again and takes the new objects at the positions of the sampled ones.
"""

import io
import math
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from numbers import Real
from types import BuiltinFunctionType, FunctionType
from typing import Any

from colab_drive_tuner.templates.function_source import suppress_warnings

_MAX_EXPONENT = math.log(sys.float_info.max)
_STATELESS = (str, bytes, int, float, complex, type(None), type, FunctionType, BuiltinFunctionType)


def try_sampling(expression: Any) -> None:
    """Sample a hyperopt expression once, to raise its errors before the search starts.

    hyperopt checks most arguments only when it samples. It also prints the failed expression, which
    is suppressed because the error names it.
    """
    import numpy as np
    from hyperopt.pyll import as_apply, dfs
    from hyperopt.pyll.stochastic import sample

    with suppress_warnings(), redirect_stdout(io.StringIO()):
        nodes = dfs(as_apply(expression))
        for node in nodes:
            if node.name == "hyperopt_param":
                _check_distribution(node.arg["obj"])
        sample(expression, np.random.default_rng(0))
        for node in nodes:
            if node.name == "hyperopt_param":
                drawn = sample(node, np.random.default_rng(0))
                if not np.isfinite(drawn):
                    raise ValueError(f"it draws {drawn}, which is not a finite number")


def _check_distribution(distribution: Any) -> None:
    """Raise for constants with which a search would fail, perhaps only after many trials."""
    from hyperopt.pyll import Apply

    given = {
        name: part.obj
        for name, part in distribution.arg.items()
        if isinstance(getattr(part, "obj", None), Real)
    }
    if distribution.name == "randint":
        for bound in given.values():
            if isinstance(bound, float):
                raise ValueError(f"randint takes integers, not {bound}")
        if isinstance(distribution.arg["high"], Apply):
            start, stop = given.get("low"), given.get("high")
        else:  # hyperopt's name for the only bound is `low`
            start, stop = 0, given.get("low")
        if start is not None and stop is not None and stop <= start:
            raise ValueError("there is nothing in it to choose")
    elif "loguniform" in distribution.name and given.get("high", 0) > _MAX_EXPONENT:
        raise ValueError(
            f"its bounds are logarithms, and exp({given['high']}) is too large for a float"
        )
    elif given.get("sigma", 1) <= 0:
        raise ValueError(f"sigma must be > 0, got {given['sigma']}")


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
