"""Searches to repair, and a check that they continue as if uninterrupted."""

import functools
from pathlib import Path

from colab_drive_tuner.search.drive_trials import DriveTrials
from colab_drive_tuner.store.folder import FolderStore
from colab_drive_tuner.store.protocol import Store
from tests.search.sample_searches import (
    run_fmin,
    run_hyperopt,
    run_in_store,
    sample_objective,
    trial_values,
)


class LaterStore(FolderStore):
    """A store whose clock is ahead, so that no lease is fresh."""

    def now(self) -> float:
        """Return the time in an hour."""
        return super().now() + 3600


def run_with_record_per_trial(
    folder: Store | Path, max_evals: int, name: str = "search"
) -> DriveTrials:
    """Run a search that writes at least one record per trial."""
    trials = DriveTrials(name, store=folder, notify=lambda _: None)

    @functools.wraps(sample_objective)  # the wrapper must count as the same objective
    def objective(point):
        trials.log.journal.flush(200)
        return sample_objective(point)

    run_fmin(trials, "tpe", max_evals, objective)
    return trials


def record_files(folder: Path, name: str = "search") -> list[Path]:
    """Return the record files of a search, in order."""
    return sorted((folder / name / "records").glob("record-*.cdt"))


def assert_resumes_as_uninterrupted(folder: Path) -> None:
    """Resume the search up to 30 trials and compare it with the uninterrupted one."""
    assert trial_values(run_in_store(folder, "tpe", 30)) == trial_values(run_hyperopt("tpe", 30))
