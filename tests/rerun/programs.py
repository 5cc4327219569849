"""Notebooks and scripts that run a small search, and helpers to start the command line."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
from nbformat import v4

SEARCH = """
import os, signal, time
from hyperopt import hp
import colab_drive_tuner as cdt

{before}
def objective(x):
    {in_trial}
    return x**2

result = cdt.resume_search(
    objective, space=hp.uniform("x", -1, 1), name={name!r}, max_evals={max_evals}, seed=1,
    algo="rand", progress=False, max_attempts=100)
"""


def source(name: str = "parabola", max_evals: int = 4, before: str = "", in_trial: str = "") -> str:
    """Return Python source that runs the search."""
    return SEARCH.format(name=name, max_evals=max_evals, before=before, in_trial=in_trial or "pass")


def notebook(path: Path, *cells: str) -> Path:
    """Write a notebook."""
    made = v4.new_notebook(
        cells=[v4.new_code_cell(cell) for cell in cells],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
    )
    nbformat.write(made, path)
    return path


def tool(name: str) -> str | None:
    """Return the path of a program, next to Python or on the PATH."""
    beside = Path(sys.executable).parent
    return shutil.which(name, path=os.pathsep.join([str(beside), os.environ["PATH"]]))


def command(*arguments: object) -> list[str]:
    """Return the command that runs this package's command line as a process."""
    return [sys.executable, "-m", "colab_drive_tuner", *map(str, arguments)]


def run(*arguments: object, **environ: str) -> "subprocess.CompletedProcess[str]":
    """Run the command line and wait for its end."""
    return subprocess.run(
        command(*arguments),
        env=os.environ | environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=800,
    )


def printed(path: Path, cell: int) -> str:
    """Return the printed output of a cell of an executed notebook, which may be in pieces."""
    outputs: list[dict[str, Any]] = json.loads(path.read_bytes())["cells"][cell]["outputs"]
    return "".join("".join(output.get("text", "")) for output in outputs)
