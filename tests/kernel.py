"""Runner for notebook cells in a real IPython kernel, returning the output of each cell."""

import asyncio
import os
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


class KernelDiedError(Exception):
    """The kernel died while it ran a cell."""


def run_cells(
    cells: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None
) -> list[str]:
    """Run the cells and return the output of each as text: tracebacks included, colours removed.

    The kernel starts in `folder`, with this checkout on its path and `environment` added to this
    process's environment.
    """
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import DeadKernelError

    given = dict(environment or {})
    paths = [str(ROOT), *filter(None, [given.pop("PYTHONPATH", "")])]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    kernel = os.environ | given | {"PYTHONPATH": os.pathsep.join(paths)}
    client = NotebookClient(
        notebook,
        timeout=600,
        startup_timeout=300,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        allow_errors=True,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nbclient warns about event loops and ports
        try:
            asyncio.run(client.async_execute(env=kernel))
        except DeadKernelError as error:
            raise KernelDiedError from error
    return ["".join(map(_text, cell.outputs)) for cell in notebook.cells]


def _text(output: Any) -> str:
    if output.output_type == "stream":  # one print may come in several pieces
        text = output.text
    elif output.output_type == "error":
        text = "\n".join([*output.traceback, ""])
    else:
        text = output.data.get("text/plain", "") + "\n"
    return re.sub(r"\x1b\[[0-9;]*m", "", text)
