"""What every place where a run can happen has in common."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from colab_drive_tuner.rerun.program import CellError, Program
from colab_drive_tuner.rerun.stopping import Stops

_LAST_WORDS = 4000


@dataclass(frozen=True)
class RunTask:
    """One run: what, for which search, until when, and where its papers lie meanwhile."""

    program: Program
    search: str
    folder: Path
    """A folder of its own on this machine, only for this user, gone after the run."""
    stops: Stops
    deadline: float | None = None
    """Seconds since 1970."""
    local_store: str | None = None
    """The folder in which searches are kept, where that is not Drive."""

    @property
    def executed(self) -> Path:
        """Where the executed notebook comes to lie."""
        return self.folder / "executed.ipynb"

    @property
    def said(self) -> Path:
        """Where all goes that the run says."""
        return self.folder / "said.txt"

    def last_words(self) -> str:
        """The end of what the run said."""
        try:
            return self.said.read_text(errors="replace")[-_LAST_WORDS:].strip()
        except FileNotFoundError:
            return ""

    def kept(self) -> Path | None:
        """What of the run is worth keeping: the executed notebook, else what it said."""
        for path in (self.executed, self.said):
            if path.exists() and path.stat().st_size:
                return path
        return None


class Place(Protocol):
    """Somewhere a program can run once."""

    @property
    def name(self) -> str:
        """As the log of runs has it: "local", "colab T4", ..."""

    def check(self, task: RunTask) -> None:
        """Raise where this place cannot run the program at all; nothing is started."""

    def run(self, task: RunTask) -> CellError | None:
        """Run it to its end, and release whatever was taken for it, however that end comes.

        Returns the first error in it, None where there was none. Raises `NotebookRunError` where
        the place failed, and lets a stop through.
        """
