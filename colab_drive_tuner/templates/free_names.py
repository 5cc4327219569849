"""Names that a function reads from outside: globals, and the cells of its closure."""

import builtins
import dis
from types import CellType, CodeType, FunctionType
from typing import Any

_LOADS = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")


def global_names(code: CodeType) -> set[str]:
    """The global names that a function and those inside it read."""
    names = {part.argval for part in dis.get_instructions(code) if part.opname in _LOADS}
    return names.union(*map(global_names, nested_code_objects(code)))


def undefined_names(function: FunctionType) -> dict[str, int]:
    """Global names that a function reads and nobody has defined (yet), with the line of each."""
    return _unknown(function.__code__, {*function.__globals__, *vars(builtins)})


def is_recursive(function: FunctionType) -> bool:
    """Whether the function reads its own name, and that means itself, or what is wrapped around it.

    It does not where the name is a method's, or has been given to something else.
    """
    code, name = function.__code__, function.__code__.co_name
    if name in code.co_freevars:
        named = cell_content((function.__closure__ or ())[code.co_freevars.index(name)])
    else:
        named = function.__globals__.get(name) if name in global_names(code) else None
    return named is function or getattr(named, "__wrapped__", None) is function


def cell_content(cell: CellType) -> Any:
    """What a variable of a closure holds; None where it has no value yet."""
    try:
        return cell.cell_contents
    except ValueError:
        return None


def nested_code_objects(code: CodeType) -> list[CodeType]:
    """The functions, classes and comprehensions directly inside a function."""
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
