"""The log of runs: one small file in `runs/` for each, an executed notebook where there is one.

What `status` shows of a run (when, where, how long, how many trials, how it ended) are properties
of that file, so that one listing shows them all and no file is downloaded.
"""

import contextlib
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from colab_drive_tuner.errors import IdTakenError
from colab_drive_tuner.journal.folder.lookup import find_folder
from colab_drive_tuner.store.protocol import Entry, Store, read_count, read_number, read_time
from colab_drive_tuner.training.artifacts import find_folders, find_or_create_folder

FOLDER = "runs"
_BEGAN, _WHERE, _SECONDS, _TRIALS, _DONE, _ENDED, _SEARCH = (
    "cdt_began", "cdt_where", "cdt_seconds", "cdt_trials", "cdt_done", "cdt_ended", "cdt_search",
)  # fmt: skip

RUN_MARKS = (_BEGAN, _WHERE, _SECONDS, _TRIALS, _DONE, _ENDED, _SEARCH)
"""The properties of a run's file."""


class RunEnd(StrEnum):
    """How a run ended."""

    FINISHED = "finished"
    UNFINISHED = "unfinished"
    FAILED = "failed"
    STOPPED = "stopped"
    BUSY = "busy"
    NOT_STARTED = "not started"


NO_EVIDENCE = (RunEnd.BUSY, RunEnd.STOPPED, RunEnd.NOT_STARTED)
"""Ends that say nothing about whether the program works."""


@dataclass(frozen=True)
class Run:
    """One run of a notebook or script.

    Attributes:
        search: The name of the search that it worked on.
        began: Seconds since 1970, by the clock of the machine that started it.
        where: The name of its runner.
        seconds: How long it took.
        trials: How many trials ended in it.
        done: How many had ended when it was over.
        ended: How it ended.
        url: The executed notebook.
    """

    search: str
    began: float
    where: str
    seconds: float
    trials: int
    done: int
    ended: RunEnd
    url: str = ""


def keep_run(store: Store, run: Run, executed: Path | None, message: str = "") -> None:
    """Note a run in the search's `runs/`; without an executed notebook, the message take its place.

    A search that does not exist yet has no folder: its runs are noted in the store's own `runs/`.
    """
    store = store.for_search(run.search)
    folder = find_folder(store, run.search)
    runs = find_or_create_folder(store, folder.id if folder is not None else store.root, FOLDER)
    (entry_id,) = store.reserve(1)
    name = f"{datetime.fromtimestamp(run.began, UTC):%Y-%m-%dT%H-%M-%SZ} {run.ended}"
    content: Path | bytes = executed if executed is not None else message.encode()
    with contextlib.suppress(IdTakenError):  # ours: an earlier send of the same bytes got through
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
    """The runs of a search, the oldest first; those of others and other files are passed over.

    Args:
        store: Where the search is kept.
        search: The search's name.
    """
    store = store.for_search(search)
    found = [_run(store, entry, search) for entry in run_files(store, search)]
    return sorted(filter(None, found), key=lambda run: run.began)


def run_files(store: Store, search: str) -> list[Entry]:
    """The files of its runs: all in its own folder, whatever it was called, and the store's."""
    folder = find_folder(store, search)
    own = [] if folder is None else find_folders(store, folder.id, FOLDER)
    noted = [
        entry for runs in find_folders(store, store.root, FOLDER) for entry in store.list(runs)
    ]
    return [entry for runs in own for entry in store.list(runs)] + [
        entry for entry in noted if entry.properties.get(_SEARCH) == _short(search)
    ]


def fruitless(runs: list[Run], done: int) -> int:
    """How many of the last runs ended no trial; somebody else's progress ends the row, too."""
    count = 0
    for run in reversed(runs):
        if run.ended in NO_EVIDENCE:
            continue
        if run.trials > 0 or run.done != done:
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
        return None  # not noted by us


def _short(search: str) -> str:
    """As much of a name as a property can bear."""
    return search.encode()[:100].decode(errors="ignore")
