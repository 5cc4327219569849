"""`repair` of a search that another session holds or held."""

import pytest

from colab_drive_tuner.errors import AccountMismatchError, SearchBusyError
from colab_drive_tuner.journal.folder.lookup import find_folder
from colab_drive_tuner.search.drive_trials import DriveTrials
from colab_drive_tuner.search.results.read_search import read_history
from colab_drive_tuner.store.folder import FolderStore
from colab_drive_tuner.troubleshoot.repair.repair import repair
from tests.journal.faulty_store import FaultyStore
from tests.troubleshoot.damaged_searches import record_files, run_with_record_per_trial

pytestmark = pytest.mark.usefixtures("no_waiting")


def test_a_search_that_runs_elsewhere_is_refused(folder, monkeypatch, tmp_path):
    """A search with a fresh lease is refused, because repair would end a live run."""
    store = FolderStore(folder)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another machine"))
    trials = DriveTrials("search", store=folder)
    trials.new_trial_ids(1)
    trials.attachments["held"] = 1
    trials.log.journal.flush(200)
    record_files(folder)[8].unlink()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "this machine"))
    with pytest.raises(SearchBusyError, match="is held by"):
        repair(store, "search")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another machine"))
    trials.close()


def test_a_damaged_release_of_this_machine_is_not_waited_for(tmp_path):
    """A session of this machine whose lock is free has ended, even if its release is damaged."""
    run_with_record_per_trial(tmp_path, 2)
    record_files(tmp_path)[-1].write_bytes(b"damaged")
    report = repair(FolderStore(tmp_path), "search")
    assert (report.done, report.lost) == (2, ())


def test_an_owner_that_wakes_up_after_a_repair_stops(folder, monkeypatch, tmp_path):
    """An owner that paused for longer than its lease collides at its next record and stops."""
    from colab_drive_tuner.errors import SearchTakenOverError

    store = FaultyStore(folder)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another machine"))
    sleeper = DriveTrials("search", store=folder)
    sleeper.attachments["held"] = 1
    sleeper.log.journal.flush(200)
    record_files(folder)[8].unlink()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "this machine"))
    store.later = 200.0
    assert repair(store, "search").done == 12
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another machine"))
    sleeper.attachments["late"] = 2
    sleeper.log.journal.flush(200)
    with pytest.raises(SearchTakenOverError):
        sleeper.log.journal.raise_if_lost()
    with pytest.raises(SearchTakenOverError):
        sleeper.close()


def test_another_account_can_repair_a_released_search(folder):
    """Reserved ids work for one account: another one gets a new chain that names the old."""
    store = FaultyStore(folder)
    store.owner = "other@example.com"
    with pytest.raises(AccountMismatchError, match="repair"):
        DriveTrials("search", store=store).attachments["x"] = 1
    old = find_folder(store, "search").id
    report = repair(store, "search")
    assert (report.done, report.lost) == (12, ())
    settings = read_history(store, "search").settings
    assert (settings["generation"], settings["from"]) == (2, old)
    trials = DriveTrials("search", store=store)
    trials.attachments["x"] = 1
    trials.close()


def test_another_account_waits_for_the_release(folder, monkeypatch, tmp_path):
    """Another account may repair an unreleased search only a day after its owner was last seen."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another machine"))
    trials = DriveTrials("search", store=folder)
    trials.attachments["held"] = 1
    trials.log.journal.flush(200)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "this machine"))
    store = FaultyStore(folder)
    store.owner, store.later = "other@example.com", 1000.0
    with pytest.raises(AccountMismatchError, match="was not released"):
        repair(store, "search")
    store.later = 90_000.0
    assert repair(store, "search").done == 12
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another machine"))
    trials.close()
