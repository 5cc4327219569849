"""`clean` on searches: stale files go to the trash, and everything else stays."""

import hashlib
import json
import os
import signal
import tempfile
from pathlib import Path
from unittest.mock import patch

import pytest

from colab_drive_tuner.checkpoint.codec.codec import encode
from colab_drive_tuner.checkpoint.history import History
from colab_drive_tuner.checkpoint.record_items import Item, ItemKind, pack_item
from colab_drive_tuner.checkpoint.trials_and_sessions import AttachmentFile
from colab_drive_tuner.drive import DriveClient
from colab_drive_tuner.errors import UsageError
from colab_drive_tuner.journal import Journal
from colab_drive_tuner.journal.folder.creation import find_subfolders
from colab_drive_tuner.journal.folder.lookup import find_folder
from colab_drive_tuner.journal.folder.properties import FolderKind, Property
from colab_drive_tuner.journal.spool.spool import Spool
from colab_drive_tuner.search.drive_trials import DriveTrials
from colab_drive_tuner.search.results.read_search import open_journal, read_history, read_status
from colab_drive_tuner.search.trials.logbook import rules
from colab_drive_tuner.session import setup
from colab_drive_tuner.store.drive import DriveStore
from colab_drive_tuner.training.trial_backup_files import TrialBackupFiles
from colab_drive_tuner.troubleshoot.clean import find_leftovers, removal, remove
from colab_drive_tuner.troubleshoot.clean import search_leftovers as module
from colab_drive_tuner.troubleshoot.clean.local_leftovers import contains, temporary_folders
from tests.fakes.bare_machine import bare_machine  # noqa: F401 - a fixture
from tests.journal.faulty_store import FaultyStore
from tests.search.sample_searches import (
    killing_objective,
    run_in_fork,
    run_in_store,
    sample_objective,
)
from tests.troubleshoot.test_clean import copy_of_an_older_run, ended_process, written_by_hyperas

pytestmark = pytest.mark.usefixtures("bare_machine")


@pytest.fixture
def store(tmp_path) -> FaultyStore:
    """A store with a search of 4 trials, whose clock is a day ahead."""
    run_in_store(tmp_path / "store", "rand", 4)
    made = FaultyStore(tmp_path / "store")
    made.later = 86_400.0
    return made


def kinds(store) -> list[str]:
    """Return the kinds of the leftovers."""
    return [leftover.kind for leftover in find_leftovers(store=store)]


def make_duplicate(store: FaultyStore, tid: int, x: float, after: float = 1.0) -> str:
    """Create a second folder of the search with its own result, as a lost race leaves it."""
    own, first, records, export = store.reserve(4)
    marks = {
        Property.KIND: FolderKind.SEARCH,
        Property.FIRST: first,
        Property.RECORDS: records,
        Property.EXPORT: export,
    }
    winner = find_folder(store, "search")
    store.set_properties(winner.id, {Property.KIND: "hidden"})
    later, store.later = store.later, after
    store.create(own, None, name="search", parent=store.root, properties=marks)
    store.later = later
    history = Journal.open(store, "search", rules())
    with patch(
        "colab_drive_tuner.journal.claim_and_takeover.find_moved_folder", lambda *args, **how: None
    ):
        history.claim(lambda state: b"", notify=lambda text: None)
    document = {
        "state": 2,
        "tid": tid,
        "spec": None,
        "result": {"loss": x, "status": "ok"},
        "misc": {"tid": tid, "cmd": None, "idxs": {"x": [tid]}, "vals": {"x": [x]}},
        "exp_key": None,
        "owner": None,
        "version": 0,
        "book_time": None,
        "refresh_time": None,
    }
    history.append(
        pack_item(ItemKind.END, tid, None, encode(document), how="done", loss=x), durable=True
    )
    history.close(10)
    store.set_properties(winner.id, {Property.KIND: FolderKind.SEARCH})
    return own


def test_nothing_is_stale_in_a_store_that_was_just_used(store):
    """A finished search has no leftovers."""
    assert kinds(store) == []


def test_a_duplicate_folder_is_merged_before_it_is_trashed(store):
    """The result of a duplicate folder is in the search before the folder is trashed."""
    duplicate = make_duplicate(store, tid=9, x=0.25)
    (leftover,) = find_leftovers(store=store)
    assert (leftover.kind, leftover.id) == ("duplicate folder", duplicate)
    remove([leftover], yes=True)
    assert read_history(store, "search").trials[9].loss == 0.25
    assert kinds(store) == []
    assert find_folder(store, "search").duplicates == ()


@pytest.mark.parametrize("marks", ["duplicate", "empty search", "unfinished repair"])
def test_a_users_folder_with_forged_properties_stays(store, marks):
    """Any co-editor can set a folder's name and properties: its content decides."""
    store.later = 1.0
    own, *ids = store.reserve(4)
    kind = FolderKind.REPAIRING if marks == "unfinished repair" else FolderKind.SEARCH
    name = "photos" if marks == "empty search" else "search"
    forged = dict(zip((Property.FIRST, Property.RECORDS, Property.EXPORT), ids, strict=True)) | {
        Property.KIND: kind
    }
    store.create(own, None, name=name, parent=store.root, properties=forged)
    inside = ids[1] if marks == "empty search" else store.reserve(1)[0]
    store.create(inside, None, name="holidays", parent=own)
    store.create(*store.reserve(1), b"a picture", name="a.jpg", parent=inside)
    store.later = 86_400.0
    found = [one for one in find_leftovers(store=store) if one.id == own]
    assert remove(found, yes=True) == {}
    assert store.stat(own).name == name


def test_another_search_of_that_name_is_no_duplicate(store):
    """A search of the same name that was begun an hour later is not listed."""
    make_duplicate(store, tid=9, x=0.25, after=3600.0)
    assert kinds(store) == []


def test_a_duplicate_folder_that_would_lose_a_trial_is_refused(store):
    """A duplicate with another result of a trial number stays, even if it is named."""
    duplicate = make_duplicate(store, tid=0, x=0.25)
    (leftover,) = find_leftovers(store=store)
    assert "Not all of its results" in leftover.refused
    assert remove([leftover], yes=True) == {}
    with pytest.raises(UsageError, match="is not removed"):
        remove([leftover], yes=True, named=[duplicate])
    assert store.stat(duplicate).properties[Property.KIND] == FolderKind.SEARCH


def test_nothing_of_a_search_that_is_held_is_listed_or_removed(store, tmp_path, monkeypatch):
    """A search held elsewhere has no leftovers, even if they were listed before it was claimed."""
    make_duplicate(store, tid=9, x=0.25)
    before = find_leftovers(store=store)
    assert len(before) == 1
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another machine"))
    trials = DriveTrials("search", store=store)
    trials.attachments["held"] = 1
    trials.log.journal.flush(200)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "this machine"))
    assert remove(before, yes=True) == {}
    assert [found.kind for found in find_leftovers(store=store)] == []
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another machine"))
    trials.close()


def test_old_snapshots_and_backups_are_removed(store, tmp_path):
    """The two newest snapshots stay, and a user's file with a snapshot's name.

    An empty one was discarded by a session that was killed before it moved it to the trash.
    """
    folder = find_folder(store, "search")
    journal = Journal.open(store, "search", rules())
    from colab_drive_tuner.journal.chain.chain import save_snapshot

    reader = journal._reader
    for _ in range(4):
        save_snapshot(store, folder, reader.head, reader.state.dump())
    (emptied,) = store.reserve(1)
    store.create(emptied, b"", name="snapshot-000001.cdt", parent=folder.records)
    theirs = store.reserve(1)[0]
    store.create(theirs, b"my notes", name="snapshot-000000.cdt", parent=folder.records)
    backup = tmp_path / "x"
    backup.write_bytes(b"backup")
    TrialBackupFiles(store, folder.id, 2).put("fit-000-epoch-00001.backup", backup)
    found = find_leftovers(store=store)
    assert sorted(leftover.kind for leftover in found) == ["old backups", "old snapshots"]
    remove(found, yes=True)
    assert store.read(theirs) == b"my notes"
    assert len(list((tmp_path / "store" / "search" / "records").glob("snapshot-*"))) == 3
    assert read_status(store, "search").done == 4
    assert kinds(store) == []


def test_attachments_that_no_record_names_are_removed(store):
    """A kill between upload and record leaves a file; those of replaced histories stay."""
    store.later = 0.0
    for number in range(3):
        trials = DriveTrials("search", store=store)
        if number == 2:
            trials.delete_all()
        trials.attachments["large"] = bytes([number]) * 50_000
        trials.close()
    folder = find_folder(store, "search")
    left, theirs = store.reserve(2)
    store.create(left, b"x" * 50_000, name=f"attachment-{'0' * 16}.cdt", parent=folder.records)
    store.create(theirs, b"mine", name="attachment.cdt", parent=folder.records)
    files = {entry.id for entry in store.list(folder.records)}
    assert kinds(store) == []  # a session may be about to record it
    store.later = 86_400.0
    (leftover,) = find_leftovers(store=store)
    assert leftover.kind == "old attachments"
    remove([leftover], yes=True)
    assert {entry.id for entry in store.list(folder.records)} == files - {left}


def test_the_backup_of_a_trial_that_was_cut_off_stays(tmp_path):
    """The backup of an unfinished trial, and a user's copy of another backup, stay."""
    folder = tmp_path / "store"
    assert (
        run_in_fork(lambda: run_in_store(folder, "rand", 9, killing_objective(sample_objective, 4)))
        == -signal.SIGKILL
    )
    store = FaultyStore(folder)
    store.later = 86_400.0
    home, epoch = find_folder(store, "search").id, open_journal(store, "search").epoch
    backup = tmp_path / "x"
    backup.write_bytes(b"backup")
    for tid, of in ((3, epoch), (2, epoch), (3, "an older history")):
        TrialBackupFiles(store, home, tid, epoch=of).put("fit-000-epoch-00001.backup", backup)
    (place,) = find_subfolders(store, home, "backups")
    (copied,) = (entry for entry in store.list(place) if entry.name.startswith("trial-00002"))
    theirs = store.reserve(1)[0]
    name = f"Copy of {copied.name}"
    store.create(theirs, b"backup", name=name, parent=place, properties=copied.properties)
    (leftover,) = find_leftovers(store=store)
    assert leftover.where.startswith("2 backups of search 'search'")
    assert len(remove([leftover], yes=True)) == 1
    assert {entry.name for entry in store.list(place)} == {
        "trial-00003-fit-000-epoch-00001.backup",
        name,
    }
    assert TrialBackupFiles(store, home, 3, epoch=epoch).get("fit-000-epoch-00001.backup", backup)
    assert kinds(store) == []


def test_an_empty_search_goes_once_it_is_old(store):
    """An old search without records is listed; a new one may be about to begin."""
    own, first, records, export = store.reserve(4)
    marks = {
        Property.KIND: FolderKind.SEARCH,
        Property.FIRST: first,
        Property.RECORDS: records,
        Property.EXPORT: export,
    }
    store.create(own, None, name="never begun", parent=store.root, properties=marks)
    assert kinds(store) == []
    store.later += 86_400.0
    (leftover,) = find_leftovers(store=store)
    assert (leftover.kind, leftover.id) == ("empty search", own)


def test_files_of_a_killed_create_are_removed(store, tmp_path):
    """Content whose id was never linked is removed, because no reader can find it."""
    place = tmp_path / "store" / "search" / "index" / "names" / "folder"
    torn = [place / "torn.pkl.id", place / f"{'0' * 32}.new", place.parents[1] / "new-torn"]
    for path in torn:
        path.write_bytes(b"half a model")
        os.utime(path, (1, 1))
    found = find_leftovers(store=store)
    assert [leftover.kind for leftover in found] == ["abandoned upload"] * 3
    assert len(remove(found, yes=True)) == 3
    assert kinds(store) == []


def test_only_spools_whose_items_are_recorded_go(store):
    """A spool file is removed if its items are recorded, and stays otherwise."""
    spool = Spool(store.location, "search")
    epoch = hashlib.sha256(b"").hexdigest()
    entry = read_history(store, "search").trials[1]
    recorded = spool.new_file(epoch)
    recorded.add([(pack_item(ItemKind.END, 1, 1, entry.document, how="done", loss=entry.loss), ())])
    recorded.close()
    fresh = spool.new_file(epoch)
    fresh.add([(pack_item(ItemKind.END, 50, 50, entry.document, how="done", loss=0.5), ())])
    fresh.close()
    found = find_leftovers(store=store)
    assert [leftover.id for leftover in found] == [str(recorded.path)]
    remove(found, yes=True)
    assert (recorded.path.exists(), fresh.path.exists()) == (False, True)


def test_a_spooled_attachment_is_recorded_if_the_chain_has_its_value():
    """A newer value, or a deletion, that only the spool has is no leftover."""
    history = History()
    history.attachments = {"small": b"1", "large": AttachmentFile("id", "a" * 64)}
    recorded = {"small": {"document": b"1"}, "large": {"sha": "a" * 64}}
    newer = {"small": {"document": b"2"}, "large": {"sha": "b" * 64}, "none": {"document": b"1"}}
    for values, expected in ((recorded, True), (newer, False)):
        for name, value in values.items():
            item = Item(ItemKind.ATTACHMENT, name=name, is_set=True, **value)
            assert contains(history, item) is expected
    deleted = [Item(ItemKind.ATTACHMENT, name=name) for name in ("none", "small", "large")]
    assert [contains(history, item) for item in deleted] == [True, False, False]


def test_temporary_folders_of_dead_processes_are_removed(monkeypatch, tmp_path):
    """Folders of live processes, with another mode or with files of a user stay."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    dead, other = ended_process(), ended_process()
    for name, file in (
        (f"colab-drive-tuner-{dead}-ab12cd3_", "1-2.keras"),
        (f"colab-drive-tuner-{os.getpid()}-ab12cd3_", "1-2.keras"),
        (f"colab-drive-tuner-{other}-mine1234", "thesis.txt"),
        (f"colab-drive-tuner-{other}-models", "best.keras"),
        (f"colab-drive-tuner-{other}-for_all_", "best.keras"),
        ("colab-drive-tuner-notes", "notes.txt"),
    ):
        (tmp_path / name).mkdir(0o755 if name.endswith("_all_") else 0o700)
        (tmp_path / name / file).write_text("x")
    found = [f for f in find_leftovers() if f.kind == "temporary folder"]
    assert [Path(leftover.id).name for leftover in found] == [f"colab-drive-tuner-{dead}-ab12cd3_"]
    remove(found, yes=True)
    assert not Path(found[0].id).exists()


def test_a_temporary_folder_that_its_process_removes_is_passed_over(monkeypatch, tmp_path):
    """A live process may remove it while it is looked at."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    own, is_dir = tmp_path / f"colab-drive-tuner-{os.getpid()}-ab12cd3_", Path.is_dir
    own.mkdir()

    def vanish(path: Path) -> bool:
        found = is_dir(path)
        if path == own and found:
            own.rmdir()
        return found

    monkeypatch.setattr(Path, "is_dir", vanish)
    assert list(temporary_folders()) == []


def sums_of_drive(client: DriveClient, folder: str) -> dict[str, str]:
    """Return the sha256 of each file below a folder, by its id."""
    found = {}
    for file in client.list_folder(folder):
        if file.is_folder:
            found |= sums_of_drive(client, file.id)
        else:
            found[file.id] = file.sha256 or ""
    return found


def test_setup_and_clean_change_no_other_file(drive_emulator, monkeypatch):
    """Files with similar names, in Drive and in the working directory, keep their content."""
    client = DriveClient.connect()
    colab = "application/vnd.google.colaboratory"
    for place, name, content in (
        ("Colab Notebooks", "quickstart.ipynb", b'{"cells": []}'),
        ("Colab Notebooks", "Copy of quickstart.ipynb", b'{"cells": [1]}'),
        ("Colab Notebooks", "quickstart (1).ipynb", b'{"cells": [2]}'),
        ("Colab Drive Tuner", "trials.pkl", b"my own"),
        ("Colab Drive Tuner/search (1)", "trials.pkl", b"my own, too"),
        ("Colab Drive Tuner/records", "snapshot-000001.cdt", b"my own notes"),
        ("Colab Drive Tuner/backups", "trial-00001-fit-000-epoch-00001.backup", b"mine"),
    ):
        client.create_file(
            name,
            content,
            parent=client.folder(place).id,
            mime_type=colab if "ipynb" in name else "application/octet-stream",
        )
    run_in_store(DriveStore.connect(), "rand", 3)  # type: ignore[arg-type]
    theirs = {
        "quickstart (2).ipynb": b'{"cells": ["edited"]}',
        "Copy of quickstart.ipynb": b"{}",
        "temp_model.py": b"def get_space():\n    return {}\n",
        "colab-drive-tuner-1-ab.part": b"mine",
        ".colab-drive-tuner-x-y.part": b"mine",
        "search.spool": b"mine",
    }
    for name, content in theirs.items():
        Path(name).write_bytes(content)
    Path("__pycache__").mkdir()
    Path("__pycache__/temp_model.cpython-313.pyc").write_bytes(b"keras_fmin_fnct get_space")
    root = client.get("root").id
    before = sums_of_drive(client, root)
    session = setup(notebook="quickstart.ipynb")
    edited = Path("quickstart.ipynb")
    edited.write_bytes(b'{"cells": ["mine now"]}')
    session.clean(yes=True)
    assert sums_of_drive(client, root) == before
    assert {name: Path(name).read_bytes() for name in theirs} == theirs
    assert edited.read_bytes() == b'{"cells": ["mine now"]}'
    assert Path("__pycache__/temp_model.cpython-313.pyc").exists()


def test_leftovers_of_all_kinds_are_removed_in_one_call(store):
    """A notebook copy, hyperas's module and a duplicate folder are removed together."""
    copy_of_an_older_run()
    Path("temp_model.py").write_text(written_by_hyperas(), encoding="utf-8")
    make_duplicate(store, tid=9, x=0.25)
    found = find_leftovers(store=store)
    assert {leftover.kind for leftover in found} == {
        "notebook copy",
        "hyperas module",
        "duplicate folder",
    }
    assert len(remove(found, yes=True)) == 3
    assert json.dumps(kinds(store)) == "[]"
    assert removal.is_held(store, "search") is False


def test_an_empty_folder_beside_the_one_of_searches_must_be_named(drive_emulator, monkeypatch):
    """An empty duplicate of the store's folder is removed only if it is named and not new."""
    client = DriveClient.connect()
    for _ in range(3):
        client.create_folder("Colab Drive Tuner", parent="root")
    used, empty, _ = (folder.id for folder in client.folders("Colab Drive Tuner"))
    client.create_file("mine", b"", parent=client.folders("Colab Drive Tuner")[2].id)
    run_in_store(DriveStore.connect(), "rand", 1)  # type: ignore[arg-type]
    assert find_leftovers() == []  # they may have been created just now
    monkeypatch.setattr(module, "_SETTLED_SECONDS", -1.0)
    (leftover,) = find_leftovers()
    assert (leftover.kind, leftover.id) == ("empty folder", empty)
    assert remove([leftover], yes=True) == {}
    assert len(remove([leftover], yes=True, named=[empty])) == 1
    assert client.get(empty).trashed
    assert not client.get(used).trashed
