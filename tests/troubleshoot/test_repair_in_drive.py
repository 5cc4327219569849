"""`repair` in Drive: restores from the trash, and names what was deleted permanently."""

import pytest
import requests

from colab_drive_tuner.errors import (
    NotFoundError,
    SearchDamagedError,
    SearchFolderError,
    SearchNotFoundError,
)
from colab_drive_tuner.journal.folder.lookup import find_folder
from colab_drive_tuner.journal.folder.properties import Property
from colab_drive_tuner.search.results.read_search import list_searches, read_status
from colab_drive_tuner.troubleshoot.doctor import Level, examine
from colab_drive_tuner.troubleshoot.repair.repair import repair
from tests.search.sample_searches import run_hyperopt, run_in_store, trial_values
from tests.troubleshoot.damaged_searches import run_with_record_per_trial

pytestmark = pytest.mark.usefixtures("no_waiting")


def test_a_search_in_drives_trash_is_restored(drive_emulator):
    """Repair restores a trashed search from Drive's trash without a loss."""
    from colab_drive_tuner.store.drive import DriveStore

    store = DriveStore.connect()
    run_with_record_per_trial(store, 6)
    found = find_folder(store, "search")
    assert found is not None
    store.trash(found.id)
    with pytest.raises(NotFoundError):
        store.stat(found.id)
    report = repair(store, "search")
    assert (report.done, report.lost) == (6, ())
    assert read_status(store, "search").done == 6


@pytest.mark.parametrize("what", ["records", "their folder"])
def test_records_in_drives_trash_are_reported_and_restored(drive_emulator, what):
    """Doctor warns of trashed records, which Drive deletes after 30 days; repair restores them."""
    from colab_drive_tuner.store.drive import DriveStore

    store = DriveStore.connect()
    run_with_record_per_trial(store, 6)
    folder = find_folder(store, "search")
    records = [e for e in store.list(folder.records) if e.name.startswith("record-")]
    thrown = records[2:4] if what == "records" else [store.stat(folder.records)]
    for entry in thrown:
        store.trash(entry.id)
    count = 2 if what == "records" else len(records)
    (finding,) = (f for f in examine(store) if f.about == "search 'search'")
    assert finding.level == Level.WARNING
    assert f"{count} of its records are in the trash" in finding.text
    assert "`colab-drive-tuner repair search`" in finding.advice
    report = repair(store, "search")
    assert (report.done, report.lost) == (6, ())
    assert report.reason.startswith(f"{count} of its records are in the trash")
    for entry in thrown:
        delete(drive_emulator, entry.id)
    assert read_status(store, "search").done == 6
    assert repair(store, "search").reason == ""


@pytest.mark.parametrize(
    "altered",
    [
        {Property.KIND: None},
        {Property.KIND: "archived"},
        {Property.KIND: "", Property.RECORDS: None},
        dict.fromkeys(
            [Property.KIND, Property.FIRST, Property.RECORDS, Property.EXPORT, Property.HOME]
        ),
    ],
)
def test_a_folder_without_its_properties_is_repaired(drive_emulator, altered):
    """A folder without the properties of a search is found by its name and repaired.

    Until then no search begins beside it.
    """
    from colab_drive_tuner.store.drive import DriveStore

    store = DriveStore.connect()
    run_with_record_per_trial(store, 6)
    change(drive_emulator, find_folder(store, "search").id, {"properties": altered})
    with pytest.raises(SearchFolderError, match="`colab-drive-tuner repair search`"):
        run_in_store(store, "tpe", 9)
    report = repair(store, "search")
    assert (report.done, report.lost) == (6, ())
    assert "marks it as a search" in report.reason
    assert trial_values(run_in_store(store, "tpe", 9)) == trial_values(run_hyperopt("tpe", 9))
    assert repair(store, "search").reason == ""


def test_a_search_with_altered_ids_is_repaired(drive_emulator):
    """Ids that name nothing do not make a search look new, and repair restores them."""
    from colab_drive_tuner.store.drive import DriveStore

    store = DriveStore.connect()
    run_with_record_per_trial(store, 6)
    fresh = dict(
        zip((Property.FIRST, Property.RECORDS, Property.EXPORT), store.reserve(3), strict=True)
    )
    change(drive_emulator, find_folder(store, "search").id, {"properties": fresh})
    with pytest.raises(SearchFolderError, match="`colab-drive-tuner repair search`"):
        run_in_store(store, "tpe", 9)
    report = repair(store, "search")
    assert (report.done, report.lost) == (6, ())
    assert trial_values(run_in_store(store, "tpe", 9)) == trial_values(run_hyperopt("tpe", 9))


def test_a_folder_of_records_that_was_moved_away_is_not_called_lost(drive_emulator):
    """Repair asks to move the records folder back, after which the search resumes."""
    from colab_drive_tuner.store.drive import DriveStore

    store = DriveStore.connect()
    run_with_record_per_trial(store, 6)
    folder = find_folder(store, "search")
    delete(drive_emulator, folder.export)
    move(drive_emulator, folder.records, folder.id, store.root)
    with pytest.raises(SearchNotFoundError, match=f"{folder.records}.*moved.*Undo"):
        repair(store, "search")
    move(drive_emulator, folder.records, store.root, folder.id)
    assert trial_values(run_in_store(store, "tpe", 9)) == trial_values(run_hyperopt("tpe", 9))


def test_a_search_whose_records_are_gone_is_listed(drive_emulator, monkeypatch):
    """A search without records is listed with its problem, unless it is new."""
    from colab_drive_tuner.store.drive import DriveStore

    store = DriveStore.connect()
    run_with_record_per_trial(store, 2)
    run_with_record_per_trial(store, 2, "another")
    delete(drive_emulator, find_folder(store, "search").records)
    assert [status.name for status in list_searches(store)] == ["another"]
    now = store.now()
    monkeypatch.setattr(store, "now", lambda: now + 3600)
    first, second = list_searches(store)
    assert (first.name, first.done) == ("another", 2)
    assert second.name == "search"
    assert "no records" in second.problem


@pytest.mark.parametrize("left", ["trials.pkl", "nothing"])
def test_a_deleted_folder_of_records_hides_no_other_search(drive_emulator, left):
    """Repair restores trials from trials.pkl; without it the error says that nothing is left."""
    from colab_drive_tuner.store.drive import DriveStore

    store = DriveStore.connect()
    run_with_record_per_trial(store, 6)
    run_with_record_per_trial(store, 2, "another")
    folder = find_folder(store, "search")
    delete(drive_emulator, folder.records)
    if left == "nothing":
        delete(drive_emulator, folder.export)
    found = {finding.about: finding for finding in examine(store)}
    assert found["search 'another'"].level == Level.OK
    if left == "nothing":
        with pytest.raises(SearchNotFoundError, match="Nothing of search 'search' is readable"):
            repair(store, "search")
        return
    with pytest.raises(SearchDamagedError, match=r"are gone: .*`colab-drive-tuner repair search`"):
        run_with_record_per_trial(store, 8)
    assert found["search 'search'"].level == Level.PROBLEM
    assert "colab-drive-tuner repair" in found["search 'search'"].advice
    report = repair(store, "search")
    assert (report.done, report.again) == (6, ())
    assert any("random state" in loss for loss in report.lost)
    assert trial_values(run_in_store(store, "tpe", 12)) == trial_values(run_hyperopt("tpe", 12))


def delete(drive_emulator, entry_id: str) -> None:
    """Delete a file or folder permanently, as only its owner can."""
    requests.delete(
        f"{drive_emulator.url}/drive/v3/files/{entry_id}",
        headers={"Authorization": "Bearer emulator"},
        timeout=100,
    ).raise_for_status()


def change(drive_emulator, file_id, body, **how):
    """Change a file, as its owner or a co-editor can."""
    requests.patch(
        f"{drive_emulator.url}/drive/v3/files/{file_id}",
        headers={"Authorization": "Bearer emulator"},
        params=how,
        json=body,
        timeout=100,
    ).raise_for_status()


def move(drive_emulator, file_id, old, new):
    """Move a file from one folder to another."""
    change(drive_emulator, file_id, {}, addParents=new, removeParents=old)
