"""Order of a running trial's backups and the record of its start."""

from pathlib import Path
from typing import Any

import pytest
from hyperopt import hp

from colab_drive_tuner.errors import SearchTakenOverError, StoreError, UnavailableError
from colab_drive_tuner.journal import Journal, writer
from colab_drive_tuner.search.resume import resume_search
from colab_drive_tuner.search.trials import backups
from colab_drive_tuner.search.trials.logbook import rules
from colab_drive_tuner.store.folder import FolderStore
from colab_drive_tuner.training.trial import running_trial

SPACE = {"x": hp.uniform("x", 0, 1)}


def search(store: FolderStore, objective: Any) -> Any:
    return resume_search(
        objective, space=SPACE, max_evals=2, name="s", store=store, seed=1, progress=False
    )


def test_the_start_of_a_trial_is_recorded_before_its_backup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trial's start is recorded before its backup, so that a kill leaves no orphaned backup."""
    monkeypatch.setattr(writer, "LINGER_SECONDS", 600.0)
    monkeypatch.setattr(writer, "PAIR_SECONDS", 600.0)
    store, content = FolderStore(tmp_path / "store"), tmp_path / "content"
    content.write_bytes(b"weights")

    def objective(point: dict[str, float]) -> float:
        trial = running_trial()
        assert trial is not None
        assert trial.artifacts is not None
        trial.artifacts.put("fit-000-epoch-00001.backup", content)
        unfinished = Journal.open(store, "s", rules()).state.unfinished
        assert [entry.tid for entry in unfinished] == [trial.tid]
        return point["x"]

    assert len(search(store, objective).trials) == 2


def test_no_backup_is_stored_while_the_start_cannot_be_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backup is refused while the trial's start is not recorded, and after a takeover."""
    monkeypatch.setattr(backups, "_START_PATIENCE", 0.0)
    store = FolderStore(tmp_path / "store")
    taken: list[Exception] = []

    def objective(point: dict[str, float]) -> float:
        trial = running_trial()
        assert trial is not None
        assert trial.artifacts is not None
        monkeypatch.setattr(Journal, "flush", lambda self, timeout=None: False)
        with pytest.raises(UnavailableError, match="start of the trial is not recorded"):
            trial.artifacts.put("fit-000-epoch-00001.backup", tmp_path / "missing")
        monkeypatch.setattr(Journal, "raise_if_lost", lambda self: throw(taken[0]))
        taken.append(SearchTakenOverError("Another runtime took it over."))
        with pytest.raises(StoreError, match="took it over"):
            trial.artifacts.put("fit-000-epoch-00001.backup", tmp_path / "missing")
        monkeypatch.undo()
        assert trial.artifacts.names() == []
        return point["x"]

    assert len(search(store, objective).trials) == 2


def throw(error: Exception) -> None:
    raise error


def test_a_worker_that_cannot_look_at_the_store_runs_the_trial_without_backups() -> None:
    """A path that is closed or too long on the worker's machine is like one that is not there."""
    folder = backups.BackupFolder("/x" + "x" * 300, "s", "folder", "", fresh=True)
    assert folder.open(0) is None
