"""Free names of a function: the globals that it reads, and its closure cells."""

import builtins
import dis
from types import CellType, CodeType, FunctionType
from typing import Any

_LOADS = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")


def global_names(code: CodeType) -> set[str]:
    """Return the global names that a function and its nested functions read."""
    names = {part.argval for part in dis.get_instructions(code) if part.opname in _LOADS}
    return names.union(*map(global_names, nested_code_objects(code)))


def undefined_names(function: FunctionType) -> dict[str, int]:
    """Return the undefined global names that a function reads, with the line of each."""
    return _unknown(function.__code__, {*function.__globals__, *vars(builtins)})


def is_recursive(function: FunctionType) -> bool:
    """Return whether the function reads its own name, and it refers to itself or its wrapper.

    False if the name is that of a method, or has been reassigned.
    """
    code, name = function.__code__, function.__code__.co_name
    if name in code.co_freevars:
        named = cell_content((function.__closure__ or ())[code.co_freevars.index(name)])
    else:
        named = function.__globals__.get(name) if name in global_names(code) else None
    return named is function or getattr(named, "__wrapped__", None) is function


def cell_content(cell: CellType) -> Any:
    """Return the value of a closure variable; None if it has none yet."""
    try:
        return cell.cell_contents
    except ValueError:
        return None


def nested_code_objects(code: CodeType) -> list[CodeType]:
    """Return the code of functions, classes and comprehensions directly inside a function."""
    return [constant for constant in code.co_consts if isinstance(constant, CodeType)]


def _unknown(code: CodeType, known: set[str]) -> dict[str, int]:
    unknown: dict[str, int] = {}
    instructions = list(dis.get_instructions(code))
    here = known | {part.argval for part in instructions if part.opname.startswith("STORE_")}
    for part in instructions:
        if part.opname in _LOADS and part.argval not in here:
            line = part.positions.lineno if part.positions else None
            unknown.setdefault(part.argval, line or code.co_firstlineno)
    for nested in nested_code_objects(code):
        unknown = _unknown(nested, known) | unknown
    return unknown
