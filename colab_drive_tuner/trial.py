"""The trial that is running, for code that runs inside it: which it is, its seed, its deadline.

The loop in `search/` fills this in; `training/` reads it. Neither imports the other.
"""

from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass
class Pace:
    """How long epochs and uploads of a search's trials took in this run, at most, in seconds."""

    epoch: float = 0.0
    upload: float = 0.0


class Writer(Protocol):
    """What sends the backups of a trial in the background."""

    def drop(self) -> None:
        """Forget all backups: the trial's result is safe."""

    def wait(self, timeout: float | None) -> bool:
        """Wait until nothing is left to do; False if that takes longer than so many seconds."""


class Artifacts(Protocol):
    """Where the files of one trial are kept while it runs (model backups)."""

    pace: Pace
    writer: Writer | None
    """The background writer of the trial's backups, which `TrialBackup` makes; None before."""

    def put(self, name: str, path: Path) -> None:
        """Keep the file at `path` under `name`, replacing what was kept under it; may take long."""

    def get(self, name: str, path: Path) -> bool:
        """Write what is kept under `name` to `path`; False if there is nothing."""

    def names(self) -> list[str]:
        """The names under which something is kept."""

    def drop(self, name: str) -> None:
        """Forget what is kept under `name`; nothing happens if there is nothing."""


@dataclass(frozen=True)
class RunningTrial:
    """What a training function may know about the trial in which it runs."""

    search: str
    tid: int
    seed: int
    """The search's training seed, 0 <= seed < 2**32: the same in every trial, run and attempt."""
    attempt: int = 1
    """1 for the first runtime that works on this trial, 2 for the next, ..."""
    deadline: float | None = None
    """`time.monotonic()` by which the trial must have stopped; None: no limit."""
    artifacts: Artifacts | None = None
    """Where backups of this trial go; None: nowhere."""
    notices: list[str] | None = None
    """In a worker of an executor: takes what the user is to be told, once; None: elsewhere."""


_running: ContextVar[RunningTrial | None] = ContextVar("running_trial", default=None)


def running_trial() -> RunningTrial | None:
    """The trial that this code runs in, or None outside of a search."""
    return _running.get()


class run_as:  # noqa: N801 (a context manager, and at half the cost of `contextmanager`)
    """Within the block, `running_trial()` returns `trial`."""

    def __init__(self, trial: RunningTrial) -> None:
        self._trial = trial

    def __enter__(self) -> RunningTrial:
        self._token = _running.set(self._trial)
        return self._trial

    def __exit__(self, *_: object) -> None:
        _running.reset(self._token)


class TrialInterrupted(BaseException):
    """The trial stopped before its end, and the next run of the search goes on with it.

    The next epoch would end after the deadline, and what was done is backed up; or the backup with
    which it began cannot be used (then `epoch` is 0).
    Like KeyboardInterrupt it is not an `Exception`, so that neither the `except Exception` of a
    model function nor hyperopt's `catch_eval_exceptions` mistakes it for one.
    """

    def __init__(self, *, tid: int, fit: int, epoch: int, stored: bool) -> None:
        self.tid = tid
        self.fit = fit
        """Which `fit` call of the trial was running, from 0."""
        self.epoch = epoch
        """How many of its epochs are done."""
        self.stored = stored
        """Whether the backup of exactly this epoch lies in the store; else an older one may."""
        where = "backed up" if stored else "but the store did not take its newest backup in time"
        super().__init__(f"trial {tid} stopped after epoch {epoch}, {where}")
