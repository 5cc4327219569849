"""Source of a function: its syntax tree, its free names, and whether its module is the user's.

The whole file is parsed rather than the function's lines, so that positions, name mangling in
classes and closures are the same as in the original function.
"""

import __future__

import ast
import builtins
import copy
import dis
import inspect
import sys
import sysconfig
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import CellType, CodeType, FunctionType
from typing import Any

from colab_drive_tuner.errors import TemplateError

_LOADS = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")
_lock = threading.RLock()
"""CPython 3.11's parser sometimes fails if several threads use it ("AST constructor recursion depth
mismatch"), and warnings are suppressed for the whole process."""
FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


@dataclass(frozen=True)
class FunctionSource:
    """A function, the text and tree of its file, and its node in the tree."""

    function: FunctionType
    text: str
    tree: ast.Module
    node: FunctionNode

    @property
    def filename(self) -> str:
        """The file's name as shown in tracebacks; a notebook cell has one, too."""
        return self.function.__code__.co_filename

    @property
    def expression(self) -> str:
        """The function's source, normalized: without comments and layout.

        It is for comparing and showing, since an f-string may quote what Python would not accept.
        """
        return ast.unparse(_FStrings().visit(copy.deepcopy(self.node)))

    def where(self, line: int) -> str:
        """Describe the location of a line, for messages."""
        if Path(self.filename).is_file():
            return f"line {line} of {Path(self.filename).name}"
        return f"line {line} of the cell that defines {self.function.__name__}()"

    def offset(self, line: int, column: int) -> int:
        """Return the index in `text` of a position (lines from 1, columns in UTF-8 bytes)."""
        lines = self.text.split("\n")
        inside = len(lines[line - 1].encode()[:column].decode())
        return sum(len(earlier) + 1 for earlier in lines[: line - 1]) + inside


class _FStrings(ast.NodeTransformer):
    """Replaces f-strings by their text: `ast.unparse` quotes them differently since Python 3.12."""

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.Name:
        return ast.Name(f"f'{self._text(node)}'")

    def _text(self, node: ast.expr) -> str:
        match node:
            case ast.JoinedStr(parts):
                return "".join(map(self._text, parts))
            case ast.FormattedValue(value, conversion, form):
                converted = "" if conversion == -1 else f"!{chr(conversion)}"
                formatted = f":{self._text(form)}" if form else ""
                return f"{{{ast.unparse(self.visit(value))}{converted}{formatted}}}"
            case _:
                text = str(getattr(node, "value", ""))
                return repr(text)[1:-1].replace("{", "{{").replace("}", "}}")


def first_line(node: FunctionNode) -> int:
    """Return the line of `co_firstlineno`: that of the first decorator, if there is one."""
    decorators = [] if isinstance(node, ast.Lambda) else node.decorator_list
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])


def read_source(function: FunctionType) -> FunctionSource:
    """Read the source of `function`; raise `TemplateError` if there is none."""
    name = function.__name__
    try:
        lines, _ = inspect.findsource(function)
    except (OSError, TypeError):
        raise _unreadable(function) from None
    text = "".join(lines)
    try:
        with suppress_warnings():
            tree = ast.parse(text)
    except SyntaxError as error:
        raise source_changed(function) from error
    found = [node for node in ast.walk(tree) if _matches(node, function)]
    found = found or [node for node in ast.walk(tree) if _is_reloaded(node, function)]
    if len(found) > 1:  # lambdas on one line
        found = [node for node in found if _contains(node, function)] or found
        alike = [node for node in found if _compiles_to(node, function)]
        if len(found) > 1 and not alike:
            raise TemplateError(
                f"Line {function.__code__.co_firstlineno} contains several functions that look "
                f"like {name}: put the model function on its own line."
            )
        found = alike or found
    if not found:
        raise source_changed(function)
    node = found[0]
    assert isinstance(node, FunctionNode)  # noqa: S101 - for the type checker
    return FunctionSource(function, text, tree, node)


def _matches(node: ast.AST, function: FunctionType) -> bool:
    code = function.__code__
    if not isinstance(node, FunctionNode) or first_line(node) != code.co_firstlineno:
        return False
    name = "<lambda>" if isinstance(node, ast.Lambda) else node.name
    names = [argument.arg for argument in parameters(node.args)]
    taken = code.co_varnames[: len(names)]
    # Inside a class Python mangles `__x`; such names are not compared.
    return name == code.co_name and all(
        a == b or a.startswith("__") for a, b in zip(names, taken, strict=False)
    )


def _is_reloaded(node: ast.AST, function: FunctionType) -> bool:
    """Return whether a definition by itself compiles to the function's code, on whatever line.

    IPython 9's autoreload compiles a changed function so, and counts its lines from 1.
    """
    if not isinstance(node, ast.FunctionDef) or node.name != function.__code__.co_name:
        return False
    with suppress(SyntaxError):  # its `nonlocal` names exist only around it
        alone = compile_file(ast.Module([node], []), function)
        return _without_lines(function.__code__) in map(_without_lines, nested_code_objects(alone))
    return False


def _without_lines(code: CodeType) -> CodeType:
    """Return a code that is equal to others which differ in lines and place only."""
    constants = tuple(
        _without_lines(constant) if isinstance(constant, CodeType) else constant
        for constant in code.co_consts
    )
    return code.replace(
        co_consts=constants,
        co_flags=code.co_flags & ~inspect.CO_NESTED,
        co_firstlineno=1,
        co_linetable=b"",
        co_filename="",
        co_qualname="",
    )


def _compiles_to(node: ast.AST, function: FunctionType) -> bool:
    """Return whether a lambda compiles to the function's code.

    Positions are not compared: Python 3.12 stores none of a lambda that returns a constant.
    """
    around = ast.parse(f"lambda {', '.join(function.__code__.co_freevars)}: None")
    match around.body:
        case [ast.Expr(ast.Lambda() as enclosing)] if isinstance(node, ast.Lambda):
            enclosing.body = node
    [outer] = nested_code_objects(compile_file(around, function))
    return _without_lines(function.__code__) in map(_without_lines, nested_code_objects(outer))


def _contains(node: ast.AST, function: FunctionType) -> bool:
    """Return whether every position in the function's code is in the body of a lambda."""
    if not isinstance(node, ast.Lambda):
        return False
    body = node.body
    start, end = (body.lineno, body.col_offset), (body.end_lineno, body.end_col_offset)
    return all(
        start <= (line, column) and (end_line, end_column) <= end
        for line, end_line, column, end_column in function.__code__.co_positions()
        if end_column  # else it is the line of the function
    )


def parameters(arguments: ast.arguments) -> list[ast.arg]:
    """Return all parameters, in the order of `co_varnames`."""
    extra = [argument for argument in (arguments.vararg, arguments.kwarg) if argument]
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *extra]


def _unreadable(function: FunctionType) -> TemplateError:
    return TemplateError(
        f"The source of {function.__name__}() cannot be read (its file is "
        f"{function.__code__.co_filename!r}), so its templates cannot be compiled: define it "
        "in a file, or in a notebook cell without %%time; or pass space= if it has no templates."
    )


def source_changed(function: FunctionType) -> TemplateError:
    """Return the error for a file that no longer contains a function as Python read it."""
    filename = function.__code__.co_filename
    if filename == "<string>":  # since 3.13, the text of `python -c`
        return _unreadable(function)
    return TemplateError(
        f"{filename} no longer contains {function.__name__}() as it was when Python read it: run "
        "the cell that defines it again, or restart."
    )


@contextmanager
def suppress_warnings() -> Iterator[None]:
    """Context manager without warnings, entered by one thread at a time.

    The user has seen the warnings of the source when it was first compiled, and hyperopt emits
    those of sampling again during the search.
    """
    with _lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def global_names(code: CodeType) -> set[str]:
    """Return the global names that a function and its nested functions read."""
    names = {part.argval for part in dis.get_instructions(code) if part.opname in _LOADS}
    return names.union(*map(global_names, nested_code_objects(code)))


def undefined_names(function: FunctionType) -> dict[str, int]:
    """Return the undefined global names that a function reads, with the line of each."""
    return _unknown(function.__code__, {*function.__globals__, *vars(builtins)})


def is_recursive(function: FunctionType) -> bool:
    """Return whether the function reads its own name, and that is still itself or its wrapper."""
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


def compile_file(tree: ast.Module, function: FunctionType) -> CodeType:
    """Compile a tree as the function's file was compiled."""
    code = function.__code__
    flags = code.co_flags & __future__.annotations.compiler_flag | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    with suppress_warnings():
        compiled: CodeType = compile(tree, code.co_filename, "exec", flags, dont_inherit=True)
    return compiled


def own_nodes(function: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes of a function, except those of nested functions and classes."""
    for part in ast.iter_child_nodes(function):
        if not isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            yield part
            yield from own_nodes(part)


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


def is_users_module(name: str) -> bool:
    """Return whether a module is the user's: a notebook, or a file that no package installed."""
    return name == "__main__" or is_users_file(getattr(sys.modules.get(name), "__file__", None))


@cache
def is_users_file(file: str | None) -> bool:
    """Return whether a file is neither Python's, nor an installed package's, nor this package's."""
    if file is None:
        return False
    kinds = ("stdlib", "platstdlib", "purelib", "platlib")
    installed = [*map(Path, map(sysconfig.get_path, kinds)), Path(__file__).parents[1]]
    path = Path(file).resolve()
    return {"site-packages", "dist-packages"}.isdisjoint(path.parts) and not any(
        path.is_relative_to(folder.resolve()) for folder in installed
    )
