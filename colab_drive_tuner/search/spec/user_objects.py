"""Objects that the user's code refers to, found without running it; whether one uses Keras.

Keras is seeded at the start of a trial, so it must be imported before an objective that imports it
while it runs. An objective that does not use Keras must not wait for TensorFlow.
"""

import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from importlib import import_module
from importlib.machinery import PathFinder
from itertools import chain
from pathlib import Path
from types import CodeType, FunctionType, MemberDescriptorType, MethodType, ModuleType
from typing import Any

from colab_drive_tuner.templates.function_source import (
    cell_content,
    global_names,
    is_users_file,
    is_users_module,
    nested_code_objects,
)

_WRAPPERS = ("colab_drive_tuner.templates", "colab_drive_tuner.search.spec")
"""Modules whose objects wrap the user's functions."""
_RESULTS = "colab_drive_tuner.search.results"
"""The package whose objects hold a search."""
_MAX_ITEMS = 1000
"""Larger collections are not searched."""
_MAX_PATH = 200
"""Longer names, as in a linked list, are begun anew."""
_FRAMEWORKS = {"keras": r"(tf_?)?keras|tensorflow", "torch": r"(py)?torch"}
"""Modules that draw random numbers of their own, and the beginnings of names that refer to them."""


def reachable(value: Any, *, called: bool = False) -> Iterator[tuple[str, Any]]:
    """Yield the objects that the user's code refers to, by its names; libraries are skipped.

    `called`: also what functions of libraries refer to, and what is used of the user's modules.
    """
    seen: dict[int, Any] = {}  # keeps the objects, so that no id is used twice
    waiting = [(value, "")]
    while waiting:
        value, path = waiting.pop()
        if id(value) in seen:
            continue
        seen[id(value)] = value
        if isinstance(value, FunctionType) or len(path) > _MAX_PATH:
            path = ""  # a function's code uses the names without a prefix
        found = {
            f"{path}{'' if not path or name.startswith('[') else '.'}{name}": part
            for name, part in _references(value, called).items()
        }
        yield from found.items()
        module = (value if isinstance(value, FunctionType) else type(value)).__module__
        ours = str(module).startswith(_WRAPPERS)  # the user does not know its attributes
        waiting += [(part, "" if ours else name) for name, part in reversed(found.items())]


def _references(value: Any, called: bool) -> dict[str, Any]:
    if isinstance(value, FunctionType):
        return _function_references(value, called)
    if isinstance(value, MethodType):
        return {"self": value.__self__, value.__func__.__name__: value.__func__}
    if isinstance(value, partial):
        arguments = {f"argument {at}": part for at, part in enumerate(value.args)}
        return value.keywords | arguments | {"partial.func": value.func}
    if isinstance(value, dict) and len(value) < _MAX_ITEMS:
        return {str(key): part for key, part in value.items()}
    if isinstance(value, list | tuple | set | frozenset) and len(value) < _MAX_ITEMS:
        return {f"[{at}]": part for at, part in enumerate(value)}
    if isinstance(value, type):
        return _class_references(value)
    module = type(value).__module__
    if is_users_module(module) or module.startswith((*_WRAPPERS, _RESULTS)):
        return _class_references(type(value), value) | getattr(value, "__dict__", {})
    return {}


def _function_references(function: FunctionType, called: bool) -> dict[str, Any]:
    code, cells = function.__code__, function.__closure__ or ()
    found = {name: cell_content(cell) for name, cell in zip(code.co_freevars, cells, strict=True)}
    if called or is_users_module(function.__module__):
        used = global_names(code) & function.__globals__.keys()
        found |= {name: function.__globals__[name] for name in used}
    names = code.co_varnames[: code.co_argcount]
    found |= dict(zip(reversed(names), reversed(function.__defaults__ or ()), strict=False))
    found |= function.__kwdefaults__ or {}
    for module, value in list(found.items()) if called else ():
        if isinstance(value, ModuleType) and is_users_module(value.__name__):
            members = vars(value)
            used = members.keys() & set(names_in(code))
            found |= {f"{module}.{name}": members[name] for name in used}
    return found


def _class_references(kind: type, instance: Any = None) -> dict[str, Any]:
    """Return the attributes of a user's class and its bases, and an instance's slots."""
    found: dict[str, Any] = {}
    for one in reversed(kind.__mro__):
        found |= vars(one) if is_users_module(one.__module__) else {}
    for name, part in found.items():
        if isinstance(part, MemberDescriptorType):
            found[name] = getattr(instance, name, None)
        elif isinstance(part, staticmethod | classmethod):
            found[name] = part.__func__
        elif isinstance(part, property):
            found[name] = part.fget
    return found


def names_in(code: CodeType) -> Iterator[str]:
    """Yield the names in a function and its nested functions, and texts that may be names."""
    yield from code.co_names
    yield from (text for text in code.co_consts if isinstance(text, str) and len(text) < 100)
    for nested in nested_code_objects(code):
        yield from names_in(nested)


def load_frameworks(objective: Any) -> tuple[str, ...]:
    """Import Keras and PyTorch if the objective uses them; return which were imported."""
    loaded = []
    for name in frameworks_of(objective):
        with suppress(Exception):  # the objective raises it itself, if it reaches that line
            import_module(name)
            loaded.append(name)
    return tuple(loaded)


def frameworks_of(objective: Any) -> list[str]:
    """Return which of Keras (or TensorFlow) and PyTorch the functions of an objective name."""
    values = chain([objective], (value for _, value in reachable(objective, called=True)))
    names = {
        name
        for value in values
        if isinstance(value, FunctionType)
        for name in names_in(value.__code__)
    }
    return [key for key, begin in _FRAMEWORKS.items() if any(_names(name, begin) for name in names)]


def _names(name: str, framework: str) -> bool:
    if re.fullmatch(rf"({framework})\w*(\..*)?", name):
        return True
    # A module that is not imported yet: the function imports it while it runs.
    root = name.partition(".")[0]
    return root.isidentifier() and root not in sys.modules and _file_names(root, framework)


def _file_names(module: str, framework: str) -> bool:
    """Return whether the module's file is the user's own and uses the framework.

    Not cached: a cell of a notebook can write the file between two runs.
    """
    found = PathFinder.find_spec(module)
    if found is None or found.origin is None or not is_users_file(found.origin):
        return False
    try:
        text = Path(found.origin).read_text("utf-8", "replace")
        return bool(re.search(rf"\b({framework})", text))
    except OSError:
        return False
