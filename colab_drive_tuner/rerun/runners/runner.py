"""Protocol of runners, and the task that a runner executes."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from colab_drive_tuner.rerun.program import CellError, Program
from colab_drive_tuner.rerun.stopping import StopSignals

_TAIL = 4000


@dataclass(frozen=True)
class RunTask:
    """One run of a program, with its search, its deadline and a folder for its files."""

    program: Program
    search: str
    folder: Path
    """A private folder on this machine, removed after the run."""
    stop_signals: StopSignals
    deadline: float | None = None
    """Seconds since 1970; None: no deadline."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables through which the program finds the store."""

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the deadline; None without a deadline."""
        return None if self.deadline is None else self.deadline - time.time()

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
