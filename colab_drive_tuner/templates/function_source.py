"""Source of a function: the text and syntax tree of its file or cell, and its node in the tree.

The whole file is parsed rather than the function's lines, so that positions, name mangling in
classes and closures are the same as in the original function.
"""

import ast
import inspect
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType

from colab_drive_tuner.errors import TemplateError
from colab_drive_tuner.templates.suppress_warnings import suppress_warnings

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
        """The function's source, normalized: without comments and layout."""
        return ast.unparse(self.node)

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
        raise _changed(function) from error
    found = [node for node in ast.walk(tree) if _matches(node, function)]
    if len(found) > 1:
        found = [node for node in found if _has_same_body(node, function)] or found
    if len(found) > 1:
        raise TemplateError(
            f"Line {function.__code__.co_firstlineno} contains several functions that look like "
            f"{name}: put the model function on its own line."
        )
    if not found:
        raise _changed(function)
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


def _has_same_body(node: ast.AST, function: FunctionType) -> bool:
    """Return whether a lambda is `function`, and not another lambda on the same line."""
    if not isinstance(node, ast.Lambda):
        return False
    body = node.body
    place = (body.lineno, body.end_lineno, body.col_offset, body.end_col_offset)
    return place in function.__code__.co_positions()


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


def _changed(function: FunctionType) -> TemplateError:
    if function.__code__.co_filename == "<string>":  # since 3.13, the text of `python -c`
        return _unreadable(function)
    return source_changed(function.__code__.co_filename, function.__name__)


def source_changed(filename: str, name: str) -> TemplateError:
    """Return the error for a file that no longer contains a function as Python read it."""
    return TemplateError(
        f"{filename} no longer contains {name}() as it was when Python read it: run the cell that "
        "defines it again, or restart."
    )
