"""Fixtures: a store for a trial's backups, and the result of an uninterrupted trial."""

import pytest

from colab_drive_tuner.store.folder import FolderStore
from colab_drive_tuner.training import upload_queue
from tests.training.flaky_store import FlakyStore, create_search_folder
from tests.training.small_trainings import KillAt, Killed, run_trial, train_once


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A store whose faults a test switches on; uploads are retried after short pauses."""
    monkeypatch.setattr(upload_queue, "PAUSES", (0.01, 0.02))
    return FlakyStore(tmp_path / "store")


@pytest.fixture
def folder(store):
    """The folder of a search."""
    return create_search_folder(store)


@pytest.fixture(scope="package")
def uninterrupted(tmp_path_factory):
    """The outcome of `train_once` without interruption."""
    store = FolderStore(tmp_path_factory.mktemp("whole"))
    return run_trial(store, create_search_folder(store), train_once)


@pytest.fixture
def killed(store):
    """The folder of a trial that was killed after its third epoch."""
    folder = create_search_folder(store, "killed")
    with pytest.raises(Killed):
        run_trial(store, folder, lambda: train_once(KillAt(3)))
    return folder
