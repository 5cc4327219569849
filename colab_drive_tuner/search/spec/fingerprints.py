"""Fingerprints that tell whether a resumed search is the same: space, model, data and algorithm.

Another space makes the stored trials meaningless to the algorithm, so it is refused. A changed
model or changed data may be meant (a typo in a print, a longer training set) and is warned of; so
is another algorithm, which goes on from the trials that are there.
"""

import functools
import inspect
import textwrap
from collections.abc import Callable, Iterable
from types import FunctionType, MethodType
from typing import Any

from colab_drive_tuner.errors import TemplateError
from colab_drive_tuner.search.spec.value_text import describe_value
from colab_drive_tuner.templates import read_source


def describe_space(space: Any) -> str:
    """The space as text: a line for each hyperparameter, sorted, then how they are put together.

    The same for the same space in every process. An option that cannot be told from others of its
    type is described by that (see `describe_value`).
    """
    from hyperopt.pyll import as_apply, dfs

    expression = as_apply(space)
    parameters = sorted(
        f"{node.arg['label'].obj}: {_text(node.arg['obj'])}"
        for node in dfs(expression)
        if node.name == "hyperopt_param"
    )
    return "\n".join([*parameters, f"= {_text(expression)}"])


def _text(node: Any) -> str:
    from hyperopt.pyll.base import Literal

    if isinstance(node, Literal):
        return describe_value(node.obj)
    if node.name == "hyperopt_param":
        return f"<{node.arg['label'].obj}>"
    arguments = [_text(part) for part in node.pos_args]
    arguments += [f"{name}={_text(part)}" for name, part in sorted(node.named_args)]
    if node.name == "pos_args":
        return f"[{', '.join(arguments)}]"
    return f"{node.name}({', '.join(arguments)})"


def space_difference(stored: str, given: str) -> str:
    """What differs between two descriptions, line by line: `- ` was, `+ ` is.

    Of a long line it is the part in which it differs from the other one of its label.
    """
    before, after = stored.split("\n"), given.split("\n")
    same = set(before) & set(after)
    by_label = {_label(line): line for line in after}
    changes = []
    for line in (line for line in before if line not in same):
        other = by_label.pop(_label(line), "")
        pairs = enumerate(zip(line, other, strict=False))
        differs = next((place for place, (a, b) in pairs if a != b), 0)
        start = max(0, differs - 60)
        pair = (("-", line), ("+", other))
        changes += [f"{mark} {_excerpt(one, start)}" for mark, one in pair if one]
    changes += [f"+ {_excerpt(line, 0)}" for line in by_label.values() if line not in same]
    return "\n".join(changes)


def _label(line: str) -> str:
    """What tells a line from the others: the parameter, or that it is the last one."""
    return "=" if line.startswith("= ") else line.partition(": ")[0] + ":"


def _excerpt(line: str, start: int) -> str:
    """At most some 300 characters of a line, from where it gets interesting."""
    if len(line) <= 300:
        return line
    head = "" if start == 0 else f"{_label(line)} ... "
    return textwrap.shorten(head + line[start:], 300, placeholder=" ...")


def describe_source(function: Callable[..., Any]) -> str:
    """What a function's text says, without comments and layout.

    Of a lambda it is the lambda alone, not the call that it stands in. Where the text is not at
    hand it is, in angle brackets, the names that the function uses.
    """
    function = inspect.unwrap(function)
    while isinstance(function, functools.partial | MethodType):
        function = function.func if isinstance(function, functools.partial) else function.__func__
    if not isinstance(function, FunctionType):
        return f"<{type(function).__qualname__}>"
    try:
        return read_source(function).expression
    except TemplateError:
        # Interpreters differ in bytecode: names say enough for a warning.
        return f"<{function.__code__.co_names}, {function.__code__.co_varnames}>"


def describe_data(names: Iterable[str], values: Iterable[Any]) -> str:
    """The shapes and types of the data, by parameter."""
    return ", ".join(f"{name}: {_shape(value)}" for name, value in zip(names, values, strict=False))


def _shape(value: Any) -> str:
    shape = getattr(value, "shape", None)
    if isinstance(shape, Iterable):
        # Drawn from one description of the array, whatever library made it.
        return f"{tuple(shape)} {getattr(value, 'dtype', '')}".rstrip()
    if isinstance(value, list | tuple | dict | set | str | bytes):
        return f"{type(value).__name__} of {len(value)}"
    return type(value).__name__


def describe_algorithm(algo: Any) -> str:
    """A name for a suggest function: `tpe`, `tpe(n_startup_jobs=5)`, `module.function`."""
    if isinstance(algo, functools.partial):
        given = [describe_value(value) for value in algo.args]
        given += [
            f"{name}={describe_value(value)}" for name, value in sorted(algo.keywords.items())
        ]
        return f"{describe_algorithm(algo.func)}({', '.join(given)})"
    module = getattr(algo, "__module__", None) or type(algo).__module__
    name = getattr(algo, "__qualname__", None) or type(algo).__qualname__
    if module.startswith("hyperopt.") and name == "suggest":
        return module.removeprefix("hyperopt.")
    return f"{module}.{name}"
