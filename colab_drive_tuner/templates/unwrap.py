"""Lookup of the function with templates inside decorators, methods and partials."""

import copy
import functools
import inspect
from collections.abc import Callable, Iterator
from types import CellType, FunctionType, MethodType
from typing import Any

from colab_drive_tuner.errors import TemplateError
from colab_drive_tuner.templates.function_source import (
    FunctionSource,
    cell_content,
    copy_function,
    read_source,
)
from colab_drive_tuner.templates.parser import find_templates

Wrap = Callable[[Any], Any]
"""Returns a copy of the wrapped callable with another function inside it."""

_MAX_DEPTH = 10  # decorators around a function; more is a cycle


def templated_function(model: Any) -> tuple[FunctionSource, Wrap]:
    """Find the function with templates inside `model`; also return how to wrap a replacement."""
    if not callable(model):
        raise TemplateError(f"The model must be a function, not {type(model).__name__}.")
    unreadable: list[TemplateError] = []
    found = _find(model, unreadable, _MAX_DEPTH)
    if found:
        source, wrap = found
        wrap(source.function)  # raises if a wrapper cannot be copied, before anything runs
        return found
    if unreadable:
        raise unreadable[0]
    name = getattr(model, "__name__", type(model).__name__)
    raise TemplateError(
        f"{name}() contains no template such as units={{{{choice([32, 64])}}}}: without one, pass "
        "space= and take the values as the function's parameter."
    )


def _find(
    model: Any, unreadable: list[TemplateError], depth: int
) -> tuple[FunctionSource, Wrap] | None:
    if isinstance(model, FunctionType):
        try:
            source = read_source(model)
        except TemplateError as error:
            unreadable.append(error)
        else:
            if find_templates(source):
                return source, lambda function: function
    if depth:
        for part, wrap_part in _inner_callables(model):
            found = _find(part, unreadable, depth - 1)
            if found:
                source, wrap = found
                return source, functools.partial(_wrap_twice, wrap, wrap_part)
    return None


def _wrap_twice(inner: Wrap, outer: Wrap, function: Any) -> Any:
    return outer(inner(function))


def _inner_callables(model: Any) -> Iterator[tuple[Any, Wrap]]:
    """Yield each callable inside a callable, with its `Wrap`."""
    if isinstance(model, FunctionType):
        for index, cell in enumerate(model.__closure__ or ()):
            content = cell_content(cell)
            if callable(content) and not isinstance(content, type):
                yield content, functools.partial(_with_cell, model, index)
    elif isinstance(model, MethodType):
        yield model.__func__, lambda function: MethodType(function, model.__self__)
    elif isinstance(model, functools.partial):
        yield (
            model.func,
            lambda function: functools.partial(function, *model.args, **model.keywords),
        )
    elif isinstance(call := inspect.getattr_static(type(model), "__call__", None), FunctionType):
        yield call, lambda function: MethodType(function, model)
        for value in list(getattr(model, "__dict__", {}).values()):
            if callable(value) and not isinstance(value, type):
                yield value, functools.partial(_with_attribute, model, value)
    if hasattr(model, "__wrapped__"):  # and it was not found where it can be replaced
        yield model.__wrapped__, functools.partial(_refuse, model)


def _with_cell(model: FunctionType, index: int, content: Any) -> FunctionType:
    cells = list(model.__closure__ or ())
    cells[index] = CellType(content)
    return copy_function(model, model.__code__, cells)


def _with_attribute(model: Any, old: Any, new: Any) -> Any:
    """Return a copy of `model` with `old` replaced in all attributes, also in `__wrapped__`."""
    copied = copy.copy(model)
    if copied is model:
        _refuse(model, new)
    vars(copied).update((name, new) for name, value in vars(model).items() if value is old)
    return copied


def _refuse(model: Any, function: FunctionType) -> Any:
    raise TemplateError(
        f"{function.__name__}() is wrapped in a {type(model).__name__}, which cannot be copied "
        "with other values: pass the function without that decorator."
    )
