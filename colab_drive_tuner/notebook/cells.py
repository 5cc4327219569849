"""Code cells of a notebook, as Python: parsing of untrusted files, magics, imports, construction.

The hyperas package reads a notebook's imports from the saved file, and fails on a single magic or
invalid cell. Here IPython turns magics and shell commands into calls, and an invalid cell is
skipped and reported. Without IPython, a cell with magics is invalid.
"""

import ast
import builtins
import json
import re
import symtable
import sys
import tokenize
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from colab_drive_tuner.errors import NotebookError
from colab_drive_tuner.local_files import read_file

MAX_BYTES = 64 << 20
"""Limit of a notebook's size: a larger file takes gigabytes once parsed as JSON. Drive's own editor
stops at a third of it."""
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


def code_cells(content: bytes | dict[str, Any], name: str) -> list[str]:
    """Return the sources of a notebook's code cells; raise `NotebookError` for an invalid notebook.

    `content` is the file, in any encoding of JSON or in Windows-1252, or its parsed JSON.
    """
    try:
        notebook = _parsed(content) if isinstance(content, bytes) else content
        cells = notebook.get("cells")
        if not isinstance(cells, list):
            raise TypeError("it holds no list of cells")
        return ["".join(cell.get("source", "")) for cell in cells if cell["cell_type"] == "code"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise NotebookError(
            f"{name!r} is not a notebook ({error!s:.200}): save it again in Colab, or name another "
            "one."
        ) from error


def _parsed(content: bytes) -> Any:
    if len(content) > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES >> 20} MiB: clear its outputs")
    try:
        text = content.decode(json.detect_encoding(content))
    except UnicodeDecodeError:
        text = content.decode("cp1252", errors="replace")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("its content is not JSON") from None


def code_cell(source: str, identity: str = "colab-drive-tuner") -> dict[str, Any]:
    """Return a code cell without outputs."""
    return {
        "cell_type": "code", "id": identity, "metadata": {}, "source": source,
        "outputs": [], "execution_count": None,
    }  # fmt: skip


def new_notebook(source: str) -> dict[str, Any]:
    """Return a version-4 notebook with one code cell."""
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    about = {"metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    return {"cells": [code_cell(source)], **about}


def notebook_imports(name: str | Path, notify: Callable[[str], object] = print) -> list[str]:
    """Return the import statements of a notebook; `name` may be a path, and may lack `.ipynb`.

    Cells that are not valid Python are skipped and reported through `notify`, as is a missing
    file, which has no imports. Raises `NotebookError` if the file is not a notebook.
    """
    path = Path(name)
    path = path if path.suffix == ".ipynb" else path.with_name(f"{path.name}.ipynb")
    if not path.is_file():
        notify(f"hyperas: {path.resolve()} does not exist; imports come from the running session.")
        return []
    try:
        content = read_file(path, MAX_BYTES)
    except OSError as error:
        raise NotebookError(f"{path.resolve()} cannot be read ({error.strerror}).") from error
    imports: list[str] = []
    for number, source in enumerate(code_cells(content, str(path.resolve())), 1):
        try:
            for tree in python_trees(source):
                imports += _imports_in(tree)
        # ValueError: a lone surrogate; RecursionError, MemoryError: endless "((((".
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            notify(
                f"hyperas: skipped code cell {number} of {path.name}, which is not valid Python: "
                f"{str(error) or type(error).__name__}."
            )
    return list(dict.fromkeys(imports))


def imports_of(source: str) -> list[str]:
    """Return one import statement for each imported name, without `__future__` imports."""
    return _imports_in(ast.parse(source))


def _imports_in(tree: ast.Module) -> list[str]:
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module != "__future__":
            found += [
                ast.unparse(ast.ImportFrom(node.module, [alias], node.level))
                for alias in node.names
            ]
        elif isinstance(node, ast.Import):
            found += [ast.unparse(ast.Import([alias])) for alias in node.names]
    return found


def global_names(text: str, filename: str) -> tuple[set[str], set[str]]:
    """Return the global names that a module reads, and those among them that it does not define.

    Imported names count as read. `from x import *` defines the names of module x, or all names if x
    has not been imported in this process.
    """
    top = symtable.symtable(text, filename, "exec")
    used: set[str] = set()
    defined = {*dir(builtins), "__name__", "__doc__", "__spec__", "__loader__", "__package__"}
    pending = [top]
    while pending:
        table = pending.pop()
        pending.extend(table.get_children())
        for symbol in table.get_symbols():
            if table is top or symbol.is_global():
                if symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace():
                    defined.add(symbol.get_name())
                elif symbol.is_referenced():
                    used.add(symbol.get_name())
                if symbol.is_imported():
                    used.add(symbol.get_name())  # hyperas's own imports may fail silently
    for module in re.findall(r"^\s*from (.*) import \*$", text, re.MULTILINE):
        if (loaded := sys.modules.get(module)) is None:
            return used, set()
        defined.update(getattr(loaded, "__all__", vars(loaded)))
    return used, used - defined


def python_trees(cell: str, depth: int = 0) -> Iterator[ast.Module]:
    """Yield the syntax trees of a cell and of the Python in its magics; may raise SyntaxError."""
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
