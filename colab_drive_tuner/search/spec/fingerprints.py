"""Fingerprints of space, model, data and algorithm, compared when a search is resumed.

A changed space is refused, since the algorithm cannot learn from the stored trials. A changed model
or changed data may be intended (a typo in a print, a longer training set) and causes a warning; so
does another algorithm, which continues from the stored trials.
"""

import difflib
import functools
import hashlib
import inspect
import zlib
from collections.abc import Callable, Iterable
from numbers import Real
from types import FunctionType, MethodType
from typing import Any

from colab_drive_tuner.errors import TemplateError
from colab_drive_tuner.search.spec.space_values import parameters_of
from colab_drive_tuner.search.spec.value_text import describe_value
from colab_drive_tuner.templates.function_source import global_names, read_source

MOST_BYTES = 32_768
"""A longer source is not stored; a warning then says only that it has changed."""
_MOST_LINES = 2_000
"""Most lines that are compared; the time grows with their square."""
_SHOWN_LINES = 12
_SHOWN_WIDTH = 120
_EXACT = 2**53
_NUMBERS_AND_TEXTS = (bool, int, float, str, type(None))


def describe_space(space: Any) -> str:
    """Describe the space: a sorted line per hyperparameter, then the expression they are in.

    The text is the same for the same space in every process. An option that cannot be distinguished
    from others of its type is described by its type (see `describe_value`).
    """
    from hyperopt.pyll import as_apply

    parameters = sorted(
        f"{label}: {_text(node.arg['obj'])}" for label, node in parameters_of(space).items()
    )
    text = "\n".join([*parameters, f"= {_text(as_apply(space))}"])
    return text.encode(errors="backslashreplace").decode()  # a label can have lone surrogates


def _text(node: Any, *, is_bound: bool = False) -> str:
    from hyperopt.pyll.base import Literal
    from hyperopt.pyll.stochastic import implicit_stochastic_symbols

    if isinstance(node, Literal):
        return describe_value(_whole(node.obj) if is_bound else node.obj)
    if node.name == "hyperopt_param":
        return f"<{node.arg['label'].obj}>"
    bounds = node.name in implicit_stochastic_symbols
    arguments = [_text(part, is_bound=bounds) for part in node.pos_args]
    named = sorted(node.named_args)
    arguments += [f"{name}={_text(part, is_bound=bounds)}" for name, part in named]
    if node.name == "pos_args":
        return f"[{', '.join(arguments)}]"
    return f"{node.name}({', '.join(arguments)})"


def _whole(bound: Any) -> Any:
    """Return a bound of a distribution as an int if it is whole: 5, 5.0 and np.int64(5) are one."""
    is_number = isinstance(bound, Real)
    is_whole = is_number and -_EXACT < bound < _EXACT and float(bound).is_integer()
    return int(bound) if is_whole else bound


def space_difference(stored: str, given: str) -> str:
    """Return what differs between two descriptions of a space: `- ` stored, `+ ` given."""
    return text_difference(*map(_in_short_lines, (stored, given)), context=0)


def _in_short_lines(description: str) -> str:
    """Put each option of a long line on a line of its own."""
    lines = description.split("\n")
    return "\n".join(
        line if len(line) <= _SHOWN_WIDTH else line.replace(", ", ",\n") for line in lines
    )


def describe_source(function: Callable[..., Any]) -> str:
    """Return the function's source, normalized: comments and layout removed.

    For a lambda it is the lambda alone, without the surrounding call. Without source, it is the
    names that the function uses, in angle brackets.
    """
    function = inspect.unwrap(function)
    while isinstance(function, functools.partial | MethodType):
        function = function.func if isinstance(function, functools.partial) else function.__func__
    if not isinstance(function, FunctionType):
        return f"<{type(function).__qualname__}>"
    try:
        return read_source(function).expression
    except TemplateError:
        # Bytecode differs between interpreters; names suffice for a warning.
        return f"<{function.__code__.co_names}, {function.__code__.co_varnames}>"


def digest(source: str) -> str:
    """Return the fingerprint of a source."""
    return hashlib.sha256(source.encode()).hexdigest()[:32]


def pack_source(source: str) -> bytes | None:
    """Compress the source; return None if it is too long, or if it is only a list of names.

    The source is part of a claim, which each run writes, so it must be short.
    """
    encoded = source.encode()
    if source.startswith("<") or len(encoded) > MOST_BYTES or source.count("\n") >= _MOST_LINES:
        return None
    return zlib.compress(encoded)


def unpack_source(packed: object, fingerprint: str) -> str | None:
    """Return the stored source if it has this fingerprint, else None.

    The store is untrusted, so the size is bounded.
    """
    if not isinstance(packed, bytes):
        return None
    try:
        source = zlib.decompressobj().decompress(packed, MOST_BYTES).decode()
    except (zlib.error, UnicodeDecodeError):
        return None  # only the detail of a warning depends on it
    return source if digest(source) == fingerprint else None


def text_difference(before: str, now: str, *, context: int = 1) -> str:
    """Return about twelve changed lines with lines of context: `- ` before, `+ ` now.

    Empty if the texts cannot be compared line by line.
    """
    one, other = before.split("\n"), now.split("\n")
    if now.startswith("<") or max(len(one), len(other)) > _MOST_LINES:
        return ""
    # Line numbers would refer to the normalized text, so they are dropped, as is the header.
    changes = [
        "..." if line.startswith("@@") else f"{line[0]} {line[1:]}"
        for line in list(difflib.unified_diff(one, other, lineterm="", n=context))[3:]
    ]
    shown = [
        line if len(line) <= _SHOWN_WIDTH else f"{line[: _SHOWN_WIDTH - 4]} ..."
        for line in changes[:_SHOWN_LINES]
    ]
    if more := len(changes) - len(shown):
        shown.append(f"... and {more} more lines")
    return "\n".join(f"  {line}" for line in shown)


def describe_data(names: Iterable[str], values: Iterable[Any]) -> str:
    """Describe the data by parameter: shapes and types."""
    return ", ".join(f"{name}: {_shape(value)}" for name, value in zip(names, values, strict=False))


def _shape(value: Any) -> str:
    shape = getattr(value, "shape", None)
    if isinstance(shape, Iterable):
        # The description is the same for arrays of any library.
        return f"{tuple(shape)} {getattr(value, 'dtype', '')}".rstrip()
    if isinstance(value, list | tuple | dict | set | str | bytes):
        return f"{type(value).__name__} of {len(value)}"
    return type(value).__name__


def describe_algorithm(algo: Any) -> str:
    """Return a name for a suggest function: `tpe`, `tpe(n_startup_jobs=5)`, `module.function`."""
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
    """Describe an early-stop function: its identity with its source, and its state.

    A different number in its source, an argument, an attribute of its object or a global name makes
    it a different function. Its calls may change the state: the attributes and globals.
    """
    called: Any = rule
    while isinstance(called, functools.partial):
        called = called.func
    owner = getattr(called, "__self__", None)
    if not isinstance(called, FunctionType | MethodType):  # a callable object, or its class
        owner, called = called, type(called).__call__
    state = object.__getstate__(owner)
    if isinstance(owner, type):  # dunder attributes differ from run to run
        state = {name: part for name, part in vars(owner).items() if not name.startswith("__")}
    return (
        f"{describe_value(rule)}, source {digest(describe_source(called))}",
        f"{describe_value(state)}, {describe_value(_globals_read(called))}",
    )


def _globals_read(function: Any) -> dict[str, Any]:
    """Return the globals that a function reads whose values are numbers or texts."""
    function = inspect.unwrap(getattr(function, "__func__", function))
    if not isinstance(function, FunctionType):
        return {}
    known = function.__globals__
    found = {name: known[name] for name in global_names(function.__code__) & known.keys()}
    return {name: value for name, value in found.items() if isinstance(value, _NUMBERS_AND_TEXTS)}
