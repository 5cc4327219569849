"""Mapping of a data function's return value to a model function's arguments."""

import ast
import inspect
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any

from colab_drive_tuner.errors import ObjectiveError, TemplateError
from colab_drive_tuner.templates.function_source import read_source


def local_names(data: Callable[..., Any] | None) -> frozenset[str]:
    """Return the names local to a data function; empty if they are unknown."""
    function = None if data is None else inspect.unwrap(data)
    if not isinstance(function, FunctionType):
        return frozenset()
    code = function.__code__
    return frozenset((*code.co_varnames, *code.co_cellvars))


def returned_names(data: Callable[..., Any] | None) -> tuple[str, ...] | None:
    """Return the names in `return x, y` if every return of the function is that one; else None."""
    function = None if data is None else inspect.unwrap(data)
    if not isinstance(function, FunctionType):
        return None
    try:
        node = read_source(function).node
    except TemplateError:  # without source, only the order of the values is known
        return None
    names = {_names(part) for part in ast.walk(node) if isinstance(part, ast.Return)}
    return names.pop() if len(names) == 1 else None


def _names(statement: ast.Return) -> tuple[str, ...] | None:
    if not isinstance(statement.value, ast.Tuple):
        return None
    parts = statement.value.elts
    names = tuple(part.id for part in parts if isinstance(part, ast.Name))
    return names if len(names) == len(parts) else None


def bind_data(
    model: str,
    signature: inspect.Signature,
    result: Any,
    *,
    returned: tuple[str, ...] | None = None,
) -> tuple[Any, ...] | dict[str, Any]:
    """Return the arguments of a model function from the data function's result.

    A tuple provides one argument per element, None provides none, a dict one per name, any other
    value one. A model with a single parameter gets a tuple or dict as a whole if it does not fit
    otherwise. If `returned` (see `returned_names`) lists the model's parameters, in any order,
    arguments are passed by name, as in hyperas. Raises `ObjectiveError` if they do not fit.
    """
    values = () if result is None else result
    wanted = [
        parameter.name
        for parameter in signature.parameters.values()
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    if isinstance(values, Mapping):
        if _fits(signature, (), values):
            return dict(values)
        if _takes_one_value(signature, wanted) and not values.keys() & wanted:
            return (values,)
        raise ObjectiveError(
            f"The data function returned {_listed(list(values))}, which does not fit "
            f"{model}{signature}: return a dict with its parameters."
        )
    if not isinstance(values, tuple):
        values = tuple(values) if isinstance(values, list) and len(wanted) != 1 else (values,)
    if returned and len(returned) == len(values) and set(returned) == set(wanted):
        named = dict(zip(returned, values, strict=True))
        if _fits(signature, (), named):
            return named
    if not _fits(signature, values, {}):
        named = dict(zip(wanted, values, strict=False))
        if len(wanted) == len(values) and _fits(signature, (), named):
            return named  # some parameters are keyword-only
        if isinstance(result, tuple) and _takes_one_value(signature, wanted):
            return (result,)
        if result is None:
            raise ObjectiveError(
                f"{model}() takes {_listed(wanted)}, but there is no data: pass a data "
                "function that returns them."
            )
        raise ObjectiveError(
            f"The data function returned {len(values)} value{'s' * (len(values) != 1)}, but "
            f"{model}() takes {_listed(wanted)}: return as many, or a dict by name."
        )
    return values


def named_arguments(
    signature: inspect.Signature, bound: tuple[Any, ...] | Mapping[str, Any]
) -> dict[str, Any]:
    """Return the arguments from `bind_data` by name, including defaults."""
    bind = signature.bind
    given = bind(**bound) if isinstance(bound, Mapping) else bind(*bound)
    given.apply_defaults()
    return dict(given.arguments)


def _fits(signature: inspect.Signature, values: tuple[Any, ...], named: Mapping[str, Any]) -> bool:
    try:
        signature.bind(*values, **named)
    except TypeError:
        return False
    return True


def _takes_one_value(signature: inspect.Signature, wanted: list[str]) -> bool:
    """Return whether the model takes a single argument, or any number of positional ones."""
    return len(wanted) <= 1 and _fits(signature, (None,), {})


def _listed(names: list[Any]) -> str:
    return ", ".join(str(name) for name in names) or "nothing"
