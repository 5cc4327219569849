"""Import statements and global names of notebooks and modules, from their source.

The hyperas package reads a notebook's imports from the saved file, and fails on a single magic or
invalid cell. Here an invalid cell is skipped and reported.
"""

import ast
import builtins
import re
import symtable
import sys
from collections.abc import Callable
from pathlib import Path

from colab_drive_tuner.errors import NotebookError
from colab_drive_tuner.notebook.cells import MAX_BYTES, code_cells
from colab_drive_tuner.notebook.magics import python_trees


def notebook_imports(name: str | Path, announce: Callable[[str], object] = print) -> list[str]:
    """Return the import statements of a notebook; `name` may be a path, and may lack `.ipynb`.

    Cells that are not valid Python are skipped and reported through `announce`, as is a missing
    file, which has no imports. Raises `NotebookError` if the file is not a notebook.
    """
    path = Path(name)
    path = path if path.suffix == ".ipynb" else path.with_name(f"{path.name}.ipynb")
    if not path.is_file():
        announce(
            f"hyperas: {path.resolve()} does not exist; imports come from the running session."
        )
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
                f"hyperas: skipped code cell {number} of {path.name}: line {error.lineno} is not "
                f"valid Python: {error.msg}."
            )
        except (ValueError, RecursionError, MemoryError):  # a lone surrogate; endless "(((("
            announce(
                f"hyperas: skipped code cell {number} of {path.name}: it is nested too deeply for "
                "Python, or contains an invalid character."
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
