"""The protocol of runners, and the task that one is given."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from colab_drive_tuner.rerun.program import CellError, Program
from colab_drive_tuner.rerun.stopping import Stops

_TAIL = 4000


@dataclass(frozen=True)
class RunTask:
    """One run: its program, search and deadline, and the folder for its files."""

    program: Program
    search: str
    folder: Path
    """A folder of its own on this machine, only for this user, gone after the run."""
    stops: Stops
    deadline: float | None = None
    """Seconds since 1970."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables by which the program finds the store."""

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the deadline; None: it has none."""
        return None if self.deadline is None else self.deadline - time.time()

    @property
    def executed(self) -> Path:
        """The path of the executed notebook."""
        return self.folder / "executed.ipynb"

    @property
    def output(self) -> Path:
        """The file that all output of the run goes to."""
        return self.folder / "output.txt"

    def output_tail(self) -> str:
        """The end of the output."""
        try:
            return self.output.read_text(errors="replace")[-_TAIL:].strip()
        except FileNotFoundError:
            return ""

    def result_file(self) -> Path | None:
        """The file to keep of the run: the executed notebook, else its output."""
        for path in (self.executed, self.output):
            if path.exists() and path.stat().st_size:
                return path
        return None


class Runner(Protocol):
    """Runs a program once, on some machine."""

    @property
    def name(self) -> str:
        """Its name in the log of runs: "local", "colab T4", ..."""

    def check(self, task: RunTask) -> None:
        """Raise where this runner cannot run the program at all; nothing is started."""

    def run(self, task: RunTask) -> CellError | None:
        """Run it to its end, and release whatever was taken for it, however that end comes.

        Returns the first error in it, None where there was none. Raises `NotebookRunError` where
        the runner failed, and lets a stop through.
        """
