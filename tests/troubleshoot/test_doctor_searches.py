"""`doctor` on the folders of a store: duplicate names, and folders without properties."""

import pytest

from colab_drive_tuner.errors import SearchFolderError, SearchNotFoundError
from colab_drive_tuner.journal.folder.properties import Property
from colab_drive_tuner.search.results.read_search import list_searches, read_search, read_status
from colab_drive_tuner.store import open_store
from colab_drive_tuner.troubleshoot.doctor import examine
from colab_drive_tuner.troubleshoot.doctor.context import Finding, Level
from tests.journal.faulty_store import FaultyStore
from tests.journal.test_folder import create_in
from tests.store.searches import run_search
from tests.troubleshoot.damaged_searches import run_with_record_per_trial


@pytest.fixture
def store(tmp_path):
    """A store with one search."""
    store = FaultyStore(tmp_path)
    run_with_record_per_trial(store, 2)
    return store


def findings(store: FaultyStore, about: str) -> list[Finding]:
    return [one for one in examine(store) if one.about == about and one.level != "ok"]


@pytest.mark.parametrize(
    ("apart", "begun_as", "reason"),
    [(7200.0, "search", "new"), (5.0, "search", "anew"), (5.0, "another", "new")],
)
def test_two_searches_of_one_name_are_a_problem(store, apart, begun_as, reason):
    """Two searches of one name are a problem with the place of both, because neither can resume."""
    store.later = apart
    other = create_in(store, "search", begun_as, reason=reason)
    store.later = 0.0
    (found,) = findings(store, "search 'search'")
    assert found.level == Level.PROBLEM
    assert "Two searches are called 'search'" in found.text
    assert store.url(other) in found.text
    (status,) = list_searches(store)
    assert status.problem == found.text
    with pytest.raises(SearchFolderError):
        read_search(store, "search")


def test_one_search_in_two_folders_is_a_warning(store):
    """Two folders that runtimes created at the same moment are a warning: the next run merges."""
    store.later = 5.0
    create_in(store, "search", "search")
    store.later = 0.0
    (found,) = findings(store, "search 'search'")
    assert (found.level, found.text) == (Level.WARNING, "2 folders have its name.")


def test_a_folder_that_lost_its_kind_is_named(store):
    """A search's folder without its kind property is named; a user's own folder is not."""
    folder = next(entry for entry in store.list(store.root) if entry.name == "search")
    store.set_properties(folder.id, {Property.KIND: "other"})
    store.create(*store.reserve(1), None, name="mine", parent=store.root)
    (found,) = findings(store, "folder 'search'")
    assert "holds the records of a search" in found.text
    assert findings(store, "folder 'mine'") == []


def test_a_search_that_lost_every_record_is_a_problem(tmp_path):
    """A folder without records is damaged, not new, if its first record was once written."""
    run_search(tmp_path, "search", 2)
    (tmp_path / "search" / "trials.pkl").unlink()
    for path in (tmp_path / "search" / "records").iterdir():
        path.unlink()
    (found,) = findings(open_store(tmp_path), "search 'search'")
    assert (found.level, found.text) == (Level.PROBLEM, "its first record is missing.")
    with pytest.raises(SearchNotFoundError, match=r"has no record.*doctor"):
        read_status(tmp_path, "search")
