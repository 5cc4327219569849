"""Programs to rerun, the task of running one once, and the protocol of runners.

A program is a notebook (a file, or `drive://...` for one in Drive) or a Python script.

To run in a kernel, a script is converted to a notebook with one cell. Failures are read from the
executed notebook, not from an exit code: Colab's command line exits 0 even if a cell raised.
"""

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import decode_source
from pathlib import Path
from typing import Any, Protocol, TypeGuard

from colab_drive_tuner.errors import NotebookError, NotebookNotFoundError, UsageError
from colab_drive_tuner.notebook.cells import code_cell, new_notebook
from colab_drive_tuner.rerun.runs import ExitCode
from colab_drive_tuner.rerun.stopping import StopSignals

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_OURS = "colab-drive-tuner"
_BUSY = {"SearchBusyError", "SearchTakenOverError"}
_TAIL = 4000


@dataclass(frozen=True)
class Program:
    """A notebook or script, with its content at the time of loading."""

    name: str
    """The name that the user gave."""
    content: bytes
    folder: Path
    """Its working directory on this machine."""
    file: Path | None = None
    """The file that it was read from; None for a notebook in Drive."""

    @property
    def is_script(self) -> bool:
        """Whether it is Python source rather than a notebook."""
        return self.name.endswith(".py")

    def notebook(self) -> dict[str, Any]:
        """Return it as a notebook of version 4; raise `NotebookError` if it is not one."""
        if self.is_script:
            try:
                return new_notebook(decode_source(self.content))
            except (SyntaxError, UnicodeDecodeError) as error:
                raise NotebookError(f"{self.name} is not Python source: {error}.") from None
        try:
            found = json.loads(self.content)
        except (ValueError, RecursionError):
            found = None
        if not _is_notebook(found):
            raise NotebookError(
                f"{self.name} is not a notebook of version 4: save it again in Jupyter."
            )
        return found

    @property
    def kernel(self) -> str:
        """The name of the kernel that it asks for; empty if it names none."""
        return str(self.metadata("kernelspec").get("name") or "")

    def metadata(self, key: str) -> dict[str, Any]:
        """Return a map in the notebook's metadata; empty if there is no such map."""
        found = self.notebook()["metadata"].get(key)
        return found if isinstance(found, dict) else {}

    def mentions(self, name: str) -> bool:
        """Whether a cell of the notebook contains a word."""
        sources = (cell.get("source") for cell in self.notebook()["cells"])
        texts = ("".join(map(str, text)) for text in sources if isinstance(text, str | list))
        return any(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) for text in texts)


def _is_notebook(found: Any) -> TypeGuard[dict[str, Any]]:
    return (
        isinstance(found, dict)
        and found.get("nbformat") == 4
        and isinstance(found.get("metadata"), dict)
        and isinstance(found.get("cells"), list)
        and all(
            isinstance(cell, dict) and isinstance(cell.get("metadata"), dict)
            for cell in found["cells"]
        )
    )


@dataclass(frozen=True)
class CellError:
    """The error that ended a run."""

    message: str
    """The cell's number and traceback."""
    exit_code: ExitCode


@dataclass(frozen=True)
class RunTask:
    """One run of a program, with its search, its deadline and a folder for its files."""

    program: Program
    search: str
    folder: Path
    """A private folder on this machine, removed after the run."""
    stop_signals: StopSignals
    max_seconds: float | None = None
    """How long the run may last; None: no deadline."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables through which the program finds the store."""
    began: float = 0.0
    """Its start in seconds since 1970."""
    started: float = field(default_factory=time.monotonic)
    """Its start by a clock that nobody sets, to measure the run."""

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the deadline; None without a deadline."""
        ran = time.monotonic() - self.started
        return None if self.max_seconds is None else self.max_seconds - ran

    @property
    def deadline(self) -> float | None:
        """Seconds since 1970, for a program that runs elsewhere; None: no deadline."""
        return None if self.max_seconds is None else self.began + self.max_seconds

    @property
    def executed(self) -> Path:
        """The path of the executed notebook."""
        return self.folder / "executed.ipynb"

    @property
    def output(self) -> Path:
        """The file that receives all output of the run."""
        return self.folder / "output.txt"

    def output_tail(self) -> str:
        """Return the end of the output."""
        try:
            return self.output.read_text(errors="replace")[-_TAIL:].strip()
        except FileNotFoundError:
            return ""

    def result_file(self) -> Path | None:
        """Return the file to record: the executed notebook, else the output, if not empty."""
        for path in (self.executed, self.output):
            if path.exists() and path.stat().st_size:
                return path
        return None


class Runner(Protocol):
    """Runs a program once."""

    @property
    def name(self) -> str:
        """Its name in the log of runs: "local", "colab T4", ..."""

    def check(self, task: RunTask) -> None:
        """Raise if this runner cannot run the program; nothing is started."""

    def run(self, task: RunTask) -> CellError | None:
        """Run the program to its end, and always release the resources allocated for it.

        Returns the program's first error, or None. Raises `NotebookRunError` if the runner itself
        failed; a `StoppedError` is passed on.
        """


def load_program(name: str) -> Program:
    """Read a notebook or script; raise `NotebookError` if it is missing or invalid."""
    program = _read(name)
    program.notebook()
    return program


def _read(name: str) -> Program:
    if name.startswith("drive://"):
        from colab_drive_tuner.rerun.drive_notebooks import handler

        return Program(name, handler.read(name).encode(), Path.cwd())
    path = Path(name)
    if path.suffix not in (".ipynb", ".py"):
        raise UsageError(f"{name!r} is neither a notebook (.ipynb) nor a script (.py).")
    try:
        return Program(path.name, path.read_bytes(), path.resolve().parent, path.absolute())
    except FileNotFoundError:
        raise NotebookNotFoundError(f"There is no notebook or script {name!r} here.") from None
    except OSError as error:
        raise NotebookError(f"{name} cannot be read ({error.strerror}).") from None


def with_first_cell(notebook: dict[str, Any], source: str) -> dict[str, Any]:
    """Return a copy of the notebook with a tagged cell in front of its own cells."""
    cell = code_cell(source, f"{_OURS}-0") | {"metadata": {"tags": [_OURS]}}
    return {**notebook, "cells": [cell, *notebook["cells"]]}


def find_error(executed: Path) -> CellError | None:
    """Return the error of the first cell that raised, numbered as in the original notebook.

    `sys.exit` with the code of a finished or unfinished search is not an error. Raises ValueError
    if the notebook is truncated: its writer was killed, or the disk was full.
    """
    notebook = json.loads(executed.read_bytes())
    number = 0
    for cell in notebook["cells"]:
        if cell.get("cell_type") != "code":
            continue
        tags = cell.get("metadata", {}).get("tags", [])
        if _OURS not in tags and "injected-parameters" not in tags:  # papermill's
            number += 1
        for output in cell.get("outputs", []):
            if output.get("output_type") != "error":
                continue
            name, value = output.get("ename", "Error"), str(output.get("evalue", ""))
            if name == "SystemExit" and value in ("0", "75", "None", ""):
                return None
            message = f"Cell {number} raised {name}: {value}"
            if name in _BUSY or (name == "SystemExit" and value == "69"):
                return CellError(message, ExitCode.BUSY)
            traceback = _COLOURS.sub("", "\n".join(output.get("traceback", [])))
            return CellError(f"{message}\n{traceback}", ExitCode.FAILED)
    return None
