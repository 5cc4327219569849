"""Code cells of a notebook: parsing of untrusted files, and construction."""

import json
from typing import Any

from colab_drive_tuner.errors import NotebookError

MAX_BYTES = 64 << 20
"""Limit of a notebook's size: a larger file takes gigabytes once parsed as JSON. Drive's own editor
stops at a third of it."""


def code_cells(content: bytes | dict[str, Any], name: str) -> list[str]:
    """Return the sources of a notebook's code cells; raise `NotebookError` for an invalid notebook.

    Args:
        content: The file's bytes, in any encoding of JSON or in Windows-1252; or the parsed JSON.
        name: The notebook's name for error messages.
    """
    try:
        notebook = _parsed(content) if isinstance(content, bytes) else content
        sheets = notebook.get("worksheets", [notebook])  # version 3 had worksheets
        cells = [cell for sheet in sheets for cell in _list(sheet.get("cells"))]
        if not sheets:
            raise ValueError("it holds no list of cells")
        code = [cell for cell in cells if cell["cell_type"] == "code"]
        return ["".join(cell.get("source", cell.get("input", ""))) for cell in code]
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


def _list(cells: Any) -> list[Any]:
    if not isinstance(cells, list):
        raise TypeError("it holds no list of cells")
    return cells


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
