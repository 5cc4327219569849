"""A trial's files in the search's `backups/` folder, with lagging listings and lost answers."""

import pytest

from colab_drive_tuner.errors import UnavailableError
from colab_drive_tuner.training.artifacts import StoreArtifacts, obsolete_backups
from tests.training.flaky_store import FlakyStore, create_search_folder, entry_names


@pytest.fixture
def store(tmp_path):
    """A store that a test can give troubles."""
    return FlakyStore(tmp_path / "store")


@pytest.fixture
def folder(store):
    """The folder of a search."""
    return create_search_folder(store)


@pytest.fixture
def file(tmp_path):
    """A way to make a file of some content."""

    def make(content):
        path = tmp_path / "content"
        path.write_bytes(content)
        return path

    return make


def read(artifacts, name, tmp_path):
    """What is kept under a name; None for nothing."""
    path = tmp_path / "read"
    return path.read_bytes() if artifacts.get(name, path) else None


def home(store, folder):
    """The folder of backups."""
    (found,) = [e.id for e in FlakyStore.__base__.list(store, folder, name="backups")]
    return found


def test_files_come_back_in_another_process(store, folder, file, tmp_path):
    """By trial and name; what was put last under a name counts, and is the only one left."""
    first = StoreArtifacts(store, folder, 3)
    assert first.names() == []
    first.put("a", file(b"one"))
    first.put("a", file(b"two"))
    first.put("b", file(b"three"))
    later = StoreArtifacts(store, folder, 3)
    assert later.names() == ["a", "b"]
    assert read(later, "a", tmp_path) == b"two"
    assert StoreArtifacts(store, folder, 4).names() == []
    assert len(entry_names(store, home(store, folder))) == 2
    later.drop("a")
    later.drop("never there")
    assert StoreArtifacts(store, folder, 3).names() == ["b"]
    assert read(later, "a", tmp_path) is None


def test_nothing_is_asked_before_it_is_used(store, folder):
    """A search without TrialBackup pays nothing."""
    store.calls.clear()
    StoreArtifacts(store, folder, 3)
    assert store.calls == []


def test_the_two_newest_are_found_although_no_listing_shows_them(store, folder, file, tmp_path):
    """Neither the folder nor the files need to be listed yet."""
    early = StoreArtifacts(store, folder, 3)
    for name in ("a", "b", "c"):
        early.put(name, file(name.encode()))
    inside = home(store, folder)
    entries = FlakyStore.__base__.list(store, inside)
    store.unlisted = {inside, *(entry.id for entry in entries)}
    later = StoreArtifacts(store, folder, 3)
    assert later.names() == ["b", "c"]
    assert read(later, "c", tmp_path) == b"c"
    later.put("d", file(b"d"))
    assert home(store, folder) == inside


def test_a_lost_answer_makes_no_second_file(store, folder, file):
    """The same id is asked for again, and taken means stored."""
    store.lose_answers = 2
    StoreArtifacts(store, folder, 3).put("a", file(b"one"))
    assert len(entry_names(store, home(store, folder))) == 1


def test_an_outage_is_told(store, folder, file):
    """The caller decides whether to wait; later it works again."""
    artifacts = StoreArtifacts(store, folder, 3)
    store.away = True
    with pytest.raises(UnavailableError):
        artifacts.put("a", file(b"one"))
    store.away = False
    artifacts.put("a", file(b"one"))
    assert artifacts.names() == ["a"]


def test_a_trashed_folder_is_not_used_again(store, folder, file):
    """A person may clean up; the next backup makes a new folder."""
    StoreArtifacts(store, folder, 3).put("a", file(b"one"))
    store.trash(home(store, folder))
    later = StoreArtifacts(store, folder, 3)
    assert later.names() == []
    later.put("a", file(b"two"))
    assert StoreArtifacts(store, folder, 3).names() == ["a"]


def test_backups_of_finished_trials_and_older_histories_are_old(store, folder, file):
    """Those of unfinished trials are not, and neither are a person's own files."""
    for tid in (1, 2, 3):
        StoreArtifacts(store, folder, tid).put("a", file(b"x"))
    inside = home(store, folder)
    store.create(store.reserve(1)[0], b"mine", name="mine", parent=inside)
    names = {entry.id: entry.name for entry in store.list(inside)}
    old = [names[one] for one in obsolete_backups(store, folder, unfinished={2})]
    assert sorted(old) == ["trial-00001-a", "trial-00003-a"]
    assert len(obsolete_backups(store, folder, unfinished={2}, epoch="another")) == 3
    assert obsolete_backups(store, create_search_folder(store, "none"), unfinished=()) == []
