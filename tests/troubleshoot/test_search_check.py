"""Missing trials: a chain that lost its last records is not taken for a complete one."""

from pathlib import Path

import pytest

from colab_drive_tuner.checkpoint.history import History
from colab_drive_tuner.checkpoint.pickles import reader
from colab_drive_tuner.errors import UnavailableError
from colab_drive_tuner.journal import Journal
from colab_drive_tuner.journal.chain.chain import save_snapshot
from colab_drive_tuner.journal.folder.lookup import find_folder
from colab_drive_tuner.journal.folder.properties import EXPORT_NAME, Property
from colab_drive_tuner.search.results.read_search import read_status
from colab_drive_tuner.search.trials.logbook import rules
from colab_drive_tuner.store.folder import FolderStore
from colab_drive_tuner.troubleshoot.doctor import Finding, Level, examine, search_probes
from colab_drive_tuner.troubleshoot.doctor.context import CheckContext
from colab_drive_tuner.troubleshoot.repair.repair import repair
from colab_drive_tuner.troubleshoot.repair.salvage import salvage_folder
from colab_drive_tuner.troubleshoot.repair.search_check import SearchCheck
from tests.search.sample_searches import resume_sample_search
from tests.troubleshoot.damaged_searches import (
    LaterStore,
    assert_resumes_as_uninterrupted,
    record_files,
    run_with_record_per_trial,
)

pytestmark = pytest.mark.usefixtures("no_waiting")


def about(store: Path | FolderStore, name: str = "search") -> list[Finding]:
    """Return doctor's findings about a search."""
    return [finding for finding in examine(store) if finding.about == f"search {name!r}"]


def lose(folder: Path, *, newest: int) -> None:
    """Delete the newest records permanently."""
    for path in record_files(folder)[-newest:]:
        path.unlink()


def test_trials_pkl_reveals_missing_records(tmp_path: Path) -> None:
    """Doctor counts trials in trials.pkl that no record has, and repair restores them."""
    run_with_record_per_trial(tmp_path, 6)
    assert [finding.level for finding in about(tmp_path)] == [Level.OK]
    lose(tmp_path, newest=3)
    assert read_status(FolderStore(tmp_path), "search").done == 4
    (found,) = about(tmp_path)
    assert found.level == Level.PROBLEM
    assert "6 trials are known to have existed (" in found.text
    assert "), 5 are readable" in found.text
    assert "trials.pkl: " in found.text
    assert found.advice == f"Run `colab-drive-tuner --store {tmp_path} repair search`."
    report = repair(LaterStore(tmp_path), "search")
    assert "6 trials are known to have existed" in report.reason
    assert report.done == 6
    assert [finding.level for finding in about(tmp_path)] == [Level.OK]
    assert_resumes_as_uninterrupted(tmp_path)


def test_a_trials_pkl_of_the_same_trials_is_not_read(tmp_path: Path, monkeypatch) -> None:
    """A trials.pkl that equals what the records would export needs no reading, which is slow."""
    run_with_record_per_trial(tmp_path, 6)
    monkeypatch.setattr(reader, "read_trials", None)
    assert [finding.level for finding in about(tmp_path)] == [Level.OK]


def test_a_snapshot_reveals_missing_records(tmp_path: Path) -> None:
    """A snapshot reveals missing records, even if the folder does not name it any more."""
    run_with_record_per_trial(tmp_path, 21)
    lose(tmp_path, newest=3)
    store = FolderStore(tmp_path)
    folder = find_folder(store, "search")
    (finding,) = about(tmp_path)
    assert "its records 21, 22, 23 are missing" in finding.text
    store.set_properties(folder.id, {Property.HINT: ""})
    (tmp_path / "search" / "trials.pkl").unlink()
    (finding,) = about(tmp_path)
    assert "21 trials are known to have existed (" in finding.text
    assert "a snapshot of the first 23 records" in finding.text
    assert repair(LaterStore(tmp_path), "search").done == 21


def test_a_snapshot_that_lacks_trials_is_seen_without_trials_pkl(tmp_path: Path) -> None:
    """All records are there, but whoever reads from the snapshot misses what they say."""
    run_with_record_per_trial(tmp_path, 6)
    store = FolderStore(tmp_path).for_search("search")
    journal = Journal.open(store, "search", rules())
    save_snapshot(store, journal._reader.folder, journal._reader.head, History().dump())
    (tmp_path / "search" / EXPORT_NAME).unlink()
    (found,) = about(tmp_path)
    assert found.level == Level.PROBLEM
    assert "6 trials are known to have existed" in found.text
    assert "0 are readable" in found.text
    assert repair(LaterStore(tmp_path), "search").done == 6


def test_a_discarded_snapshot_is_no_damage(tmp_path: Path) -> None:
    """Old snapshots are emptied; a kill may leave one of them among the records."""
    run_with_record_per_trial(tmp_path, 3)
    store = FolderStore(tmp_path)
    folder = find_folder(store, "search")
    assert folder is not None
    one, other = store.reserve(2)
    for entry_id in (one, other):
        store.create(entry_id, b"", name="snapshot-000002.cdt", parent=folder.records)
    store.trash(other)
    assert salvage_folder(store, folder).unreadable == []


def test_a_lost_newest_record_is_a_problem(tmp_path: Path) -> None:
    """Doctor and repair name it before a claim fails because of it, and no trial is lost."""
    run_with_record_per_trial(tmp_path, 3)
    lose(tmp_path, newest=1)
    (found,) = about(tmp_path)
    assert (found.level, found.text) == (Level.PROBLEM, "its records 5 are missing.")
    report = repair(LaterStore(tmp_path), "search")
    assert (report.reason, report.done) == ("its records 5 are missing", 3)
    assert report.lost == ("the records 5",)
    assert [finding.level for finding in about(tmp_path)] == [Level.OK]
    assert_resumes_as_uninterrupted(tmp_path)


def test_an_older_trials_pkl_is_no_evidence(tmp_path: Path) -> None:
    """Trials of a trials.pkl from before a restart are not missing."""
    resume_sample_search(tmp_path, name="search", max_evals=6)
    before = (tmp_path / "search" / "trials.pkl").read_bytes()
    resume_sample_search(tmp_path, name="search", max_evals=2, restart=True)
    (tmp_path / "search" / "trials.pkl").write_bytes(before)
    assert [finding.level for finding in about(tmp_path)] == [Level.OK]
    assert repair(FolderStore(tmp_path), "search").reason == ""


def test_each_search_has_a_time_limit_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A search whose check takes too long is named, and the other searches are checked."""
    for name in ("a", "b", "search"):
        run_with_record_per_trial(tmp_path, 2, name)
    record_files(tmp_path)[1].write_bytes(b"")
    look = search_probes._check_chain

    def slow(context: CheckContext, search: SearchCheck) -> Finding:
        if search.name != "search":
            raise UnavailableError("it does not answer") if search.name == "b" else TimeoutError
        return look(context, search)

    monkeypatch.setattr(search_probes, "_check_chain", slow)
    found = {finding.about: finding for finding in examine(tmp_path)}
    assert "it was not checked completely" in found["search 'a'"].text
    assert (found["search 'a'"].level, found["search 'b'"].level) == (Level.WARNING, Level.PROBLEM)
    assert found["search 'search'"].level == Level.PROBLEM
