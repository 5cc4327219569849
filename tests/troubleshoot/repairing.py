"""Searches to repair, and a check that they continue as if uninterrupted."""

import functools
from pathlib import Path

from colab_drive_tuner.search.drive_trials import DriveTrials
from colab_drive_tuner.store.protocol import Store
from tests.search.searching import bowl, plain, points, search, stored


def run_slowly(folder: Store | Path, max_evals: int, name: str = "search") -> DriveTrials:
    """Run a search so that each trial gets records of its own."""
    trials = DriveTrials(name, store=folder, notify=lambda _: None)

    @functools.wraps(bowl)  # so that it counts as the same objective
    def objective(point):
        trials.log.journal.flush(20)
        return bowl(point)

    search(trials, "tpe", max_evals, objective)
    return trials


def records(folder: Path, name: str = "search") -> list[Path]:
    """The records of a search, in order."""
    return sorted((folder / name / "records").glob("record-*.cdt"))


def goes_on_as_it_would(folder: Path) -> None:
    """Whether the search, run on to 30 trials, is the uninterrupted one."""
    assert points(stored(folder, "tpe", 30)) == points(plain("tpe", 30))
