"""Cache of what data functions returned, while this process lives: nothing is loaded twice.

Loading may take minutes, and people run cells again and again. So `data()` runs once, and again
when running it could give something else: its source, its arguments, or a helper, constant or
module that it uses has changed. What it reads from disk or network is not watched.
"""

import functools
import inspect
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import PurePath
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from colab_drive_tuner.errors import DataWarning, ObjectiveError, UsageError
from colab_drive_tuner.templates.free_names import cell_content, global_names
from colab_drive_tuner.user_warnings import warn_user

DataArguments = Sequence[Any] | Mapping[str, Any]

_PLAIN = (bool, int, float, complex, str, bytes, type(None), type(Ellipsis), PurePath)
_LONGEST = 1000  # items of a collection that are compared one by one

_loaded: dict[tuple[str, str], tuple[Any, Any]] = {}
"""By module and name of the data function: what it depended on, and what it returned."""


def load_data(data: Any, arguments: DataArguments | None = None, *, again: bool = False) -> Any:
    """Return what `data(*arguments)` returns, or returned earlier in this process.

    `arguments` may be a dict by name. What is no function is the data itself. With `again` the
    function runs in any case. Iterators are never kept: one that was read has nothing left. Raises
    `UsageError` and `ObjectiveError` where it cannot be called so.
    """
    given, named = _checked(data, arguments)
    if not callable(data):
        return data
    key = (
        str(getattr(data, "__module__", "")),
        str(getattr(data, "__qualname__", type(data).__qualname__)),
    )
    if not again and key in _loaded and _loaded[key][0] == _depends((data, given, named), set()):
        return _loaded[key][1]
    _loaded.pop(key, None)  # so that the old data makes room for the new
    result = data(*given, **named)
    parts = _parts(result)
    if any(isinstance(part, Generator) for part in parts):
        warn_user(
            f"{key[1]}() returned a generator: what one trial reads of it is gone for the next. "
            "Return a list, or a function that makes a new one.",
            DataWarning,
        )
    if not any(isinstance(part, Iterator) for part in parts):
        # Afterwards: what the function itself did to a counter or a list is no change.
        _loaded[key] = _depends((data, given, named), set()), result
    return result


def _parts(result: Any) -> list[Any]:
    if isinstance(result, dict):
        return list(result.values())
    return list(result) if isinstance(result, tuple | list) else [result]


def _checked(
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
            raise UsageError("data_args= goes with a data function, and there is none.")
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
    except ValueError:  # a builtin that does not tell its parameters
        pass
    return given, named


class _Same:
    """Equal to itself only; holds the object, so that no other one can be taken for it."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.value is other.value

    __hash__ = None  # type: ignore[assignment]  # what it holds may have none


def _depends(value: Any, known: set[int]) -> Any:
    """Something that is equal where `value` would do the same: by content if that can be seen."""
    if isinstance(value, _PLAIN):
        return type(value).__name__, repr(value)
    if id(value) in known:
        return "above"
    known |= {id(value)}
    if isinstance(value, FunctionType):
        return _function(value, known)
    if isinstance(value, MethodType):
        return _depends(value.__func__, known), _Same(value.__self__)
    if isinstance(value, functools.partial):
        return [_depends(part, known) for part in (value.func, value.args, value.keywords)]
    if isinstance(value, ModuleType):
        return "module", value.__name__
    if isinstance(value, tuple | list | dict) and len(value) <= _LONGEST:
        parts = [*value, *value.values()] if isinstance(value, dict) else value
        return type(value).__name__, [_depends(part, known) for part in parts]
    return _Same(value)


def _function(function: FunctionType, known: set[int]) -> Any:
    cells = [cell_content(cell) for cell in function.__closure__ or ()]
    parts = [function.__defaults__, function.__kwdefaults__, *cells]
    used = sorted(global_names(function.__code__) & function.__globals__.keys())
    values = {name: function.__globals__[name] for name in used}
    # Helpers of the same notebook or file are looked into; those of libraries stay what they are.
    foreign = [
        isinstance(part, FunctionType) and part.__globals__ is not function.__globals__
        for part in values.values()
    ]
    return (
        _code(function.__code__),
        [_depends(part, known) for part in parts],
        [
            (name, _Same(part) if other else _depends(part, known))
            for (name, part), other in zip(values.items(), foreign, strict=True)
        ],
    )


def _code(code: CodeType) -> Any:
    """What a function does, without where it stands."""
    constants = [
        _code(part) if isinstance(part, CodeType) else repr(part) for part in code.co_consts
    ]
    return code.co_code, code.co_names, code.co_varnames, constants
