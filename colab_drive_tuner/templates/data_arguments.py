"""Mapping of a data function's return value to a model function's arguments."""

import ast
import inspect
from collections.abc import Iterable, Iterator, Mapping
from types import FunctionType
from typing import Any

from colab_drive_tuner.errors import ObjectiveError, TemplateError
from colab_drive_tuner.templates.function_source import own_nodes, read_source


def local_names(data: Any) -> frozenset[str]:
    """Return the names local to a data function; empty if they are unknown."""
    function = inspect.unwrap(data)
    if not isinstance(function, FunctionType):
        return frozenset()
    code = function.__code__
    return frozenset((*code.co_varnames, *code.co_cellvars))


def returned_names(data: Any) -> tuple[str, ...] | None:
    """Return the names in `return x, y` if every return of the function is that one; else None."""
    function = inspect.unwrap(data)
    if not isinstance(function, FunctionType):
        return None
    try:
        node = read_source(function).node
    except TemplateError:  # without source, only the order of the values is known
        return None
    names = {_names(part) for part in own_nodes(node) if isinstance(part, ast.Return)}
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
    otherwise. If `returned` (see `returned_names`) lists parameters of the model, in any order, and
    the others have defaults, arguments are passed by name, as in hyperas. Raises `ObjectiveError`
    if they do not fit.
    """
    for arguments in _candidates(signature, result, returned):
        if _fits(signature, arguments):
            return arguments
    wanted = _listed(_parameter_names(signature))
    if isinstance(result, Mapping):
        raise ObjectiveError(
            f"The data function returned {_listed(result)}, which does not fit "
            f"{model}{signature}: return a dict with its parameters."
        )
    if result is None:
        raise ObjectiveError(
            f"{model}() takes {wanted}, but there is no data: pass a data function that returns "
            "them."
        )
    count = len(result) if isinstance(result, tuple | list) else 1
    raise ObjectiveError(
        f"The data function returned {count} value{'s' * (count != 1)}, but {model}() takes "
        f"{wanted}: return as many, or a dict by name."
    )


def _candidates(
    signature: inspect.Signature, result: Any, returned: tuple[str, ...] | None
) -> Iterator[tuple[Any, ...] | dict[str, Any]]:
    """Yield what the result may mean, the first choice first: values in order or by name."""
    wanted = _parameter_names(signature)
    if isinstance(result, Mapping):
        yield dict(result)
        if len(wanted) <= 1 and not result.keys() & wanted:
            yield (result,)
        return
    if isinstance(result, tuple):
        values = result
    elif isinstance(result, list) and len(wanted) != 1:
        values = tuple(result)
    else:
        values = () if result is None else (result,)
    if returned and len(values) == len(returned) == len({*returned} & {*wanted}):
        by_name = dict(zip(returned, values, strict=True))
        yield by_name
        if by_name.keys() == {*wanted[: len(values)]}:  # some parameters are positional-only
            yield tuple(by_name[name] for name in wanted[: len(values)])
    yield values
    if len(values) == len(wanted):
        yield dict(zip(wanted, values, strict=True))  # some parameters are keyword-only
    if isinstance(result, tuple) and len(wanted) <= 1:
        yield (result,)


def _parameter_names(signature: inspect.Signature) -> list[str]:
    """Return the names of the parameters, without `*args` and `**kwargs`."""
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [one.name for one in signature.parameters.values() if one.kind not in variadic]


def named_arguments(
    signature: inspect.Signature, bound: tuple[Any, ...] | Mapping[str, Any]
) -> dict[str, Any]:
    """Return the arguments from `bind_data` by name, including defaults."""
    given = _bind(signature, bound)
    given.apply_defaults()
    return dict(given.arguments)


def _bind(
    signature: inspect.Signature, bound: tuple[Any, ...] | Mapping[str, Any]
) -> inspect.BoundArguments:
    return signature.bind(**bound) if isinstance(bound, Mapping) else signature.bind(*bound)


def _fits(signature: inspect.Signature, bound: tuple[Any, ...] | Mapping[str, Any]) -> bool:
    try:
        _bind(signature, bound)
    except TypeError:
        return False
    return True


def _listed(names: Iterable[Any]) -> str:
    return ", ".join(str(name) for name in names) or "nothing"
