"""`repair` refuses searches of a newer version or another user, and two of one name."""

import errno
import os
from pathlib import Path

import pytest

from colab_drive_tuner.errors import (
    NewerFormatError,
    RefusedError,
    SearchDamagedError,
    SearchFolderError,
)
from colab_drive_tuner.journal.folder.lookup import find_folder
from colab_drive_tuner.search.results.read_search import read_status
from colab_drive_tuner.store.folder import FolderStore
from colab_drive_tuner.troubleshoot.repair.repair import repair
from tests.journal.faulty_store import FaultyStore
from tests.journal.test_folder import create_in
from tests.troubleshoot.damaged_searches import record_files, run_with_record_per_trial

pytestmark = pytest.mark.usefixtures("no_waiting")


def make_newer(path: Path) -> None:
    """Change a record to the format of a later version."""
    path.write_bytes(b"CDT9" + path.read_bytes()[4:])


@pytest.mark.parametrize("which", ["all", "from the third on", "the last"])
def test_records_of_a_newer_version_are_not_repaired(folder, which):
    """Records of a newer version are an error that asks for an upgrade.

    Nothing is rebuilt from an older snapshot or trials.pkl.
    """
    first = {"all": 0, "from the third on": 2, "the last": -1}[which]
    for path in record_files(folder)[first:]:
        make_newer(path)
    before = sorted(folder.rglob("*"))
    with pytest.raises(NewerFormatError, match=r"newer version.*upgrade colab-drive-tuner"):
        repair(FolderStore(folder), "search")
    assert sorted(folder.rglob("*")) == before


def test_one_record_that_seems_newer_among_others_is_damaged(folder):
    """One record of a newer format before readable ones is damage and is repaired."""
    make_newer(record_files(folder)[8])
    report = repair(FolderStore(folder), "search")
    assert (report.trials, report.done) == (12, 12)
    assert read_status(FolderStore(folder), "search").done == 12


def test_an_intact_search_of_another_user_is_not_rebuilt(folder, monkeypatch):
    """Who may begin searches, but not write to this one, would only make a second one of its name.

    Root, who may run this test, may write anywhere.
    """
    link = os.link

    def refused(source, target, **more):
        if Path(target).is_relative_to(folder / "search"):
            raise PermissionError(errno.EACCES, "Permission denied", str(target))
        link(source, target, **more)

    monkeypatch.setattr(os, "link", refused)
    before = sorted(folder.iterdir())
    with pytest.raises(RefusedError, match="Permission denied"):
        repair(FolderStore(folder), "search")
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize("begun_as", ["another", "search"])
@pytest.mark.parametrize("damaged", [False, True])
def test_two_searches_of_one_name_are_not_merged(tmp_path, begun_as, damaged):
    """Whether one is damaged or not, neither gets the name or the results of the other."""
    store = FaultyStore(tmp_path)
    run_with_record_per_trial(store, 3)
    store.later = 5.0
    other = create_in(store, "search", begun_as, reason="anew")
    store.later = 0.0
    found = find_folder(store, "search")
    if damaged:
        record_files(tmp_path)[2].unlink()
    with pytest.raises(SearchFolderError, match="Two searches are called") as raised:
        repair(store, "search")
    assert store.url(other) in str(raised.value)
    assert find_folder(store, "search") == found
    store.trash(other)
    assert (repair(store, "search").done == 3) == damaged


def test_two_folders_of_which_the_older_is_damaged_are_named(tmp_path):
    """A folder whose first record cannot be read may be another search, so repair is refused."""
    store = FaultyStore(tmp_path)
    run_with_record_per_trial(store, 3)
    store.later = 5.0
    create_in(store, "search", "search")
    store.later = 0.0
    record_files(tmp_path)[0].write_bytes(b"")
    with pytest.raises(SearchDamagedError):
        read_status(store, "search")
    with pytest.raises(SearchFolderError, match="Two searches are called"):
        repair(store, "search")
