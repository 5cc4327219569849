"""Outcomes of reruns: exit codes, computed from a search's status, and the log of runs.

Each run has one file in `runs/`: the executed notebook or else a message. The facts that `status`
shows of a run (start, runner, duration, number of trials, how it ended) are properties of its file,
so that one listing shows all runs without a download.
"""

import contextlib
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum, StrEnum
from pathlib import Path

from colab_drive_tuner.errors import IdTakenError, SearchNotFoundError
from colab_drive_tuner.journal.folder.creation import (
    BACKUPS,
    RUNS,
    find_or_create_subfolder,
    list_subfolder,
)
from colab_drive_tuner.journal.folder.lookup import find_folder
from colab_drive_tuner.search.results.read_search import open_journal, status_of
from colab_drive_tuner.store.protocol import Entry, Store, read_count, read_number, read_time

RUN_PROPERTIES = (
    "cdt_began", "cdt_where", "cdt_seconds", "cdt_trials", "cdt_done", "cdt_ended", "cdt_search",
)  # fmt: skip
"""The properties of a run's file."""
_BEGAN, _WHERE, _SECONDS, _TRIALS, _DONE, _ENDED, _SEARCH = RUN_PROPERTIES


class ExitCode(IntEnum):
    """Exit codes of `rerun` and of `status --exit-code` (69 and 75 as in sysexits.h)."""

    FINISHED = 0
    FAILED = 1
    BUSY = 69
    UNFINISHED = 75


@dataclass(frozen=True)
class RerunStatus:
    """Status of a search, as an exit code for schedulers and a message for people."""

    exit_code: ExitCode
    message: str
    done: int = 0
    """Number of trials that have ended."""
    account: str | None = None
    """The account of the search's last owner; None if it has had no owner."""
    missing: str = ""
    """If the store does not hold the search: a message with names like it."""


def read_rerun_status(store: Store, name: str, *, own_run_ended: bool = False) -> RerunStatus:
    """Read the status of a search; one that does not exist yet is unfinished.

    Raises `SearchFolderError` for one that was moved or trashed by hand: no run could continue it.
    With `own_run_ended`, a run of this process has just ended: the lease of its kernel may not have
    expired yet, so a held search is not reported as busy.
    """
    try:
        journal = open_journal(store, name)
    except SearchNotFoundError as missing:
        message = f"Search {name!r} has not begun."
        return RerunStatus(ExitCode.UNFINISHED, message, missing=str(missing))
    status = status_of(store, name, journal)
    progress = f"{status.progress} trials done"
    if status.stopped:
        progress += f", stopped: {status.stopped}"
    if status.finished:
        code, message = ExitCode.FINISHED, f"Search {name!r} is finished: {progress}."
    elif status.held and not own_run_ended:
        code = ExitCode.BUSY
        message = f"Search {name!r} is running ({progress}): {status.holder}."
    else:
        code, message = ExitCode.UNFINISHED, f"Search {name!r} is unfinished: {progress}."
    return RerunStatus(code, message, status.done, journal.account)


class RunEnd(StrEnum):
    """The way a run ended."""

    FINISHED = "finished"
    UNFINISHED = "unfinished"
    FAILED = "failed"
    STOPPED = "stopped"
    BUSY = "busy"
    NOT_STARTED = "not started"
    UNKNOWN = "unknown"


INCONCLUSIVE = (RunEnd.BUSY, RunEnd.STOPPED, RunEnd.NOT_STARTED)
"""Ends that do not show whether the program works."""


@dataclass(frozen=True)
class Run:
    """One run of a notebook or script."""

    search: str
    began: float
    """Its start in seconds since 1970, by the clock of the machine that started it."""
    where: str
    """The name of its runner."""
    seconds: float
    trials: int
    """Number of trials that ended during the run."""
    done: int
    """Number of trials of the search that had ended by its end."""
    ended: RunEnd
    url: str = ""
    """Its file in `runs/`."""


def record_run(store: Store, run: Run, executed: Path | None, message: str = "") -> None:
    """Record a run in the search's `runs/`, with the executed notebook or else the message.

    Runs of a search that does not exist yet are recorded in the store's own `runs/`.
    """
    store = store.for_search(run.search)
    folder = find_folder(store, run.search)
    runs = find_or_create_subfolder(store, folder.id if folder is not None else store.root, RUNS)
    (entry_id,) = store.reserve(1)
    name = f"{datetime.fromtimestamp(run.began, UTC):%Y-%m-%dT%H-%M-%SZ} {run.ended}"
    content: Path | bytes = executed if executed is not None else message.encode()
    with contextlib.suppress(IdTakenError):  # an earlier attempt of this very upload succeeded
        store.create(
            entry_id,
            content,
            name=name + (executed.suffix if executed is not None else ".txt"),
            parent=runs,
            properties={
                _SEARCH: _short(run.search),
                _BEGAN: f"{run.began:.0f}",
                _WHERE: run.where[:80],
                _SECONDS: f"{run.seconds:.0f}",
                _TRIALS: str(run.trials),
                _DONE: str(run.done),
                _ENDED: run.ended,
            },
        )


def read_runs(store: Store, search: str) -> list[Run]:
    """Read the runs of a search, the oldest first."""
    store = store.for_search(search)
    found = [_run(store, entry, search) for entry in run_files(store, search)]
    return sorted(filter(None, found), key=lambda run: run.began)


def run_files(store: Store, search: str) -> list[Entry]:
    """List the files of a search's runs, in its own `runs/` (under any name) and in the store's."""
    folder = find_folder(store, search)
    own = [] if folder is None else list_subfolder(store, folder.id, RUNS)
    shared = list_subfolder(store, store.root, RUNS)
    return own + [file for file in shared if file.properties.get(_SEARCH) == _short(search)]


def read_last_backup(store: Store, search: str) -> float:
    """Return when the latest backup of a trial that has not ended was stored; 0 if none was."""
    store = store.for_search(search)
    folder = find_folder(store, search)
    backups = [] if folder is None else list_subfolder(store, folder.id, BACKUPS)
    return max((entry.created for entry in backups), default=0.0)


def count_fruitless(runs: list[Run], done: int, last_backup: float = 0.0) -> int:
    """Count the latest successive runs without an ended trial; progress made elsewhere stops it.

    A run that got further within a trial, as backups show, is not fruitless either.
    """
    count = 0
    for run in reversed(runs):
        if run.ended in INCONCLUSIVE:
            continue
        if run.trials > 0 or run.done != done or run.began < last_backup:
            break
        count += 1
    return count


def _run(store: Store, entry: Entry, search: str) -> Run | None:
    noted = entry.properties
    try:
        return Run(
            search=search,
            began=read_time(noted, _BEGAN),
            where=noted[_WHERE],
            seconds=read_number(noted, _SECONDS),
            trials=read_count(noted, _TRIALS),
            done=read_count(noted, _DONE),
            ended=RunEnd(noted[_ENDED]),
            url=store.url(entry.id),
        )
    except (KeyError, ValueError):
        return None  # not written by `record_run`


def run_without_end(search: str, note: str, done: int) -> Run | None:
    """Return the run of a rerunner that died, by the note in its lock; None if there is none.

    The note has the time of its last sign of life, its start, the number of trials that had ended
    before it, and its runner.
    """
    noted = dict(zip(("seen", _BEGAN, _DONE, _WHERE), note.split(" ", 3), strict=False))
    try:
        began = read_time(noted, _BEGAN)
        return Run(
            search=search,
            began=began,
            where=noted[_WHERE],
            seconds=max(0.0, read_time(noted, "seen") - began),
            trials=max(0, done - read_count(noted, _DONE)),
            done=done,
            ended=RunEnd.UNKNOWN,
        )
    except (KeyError, ValueError):
        return None


def _short(search: str) -> str:
    """Truncate a name to the size limit of a property."""
    return search.encode()[:100].decode(errors="ignore")
