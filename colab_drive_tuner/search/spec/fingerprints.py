"""Fingerprints that tell whether a resumed search is the same: space, model, data and algorithm.

Another space makes the stored trials meaningless to the algorithm, so it is refused. A changed
model or changed data may be meant (a typo in a print, a longer training set) and is warned of; so
is another algorithm, which goes on from the trials that are there.
"""

import difflib
import functools
import hashlib
import inspect
import textwrap
import zlib
from collections.abc import Callable, Iterable
from types import FunctionType, MethodType
from typing import Any

from colab_drive_tuner.errors import TemplateError
from colab_drive_tuner.search.spec.value_text import describe_value
from colab_drive_tuner.templates import read_source
from colab_drive_tuner.templates.free_names import global_names

MOST_BYTES = 32_768
"""A longer source is not kept: then it is only said that it has changed."""
_MOST_LINES = 2_000
"""As many are compared; the time that takes grows with their square."""
_SHOWN_LINES = 12
_SHOWN_WIDTH = 120
_NUMBERS_AND_TEXTS = (bool, int, float, str, type(None))


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


def digest(source: str) -> str:
    """The fingerprint of a source."""
    return hashlib.sha256(source.encode()).hexdigest()[:32]


def pack_source(source: str) -> bytes | None:
    """The source, compressed; None where it is too long to be kept, or no source but names.

    A claim is written at each start, so only what is short is kept.
    """
    encoded = source.encode()
    if source.startswith("<") or len(encoded) > MOST_BYTES or source.count("\n") >= _MOST_LINES:
        return None
    return zlib.compress(encoded)


def unpack_source(packed: object, fingerprint: str) -> str | None:
    """The source of that fingerprint; None where none is kept, or it is another one.

    It comes from a store that others may write to, so it is bounded.
    """
    if not isinstance(packed, bytes):
        return None
    try:
        source = zlib.decompressobj().decompress(packed, MOST_BYTES).decode()
    except (zlib.error, UnicodeDecodeError):
        return None  # nothing depends on it but how much a warning can say
    return source if digest(source) == fingerprint else None


def source_difference(before: str, now: str) -> str:
    """The changed lines with one line around them: `- ` was, `+ ` is; at most some twelve.

    Empty where there is nothing to be compared line by line.
    """
    one, other = before.split("\n"), now.split("\n")
    if now.startswith("<") or max(len(one), len(other)) > _MOST_LINES:
        return ""
    # Without the head. Numbers of lines would be those of the text without comments and layout.
    changes = [
        "..." if line.startswith("@@") else f"{line[0]} {line[1:]}"
        for line in list(difflib.unified_diff(one, other, lineterm="", n=1))[3:]
    ]
    shown = [
        line if len(line) <= _SHOWN_WIDTH else f"{line[: _SHOWN_WIDTH - 4]} ..."
        for line in changes[:_SHOWN_LINES]
    ]
    if more := len(changes) - len(shown):
        shown.append(f"... and {more} more lines")
    return "\n".join(f"  {line}" for line in shown)


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


def describe_rule(rule: Callable[..., Any]) -> tuple[str, str]:
    """An early-stop function as text: what it is, with its source; and what it holds or reads.

    So it is another one where a number in it is another, be that in its text, an argument, an
    attribute of its object or a global name. What it holds and reads its calls may change.
    """
    called: Any = rule
    while isinstance(called, functools.partial):
        called = called.func
    owner = getattr(called, "__self__", None)
    if not isinstance(called, FunctionType | MethodType):  # an object that is called, or its class
        owner, called = called, type(called).__call__
    state = object.__getstate__(owner)
    if isinstance(owner, type):  # what Python itself notes in a class differs from run to run
        state = {name: part for name, part in vars(owner).items() if not name.startswith("__")}
    return (
        f"{describe_value(rule)}, source {digest(describe_source(called))}",
        f"{describe_value(state)}, {describe_value(_read(called))}",
    )


def _read(function: Any) -> dict[str, Any]:
    """The numbers and texts that a function reads as global names."""
    function = inspect.unwrap(getattr(function, "__func__", function))
    if not isinstance(function, FunctionType):
        return {}
    known = function.__globals__
    found = {name: known[name] for name in global_names(function.__code__) & known.keys()}
    return {name: value for name, value in found.items() if isinstance(value, _NUMBERS_AND_TEXTS)}
