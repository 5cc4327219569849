"""A trial's files in the search's `backups/` folder, with lagging listings and lost answers."""

import pytest

from colab_drive_tuner.errors import UnavailableError
from colab_drive_tuner.store.protocol import discard
from colab_drive_tuner.training.trial_backup_files import (
    TrialBackupFiles,
    obsolete_backups,
)
from tests.training.flaky_store import FlakyStore, create_search_folder, entry_names


@pytest.fixture
def file(tmp_path):
    """A function that makes a file with the given content."""

    def make(content):
        path = tmp_path / "content"
        path.write_bytes(content)
        return path

    return make


def read(artifacts, name, tmp_path):
    """Return the content stored under a name, or None."""
    path = tmp_path / "read"
    return path.read_bytes() if artifacts.get(name, path) else None


def home(store, folder):
    """Return the folder of backups."""
    (found,) = [e.id for e in FlakyStore.__base__.list(store, folder, name="backups")]
    return found


def test_files_are_found_by_trial_and_name(store, folder, file, tmp_path):
    """Another instance finds the file that was last stored under a name; older ones are gone."""
    first = TrialBackupFiles(store, folder, 3)
    assert first.names() == []
    first.put("a", file(b"one"))
    first.put("a", file(b"two"))
    first.put("b", file(b"three"))
    later = TrialBackupFiles(store, folder, 3)
    assert later.names() == ["a", "b"]
    assert read(later, "a", tmp_path) == b"two"
    assert TrialBackupFiles(store, folder, 4).names() == []
    assert len(entry_names(store, home(store, folder))) == 2
    later.drop("a")
    later.drop("never there")
    assert TrialBackupFiles(store, folder, 3).names() == ["b"]
    assert read(later, "a", tmp_path) is None


def test_unused_artifacts_make_no_request(store, folder):
    """A search without TrialBackup causes no requests."""
    store.calls.clear()
    TrialBackupFiles(store, folder, 3)
    assert store.calls == []


def test_the_two_newest_are_found_although_no_listing_shows_them(store, folder, file, tmp_path):
    """The two newest files are found even if neither they nor their folder are listed yet."""
    early = TrialBackupFiles(store, folder, 3)
    for name in ("a", "b", "c"):
        early.put(name, file(name.encode()))
    inside = home(store, folder)
    entries = FlakyStore.__base__.list(store, inside)
    store.unlisted = {inside, *(entry.id for entry in entries)}
    later = TrialBackupFiles(store, folder, 3)
    assert later.names() == ["b", "c"]
    assert read(later, "c", tmp_path) == b"c"
    later.put("d", file(b"d"))
    assert home(store, folder) == inside


def test_a_lost_answer_makes_no_second_file(store, folder, file):
    """A create whose answer was lost is repeated with the same id, so that no file is doubled."""
    artifacts = TrialBackupFiles(store, folder, 3)
    store.lose_answers = 1
    with pytest.raises(UnavailableError):
        artifacts.put("a", file(b"one"))
    artifacts.put("a", file(b"one"))
    assert len(entry_names(store, home(store, folder))) == 1


def test_an_outage_raises_and_can_be_retried(store, folder, file):
    """During an outage `put` raises UnavailableError; afterwards it works again."""
    artifacts = TrialBackupFiles(store, folder, 3)
    store.away = True
    with pytest.raises(UnavailableError):
        artifacts.put("a", file(b"one"))
    store.away = False
    artifacts.put("a", file(b"one"))
    assert artifacts.names() == ["a"]


def test_a_trashed_folder_is_not_used_again(store, folder, file):
    """If a person trashed the folder of backups, the next backup creates a new one."""
    TrialBackupFiles(store, folder, 3).put("a", file(b"one"))
    store.trash(home(store, folder))
    later = TrialBackupFiles(store, folder, 3)
    assert later.names() == []
    later.put("a", file(b"two"))
    assert TrialBackupFiles(store, folder, 3).names() == ["a"]


def test_backups_of_finished_trials_and_older_histories_are_obsolete(store, folder, file):
    """Backups of finished trials or older histories are obsolete, but a person's files are not."""
    for tid in (1, 2, 3):
        TrialBackupFiles(store, folder, tid).put("a", file(b"x"))
    inside = home(store, folder)
    store.create(store.reserve(1)[0], b"mine", name="mine", parent=inside)
    names = {entry.id: entry.name for entry in store.list(inside)}
    old = [names[one] for one in obsolete_backups(store, folder, unfinished={2})]
    assert sorted(old) == ["trial-00001-a", "trial-00003-a"]
    assert len(obsolete_backups(store, folder, unfinished={2}, epoch="another")) == 3
    assert obsolete_backups(store, create_search_folder(store, "none"), unfinished=()) == []


def test_obsolete_files_take_no_space_in_the_trash(store, folder, file):
    """Files that were replaced or dropped, or that nobody resumes, are empty in the trash."""
    artifacts = TrialBackupFiles(store, folder, 3)
    for name in ("a", "a", "b", "trial.backup"):
        artifacts.put(name, file(b"content"))
    artifacts.drop("b")
    discard(store, artifacts._known()["trial.backup"][0])
    trashed = store.list_trash(home(store, folder))
    assert [entry.size for entry in trashed] == [0, 0, 0]
    assert [e.size for e in FlakyStore.__base__.list(store, home(store, folder))] == [7]
