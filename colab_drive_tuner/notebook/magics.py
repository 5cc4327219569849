"""Parsing of notebook cells as Python: IPython turns magics and shell commands into calls.

Without IPython a cell is parsed unchanged, so that one with magics is a syntax error.
"""

import ast
import tokenize
from collections.abc import Iterator
from importlib import import_module
from typing import Any

# fmt: off
_OTHER_LANGUAGES = frozenset((
    "bash", "bigquery", "cmd", "cython", "file", "html", "javascript", "js", "julia", "latex",
    "markdown", "perl", "powershell", "pypy", "python", "python2", "python3", "r", "R", "ruby",
    "script", "sh", "shell", "sql", "svg", "system", "sx", "writefile",
))
# fmt: on
"""Cell magics whose body does not run as Python in the session."""
_PYTHON_LINES = frozenset(["time", "timeit", "prun", "memit", "mprun", "lprun"])
"""Line magics whose argument is Python."""

_MAX_MAGICS = 20
"""Limit of cell magics nested in one cell: each makes the rest of the cell be parsed again."""


def python_trees(cell: str, depth: int = 0) -> Iterator[ast.Module]:
    """Yield the syntax trees of a cell and of the Python in its magics; may raise SyntaxError.

    The body of a cell in another language is not parsed.
    """
    if depth > _MAX_MAGICS:
        raise RecursionError("too many cell magics")
    tree = ast.parse(_transformed(cell))
    yield tree
    for node in ast.walk(tree):
        match _magic_call(node):
            case "run_cell_magic", [name, line, body] if name not in _OTHER_LANGUAGES:
                yield from _lenient_trees(line)
                try:
                    yield from python_trees(body, depth + 1)
                except SyntaxError as error:
                    error.msg = f"{error.msg} (in a cell that begins with %%{name})"
                    raise
            case "run_line_magic", [name, line] if name in _PYTHON_LINES:
                yield from _lenient_trees(line)


def _transformed(cell: str) -> str:
    try:
        module = import_module("IPython.core.inputtransformer2")
    except ImportError:
        return cell
    return _without_shell_assignments(module.TransformerManager().transform_cell(cell))


def _without_shell_assignments(source: str) -> str:
    """Replace assignments of shell output: `files = !ls` becomes `files = None`.

    IPython 7, Colab's version, does not recognize them on Python 3.12 and later.
    """
    lines = source.splitlines(keepends=True)
    while place := _shell_assignment(lines):
        row, column = place
        end = row + 1
        while lines[end - 1].endswith("\\\n") and end < len(lines):
            end += 1
        lines[row:end] = [f"{lines[row][:column]}None\n"] + ["\n"] * (end - row - 1)
    return "".join(lines)


def _shell_assignment(lines: list[str]) -> tuple[int, int] | None:
    """Return row and column of the first `!` after an assignment's `=`, or None."""
    depth, before = 0, ""
    try:
        for token in tokenize.generate_tokens(iter([*lines, ""]).__next__):
            if (before, token.string, depth) == ("=", "!", 0):
                return token.start[0] - 1, token.start[1]
            depth += (token.string in ("(", "[", "{")) - (token.string in (")", "]", "}"))
            before = token.string if token.string.strip() else before
    except (tokenize.TokenError, SyntaxError):  # reported when the source is parsed
        pass
    return None


def _magic_call(node: ast.AST) -> Any:
    """Return method and constants of a call such as `get_ipython().run_line_magic("cd", "x")`."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return None
    shell = node.func.value
    if not isinstance(shell, ast.Call) or getattr(shell.func, "id", "") != "get_ipython":
        return None
    texts = [part.value for part in node.args if isinstance(part, ast.Constant)]
    return node.func.attr, texts


def _lenient_trees(line: str) -> Iterator[ast.Module]:
    """Yield the statement after the options of a magic's line, if it is valid Python."""
    words = line.split(" ")
    while words and words[0].startswith("-"):
        words.pop(0)
    try:
        yield ast.parse(" ".join(words))
    except SyntaxError:  # a variable's or file's name, or an option with a value
        return
