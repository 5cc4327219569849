"""Validation of objectives: their signature, their `return` statements, and what they return."""

import ast
import inspect
from collections.abc import Callable, Iterator, Mapping
from numbers import Real
from types import FunctionType
from typing import Any

from colab_drive_tuner.errors import ObjectiveError, TemplateError
from colab_drive_tuner.text import text_of

_HINT = "return {'loss': ..., 'status': STATUS_OK}"


def check_callable(objective: Any) -> None:
    """Raise `ObjectiveError` if the objective is not a function or another callable."""
    if not callable(objective):
        raise ObjectiveError(f"The model or objective must be a function, got {objective!r:.60}.")


def check_signature(objective: Callable[..., Any]) -> None:
    """Raise `ObjectiveError` if the objective cannot be called with a point as only argument."""
    if inspect.iscoroutinefunction(objective) or inspect.isasyncgenfunction(objective):
        raise ObjectiveError(
            f"{getattr(objective, '__name__', 'The objective')}() is async: an objective must run "
            f"when it is called, and {_HINT}."
        )
    try:
        signature = inspect.signature(objective)
    except ValueError:  # written in C: only a call can show it
        return
    try:
        signature.bind(None)
    except TypeError as error:
        name = getattr(objective, "__name__", type(objective).__name__)
        raise ObjectiveError(
            f"{name}{signature} does not take what hyperopt passes, a point of the space as its "
            f"only argument: {error}."
        ) from error


def validate_results(function: Callable[[Any], Any], name: str) -> Callable[[Any], Any]:
    """Wrap the objective so that it returns `validated` results."""
    return lambda sampled: validated(function(sampled), name)


def validated(result: Any, name: str) -> Any:
    """Return a result of objective `name`; raise `ObjectiveError` if hyperopt cannot use it."""
    from hyperopt import STATUS_STRINGS

    if isinstance(result, Real):
        _check_loss(result, name)
        return float(result)
    if not isinstance(result, Mapping):
        raise ObjectiveError(f"{name}() returned {type(result).__name__}: {_HINT}.")
    if "status" not in result:
        raise ObjectiveError(f"{name}() returned a result without 'status': {_HINT}.")
    if result["status"] not in STATUS_STRINGS:
        raise ObjectiveError(
            f"{name}() returned the status {result['status']!r:.40}, which hyperopt does not "
            f"know: {_HINT}."
        )
    if result["status"] == "ok":
        _check_loss(result.get("loss"), name)
    return result


def _check_loss(loss: Any, name: str) -> None:
    if loss is None:
        raise ObjectiveError(f"{name}() returned a result without 'loss': {_HINT}.")
    try:
        float(loss)
    except (TypeError, ValueError, OverflowError) as error:
        large = isinstance(error, OverflowError)
        raise ObjectiveError(
            f"{name}() returned the loss {text_of(loss, repr):.40}, which is "
            f"{'too large for a float' if large else 'not a number'}: {_HINT}."
        ) from error


def check_return_statements(function: Callable[..., Any]) -> None:
    """Raise `ObjectiveError` if the source shows that no `return` of the function is a result.

    If any `return` may be valid, or the source is not available, the first trial decides.
    """
    from colab_drive_tuner.templates import read_source

    if not isinstance(function, FunctionType):
        return
    try:
        source = read_source(function)
    except TemplateError:
        return
    if isinstance(source.node, ast.Lambda):
        returned: list[ast.expr | None] = [source.node.body]
    else:
        returned = [part.value for part in _own_nodes(source.node) if isinstance(part, ast.Return)]
    problems = [_problem(value) for value in returned]
    if problems and all(problems):
        raise ObjectiveError(
            f"{function.__name__}(), {source.where(source.node.lineno)}, returns {problems[0]}: "
            f"{_HINT}."
        )


def _own_nodes(function: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes of a function, except those of nested functions and classes."""
    for part in ast.iter_child_nodes(function):
        if not isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            yield part
            yield from _own_nodes(part)


def _problem(value: ast.expr | None) -> str | None:
    """Return what is certainly wrong with the value of a `return`, or None."""
    if value is None or (isinstance(value, ast.Constant) and value.value is None):
        return "None"
    if isinstance(value, ast.Tuple | ast.List | ast.JoinedStr):
        return {ast.Tuple: "a tuple", ast.List: "a list"}.get(type(value), "text")
    if isinstance(value, ast.Constant) and isinstance(value.value, str | bytes):
        return "text"
    if not isinstance(value, ast.Dict):
        return None
    items = {
        key.value if isinstance(key, ast.Constant) else None: part
        for key, part in zip(value.keys, value.values, strict=True)
    }
    if None in items:  # a key that is computed, or **more
        return None
    if "status" not in items:
        return "a result without 'status'"
    if "loss" not in items and _is_ok(items["status"]):
        return "a result without 'loss'"
    return None


def _is_ok(status: ast.expr) -> bool:
    if isinstance(status, ast.Constant):
        return bool(status.value == "ok")
    return getattr(status, "id", getattr(status, "attr", None)) == "STATUS_OK"
