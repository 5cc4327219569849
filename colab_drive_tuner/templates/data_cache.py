"""Cache of the results of data functions, for the lifetime of the process.

Loading may take minutes, and cells are run repeatedly. So `data()` runs once, and again only if its
source, its arguments, or a helper, constant, object or module that it uses has changed. Files and
network resources that it reads are not checked for changes, nor is the inside of arrays, tables and
other objects of libraries.
"""

import argparse
import functools
import inspect
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import PurePath
from types import CodeType, FunctionType, MethodType, ModuleType, SimpleNamespace
from typing import Any

from colab_drive_tuner.errors import DataWarning, ObjectiveError, UsageError
from colab_drive_tuner.templates.function_source import cell_content, global_names
from colab_drive_tuner.warn_user import warn_user

DataArguments = Sequence[Any] | Mapping[str, Any]

_PLAIN = (bool, int, float, complex, str, bytes, type(None), type(Ellipsis), PurePath)
_NAMESPACES = (SimpleNamespace, argparse.Namespace)
_MAX_COMPARED = 1000  # items of a collection; longer ones are compared by identity

_loaded: dict[tuple[str, str], tuple[Any, Any]] = {}
"""Dependencies and result of each data function, by its module and name."""


def load_data(data: Any, arguments: DataArguments | None = None, *, again: bool = False) -> Any:
    """Return `data(*arguments)`, cached; `data` itself if it is not callable.

    `arguments` may be a dict by name. With `again` the function runs in any case. Results with
    iterators are not cached, because a consumed iterator is empty. Raises `UsageError` or
    `ObjectiveError` if the function cannot be called with the arguments.
    """
    given, named = _check_arguments(data, arguments)
    if not callable(data):
        return data
    key = _module_of(data), str(getattr(data, "__qualname__", type(data).__qualname__))
    call = data, given, named
    if not again and key in _loaded and _loaded[key][0] == _dependencies(call, key[0]):
        return _loaded[key][1]
    _loaded.pop(key, None)  # frees the old data before the new is loaded
    result = data(*given, **named)
    parts = _parts(result)
    if any(isinstance(part, Generator) for part in parts):
        warn_user(
            f"{key[1]}() returned a generator: items that one trial reads are missing in the next. "
            "Return a list, or a function that creates a new generator.",
            DataWarning,
        )
    if not any(isinstance(part, Iterator) for part in parts):
        # Computed after the call: a counter or list changed by the function itself is no change.
        _loaded[key] = _dependencies(call, key[0]), result
    return result


def _module_of(function: Any) -> str:
    return str(getattr(function, "__module__", ""))


def _parts(result: Any) -> list[Any]:
    if isinstance(result, dict):
        return list(result.values())
    return list(result) if isinstance(result, tuple | list) else [result]


def _check_arguments(
    data: Any, arguments: DataArguments | None
) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    if arguments is None:
        arguments = ()
    if not isinstance(arguments, tuple | list | Mapping):
        raise UsageError(
            f"data_args must be a tuple or a dict, got {arguments!r:.80}: write "
            f"data_args=({arguments!r:.80},)."
        )
    if not callable(data):
        if arguments:
            raise UsageError("data_args= needs a data function, and there is none.")
        return (), {}
    if inspect.iscoroutinefunction(data) or inspect.isasyncgenfunction(data):
        raise ObjectiveError(
            f"{getattr(data, '__name__', 'The data function')}() is async: a data function must "
            "run when it is called, and return the data."
        )
    given = () if isinstance(arguments, Mapping) else tuple(arguments)
    named = arguments if isinstance(arguments, Mapping) else {}
    try:
        inspect.signature(data).bind(*given, **named)
    except TypeError as error:
        name = getattr(data, "__name__", "The data function")
        raise ObjectiveError(
            f"{name}() cannot be called with data_args={arguments!r:.80}: {error}."
        ) from error
    except ValueError:  # a builtin without a signature
        pass
    return given, named


class _Identity:
    """Compares an object by identity; references it, so that its id is not reused."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Identity) and self.value is other.value

    __hash__ = None  # type: ignore[assignment]  # the object may not be hashable


def _dependencies(call: Any, module: str) -> Any:
    """Return the fingerprint of a call; one that equals no other if it is nested too deeply."""
    try:
        return _fingerprint(call, {}, module)
    except RecursionError:
        return _Identity(object())


def _fingerprint(value: Any, known: dict[int, tuple[int, Any]], module: str) -> Any:
    """Return a value that changes if `value` behaves differently: by content where possible.

    Classes of `module`, the user's notebook or file, are compared by content, and so are their
    objects; others by identity. `known` holds the compared objects, with their number, by id.
    """
    if isinstance(value, _PLAIN):
        return type(value).__name__, value if isinstance(value, int) else repr(value)
    if id(value) in known:
        return "known", known[id(value)][0]
    known[id(value)] = len(known), value
    if isinstance(value, FunctionType):
        return _function_fingerprint(value, known)
    if isinstance(value, MethodType):
        owner = _fingerprint(value.__self__, known, value.__module__)
        return _fingerprint(value.__func__, known, module), owner
    if isinstance(value, functools.partial):
        parts, module = (value.func, value.args, value.keywords), _module_of(value.func)
        return [_fingerprint(part, known, module) for part in parts]
    if isinstance(value, ModuleType):
        return "module", value.__name__
    if isinstance(value, tuple | list | dict) and len(value) <= _MAX_COMPARED:
        parts = (*value, *value.values()) if isinstance(value, dict) else tuple(value)
        return type(value).__name__, [_fingerprint(part, known, module) for part in parts]
    if isinstance(value, set | frozenset) and len(value) <= _MAX_COMPARED:
        return type(value).__name__, frozenset(value)
    if isinstance(value, type) and _is_of(module, value):
        members = [
            (name, getattr(part, "__func__", getattr(part, "fget", part)))
            for name, part in vars(value).items()
            if isinstance(part, FunctionType) or not name.startswith("__")
        ]
        return _fingerprint([value.__qualname__, *value.__bases__, *members], known, module)
    if isinstance(value, _NAMESPACES) or _is_of(module, type(value)):
        return _fingerprint([type(value), object.__getstate__(value)], known, module)
    return _Identity(value)


def _is_of(module: str, kind: type) -> bool:
    """Return whether a class inherits only from classes of the module: it has no hidden state."""
    return all(base is object or base.__module__ == module for base in kind.__mro__)


def _function_fingerprint(function: FunctionType, known: dict[int, tuple[int, Any]]) -> Any:
    cells = [cell_content(cell) for cell in function.__closure__ or ()]
    parts = [function.__defaults__, function.__kwdefaults__, *cells]
    used = sorted(global_names(function.__code__) & function.__globals__.keys())
    values = {name: function.__globals__[name] for name in used}

    def dependency(value: Any) -> Any:
        # Helpers in the same notebook or file are inspected; those of libraries do not change.
        is_library = (
            isinstance(value, FunctionType) and value.__globals__ is not function.__globals__
        )
        return _Identity(value) if is_library else _fingerprint(value, known, function.__module__)

    return (
        _code_fingerprint(function.__code__),
        [_fingerprint(part, known, function.__module__) for part in parts],
        [(name, dependency(value)) for name, value in values.items()],
    )


def _code_fingerprint(code: CodeType) -> Any:
    """Return the content of a code object without its file name and line numbers."""
    constants = [
        _code_fingerprint(part) if isinstance(part, CodeType) else repr(part)
        for part in code.co_consts
    ]
    return code.co_code, code.co_names, code.co_varnames, constants
