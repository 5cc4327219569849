"""Imports of a notebook, read from its file cell by cell, whatever else its cells hold.

The hyperas package takes a notebook's imports from the saved file and fails as a whole on one magic
or one broken cell; here such a cell is passed over, and named.
"""

import ast
import builtins
import json
import re
import symtable
from collections.abc import Callable
from pathlib import Path

from colab_drive_tuner.errors import NotebookError
from colab_drive_tuner.notebook.local_copy import MAX_BYTES
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
    sources = _code_cells(path)
    imports: list[str] = []
    for number, source in enumerate(sources, 1):
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


def _code_cells(path: Path) -> list[str]:
    """The sources of a notebook's code cells; `NotebookError` for what is none."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"it is larger than {MAX_BYTES >> 20} MiB")
        content = path.read_bytes()
        try:
            text = content.decode(json.detect_encoding(content))
        except UnicodeDecodeError:
            text = content.decode("cp1252", errors="replace")
        notebook = json.loads(text)
        sheets = [notebook, *notebook.get("worksheets", [])]  # version 3 had worksheets
        cells = [cell for sheet in sheets for cell in sheet.get("cells", [])]
        code = [cell for cell in cells if cell["cell_type"] == "code"]
        return ["".join(cell.get("source", cell.get("input", ""))) for cell in code]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = f"{type(error).__name__}: {str(error)[:200]}"
        raise NotebookError(
            f"{path.resolve()} is not a notebook ({reason}): save it again in Colab, or name "
            "another one."
        ) from error


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
