"""Detection of Keras in an objective: in its code, and in what it calls in the user's own files.

Keras is seeded at the start of a trial, so an objective that imports it only while it runs needs it
imported before; one that does not use it shall not wait for TensorFlow.
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

from colab_drive_tuner.templates.free_names import cell_content, nested_code_objects

_KERAS = re.compile(r"(tf_?)?keras\w*(\..*)?|tensorflow\w*(\..*)?")
_KERAS_IN_TEXT = re.compile(r"\b(tf_?)?keras|\btensorflow")


def load_keras_for(objective: Any) -> bool:
    """Whether the objective uses Keras and it can be imported; then it is imported."""
    if not uses_keras(objective):
        return False
    try:
        import_module("keras")
    except ImportError:  # the objective itself will say so, if it comes to that line
        return False
    return True


def uses_keras(objective: Any) -> bool:
    """Whether Keras or TensorFlow is named by the objective, or by a function that it reaches."""
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
    """Names and modules that a function and those inside it read, and texts that may be such."""
    yield from code.co_names
    yield from (text for text in code.co_consts if isinstance(text, str) and len(text) < 100)
    for nested in nested_code_objects(code):
        yield from _names(nested)


def _names_keras(name: str) -> bool:
    if _KERAS.fullmatch(name):
        return True
    # A module that the function imports while it runs, and nobody has before.
    root = name.partition(".")[0]
    return root.isidentifier() and root not in sys.modules and _file_names_keras(root)


@cache
def _file_names_keras(module: str) -> bool:
    """Whether a file of the user's that would be imported under this name uses Keras."""
    found = PathFinder.find_spec(module)
    if found is None or found.origin is None or not is_users_file(found.origin):
        return False
    try:
        return bool(_KERAS_IN_TEXT.search(Path(found.origin).read_text("utf-8", "replace")))
    except OSError:
        return False


def _reached(function: FunctionType, names: set[str]) -> Iterator[Any]:
    """What a function may call: its globals, its closure, what it wraps, members of modules."""
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
    """The functions of what is no function itself, where the user wrote them."""
    if isinstance(value, MethodType):
        yield from (value.__func__, value.__self__)
    elif isinstance(value, partial):
        yield from (value.func, *value.args, *value.keywords.values())
    elif isinstance(value, type):
        module = sys.modules.get(value.__module__)
        if value.__module__ == "__main__" or is_users_file(getattr(module, "__file__", None)):
            for member in vars(value).values():
                yield getattr(member, "__func__", getattr(member, "fget", member))
            yield from value.__bases__
    elif value is not None and not isinstance(value, ModuleType):
        yield type(value)


@cache
def is_users_file(file: str | None) -> bool:
    """Whether a file is neither Python's own, nor an installed package's, nor this package's."""
    if file is None:
        return False
    kinds = ("stdlib", "platstdlib", "purelib", "platlib")
    installed = [*map(Path, map(sysconfig.get_path, kinds)), Path(__file__).parents[2]]
    path = Path(file).resolve()
    return "site-packages" not in path.parts and not any(
        path.is_relative_to(folder.resolve()) for folder in installed
    )
