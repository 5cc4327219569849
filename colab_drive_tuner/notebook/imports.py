"""Imports of a notebook, read from its file cell by cell, whatever else its cells hold.

The hyperas package takes a notebook's imports from the saved file and fails as a whole on one magic
or one broken cell; here such a cell is passed over, and named.
"""

import ast
import builtins
import re
import symtable
from collections.abc import Callable
from pathlib import Path

from colab_drive_tuner.errors import NotebookError
from colab_drive_tuner.notebook.cells import MAX_BYTES, code_cells
from colab_drive_tuner.notebook.magics import python_trees


def notebook_imports(name: str | Path, announce: Callable[[str], object] = print) -> list[str]:
    """The import statements of a notebook, one a line; `name` may be a path, and lack `.ipynb`.

    Cells that Python cannot read (never run, or no Python) are left out and named. A notebook that
    is not there gives none, and a line that says so. Raises `NotebookError` for what is none.
    """
    path = Path(name)
    path = path if path.suffix == ".ipynb" else path.with_name(f"{path.name}.ipynb")
    if not path.is_file():
        announce(f"hyperas: there is no {path.resolve()}; imports come from the running session.")
        return []
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise NotebookError(f"{path.resolve()} cannot be read ({error.strerror}).") from error
    imports: list[str] = []
    for number, source in enumerate(code_cells(content, str(path.resolve())), 1):
        try:
            for tree in python_trees(source):
                imports += _imports_in(tree)
        except SyntaxError as error:
            announce(
                f"hyperas: code cell {number} of {path.name} is left out, for Python cannot read "
                f"its line {error.lineno}: {error.msg}."
            )
        except (ValueError, RecursionError, MemoryError):  # a lone surrogate; "((((" without end
            announce(
                f"hyperas: code cell {number} of {path.name} is left out: it is nested too deeply "
                "for Python, or holds half a character."
            )
    return list(dict.fromkeys(imports))


def imports_of(source: str) -> list[str]:
    """Each name that a source imports, as a statement of its own; the future's are left out."""
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
    """The global names that a module reads, and those of them that it does not define itself.

    What it imports counts as read, and, with `from x import *`, everything as defined.
    """
    top = symtable.symtable(text, filename, "exec")
    used: set[str] = set()
    defined = {*dir(builtins), "__name__", "__doc__", "__spec__", "__loader__", "__package__"}
    waiting = [top]
    while waiting:
        table = waiting.pop()
        waiting.extend(table.get_children())
        for symbol in table.get_symbols():
            if table is top or symbol.is_global():
                if symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace():
                    defined.add(symbol.get_name())
                elif symbol.is_referenced():
                    used.add(symbol.get_name())
                if symbol.is_imported():
                    used.add(symbol.get_name())  # hyperas's imports may fail, and say nothing
    anything = re.search(r"^\s*from .* import \*$", text, re.MULTILINE)
    return used, set() if anything else used - defined
