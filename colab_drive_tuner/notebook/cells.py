"""Code cells of a notebook: read without trust in what its file holds, and made."""

import json
from typing import Any

from colab_drive_tuner.errors import NotebookError

MAX_BYTES = 64 << 20
"""A larger file takes gigabytes as JSON; Drive's own editor stops at a third of that."""


def code_cells(content: bytes | dict[str, Any], name: str) -> list[str]:
    """The sources of a notebook's code cells; raises `NotebookError` for what is not a notebook.

    Args:
        content: The file as bytes, in any encoding of JSON or that of Windows; or parsed already.
        name: What the error calls it.
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
    """A code cell with nothing run in it."""
    return {
        "cell_type": "code", "id": identity, "metadata": {}, "source": source,
        "outputs": [], "execution_count": None,
    }  # fmt: skip


def new_notebook(source: str) -> dict[str, Any]:
    """A notebook of version 4 with one code cell."""
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    about = {"metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    return {"cells": [code_cell(source)], **about}
