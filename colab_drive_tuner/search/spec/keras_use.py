"""Detection of Keras in an objective: in its code, and in the user's code that it calls.

Keras is seeded at the start of a trial, so it must be imported before an objective that imports it
while it runs. An objective that does not use Keras must not wait for TensorFlow.
"""

import re
import sys
import sysconfig
from collections.abc import Iterator
from functools import cache, partial
from importlib import import_module
from importlib.machinery import PathFinder
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from colab_drive_tuner.templates.function_source import cell_content, nested_code_objects

_KERAS = re.compile(r"(tf_?)?keras\w*(\..*)?|tensorflow\w*(\..*)?")
_KERAS_IN_TEXT = re.compile(r"\b(tf_?)?keras|\btensorflow")


def load_keras_for(objective: Any) -> bool:
    """Import Keras if the objective uses it; return whether it was imported."""
    if not uses_keras(objective):
        return False
    try:
        import_module("keras")
    except ImportError:  # the objective raises the error itself, if it reaches that line
        return False
    return True


def uses_keras(objective: Any) -> bool:
    """Return whether the objective, or a function that it may call, names Keras or TensorFlow."""
    waiting, seen = [objective], set()
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, FunctionType):
            names = set(_names(value.__code__))
            if any(map(_names_keras, names)):
                return True
            waiting += _reached(value, names)
        else:
            waiting += _parts(value)
    return False


def _names(code: CodeType) -> Iterator[str]:
    """Yield the names in a function and its nested functions, and texts that may be names."""
    yield from code.co_names
    yield from (text for text in code.co_consts if isinstance(text, str) and len(text) < 100)
    for nested in nested_code_objects(code):
        yield from _names(nested)


def _names_keras(name: str) -> bool:
    if _KERAS.fullmatch(name):
        return True
    # A module that is not imported yet: the function imports it while it runs.
    root = name.partition(".")[0]
    return root.isidentifier() and root not in sys.modules and _file_names_keras(root)


@cache
def _file_names_keras(module: str) -> bool:
    """Return whether the module's file is the user's own and uses Keras."""
    found = PathFinder.find_spec(module)
    if found is None or found.origin is None or not is_users_file(found.origin):
        return False
    try:
        return bool(_KERAS_IN_TEXT.search(Path(found.origin).read_text("utf-8", "replace")))
    except OSError:
        return False


def _reached(function: FunctionType, names: set[str]) -> Iterator[Any]:
    """Yield what a function may call: globals, closure, wrapped function, members of modules."""
    for name in names & function.__globals__.keys():
        value = function.__globals__[name]
        if isinstance(value, ModuleType):
            if is_users_file(getattr(value, "__file__", None)):
                yield from (vars(value)[member] for member in names & vars(value).keys())
        else:
            yield value
    yield from map(cell_content, function.__closure__ or ())
    yield from function.__defaults__ or ()
    yield getattr(function, "__wrapped__", None)


def _parts(value: Any) -> Iterator[Any]:
    """Yield the functions of a method, partial, class or object, if the user wrote it."""
    if isinstance(value, MethodType):
        yield from (value.__func__, value.__self__)
    elif isinstance(value, partial):
        yield from (value.func, *value.args, *value.keywords.values())
    elif isinstance(value, type):
        if is_users_module(value.__module__):
            for member in vars(value).values():
                yield getattr(member, "__func__", getattr(member, "fget", member))
            yield from value.__bases__
    elif value is not None and not isinstance(value, ModuleType):
        yield type(value)


def is_users_module(name: str) -> bool:
    """Return whether a module is the user's: a notebook, or a file that no package installed."""
    return name == "__main__" or is_users_file(getattr(sys.modules.get(name), "__file__", None))


@cache
def is_users_file(file: str | None) -> bool:
    """Return whether a file is neither Python's, nor an installed package's, nor this package's."""
    if file is None:
        return False
    kinds = ("stdlib", "platstdlib", "purelib", "platlib")
    installed = [*map(Path, map(sysconfig.get_path, kinds)), Path(__file__).parents[2]]
    path = Path(file).resolve()
    return "site-packages" not in path.parts and not any(
        path.is_relative_to(folder.resolve()) for folder in installed
    )
