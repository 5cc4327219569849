"""Listing, removing and renaming searches in every kind of store."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

import colab_drive_tuner as cdt
from colab_drive_tuner.errors import (
    NotFoundError,
    RefusedError,
    SearchBusyError,
    SearchFolderError,
    SearchNameError,
    SearchNotFoundError,
    UsageError,
)
from colab_drive_tuner.journal.folder.lookup import find_folder
from colab_drive_tuner.journal.folder.properties import freed_mark
from colab_drive_tuner.journal.spool.spool import Spool
from colab_drive_tuner.manage.copy_search import copy_search
from colab_drive_tuner.manage.naming import list_names, remove_search, rename_search
from colab_drive_tuner.search.drive_trials import DriveTrials
from colab_drive_tuner.search.results.read_search import list_searches, read_status
from colab_drive_tuner.store.folder import FolderStore
from colab_drive_tuner.store.protocol import Entry
from tests.manage.conftest import Opener
from tests.store.searches import expected_points, run_search, trial_points

KINDS = ["folder:s", "memory:s", "ann:s"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_removed_search_is_in_the_trash_and_its_name_is_free(
    kind: str, opened: Opener, tmp_path: Path
) -> None:
    """After a removal, a run under the same name starts a new search."""
    store = opened(kind)
    run_search(store, "a", 3)
    run_search(store, "b", 1)
    folder = find_folder(store, "a")
    assert folder is not None
    assert remove_search(store, "a") == store.trash_location
    assert list_names(store) == ["b"]
    assert "a" in [entry.name for entry in store.list_trash(store.root)]
    assert store.read_trashed(folder.first)
    run_search(store, "a", 2)
    assert trial_points(store, "a") == expected_points(tmp_path, 2)
    with pytest.raises(SearchNotFoundError, match=r"colab-drive-tuner (--store \S+ )?list"):
        remove_search(store, "c")


@pytest.mark.parametrize("new", ["b", "a: b?", "日本 'x'"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_renamed_search_continues_under_its_new_name(
    kind: str, new: str, opened: Opener, tmp_path: Path
) -> None:
    """A renamed search keeps all of its trials, and its old name is free for another search."""
    store = opened(kind)
    run_search(store, "a", 3)
    rename_search(store, "a", new)
    assert list_names(store) == [new]
    run_search(store, new, 6)
    assert trial_points(store, new) == expected_points(tmp_path, 6)
    run_search(store, "a", 1)
    assert [one.progress for one in list_searches(store)] == ["1 of 1", "6 of 6"]
    with pytest.raises(UsageError, match="already"):
        rename_search(store, "a", new)
    rename_search(store, new, "again")
    rename_search(store, "a", new)
    assert len(trial_points(store, "again")) == 6


def test_a_search_is_renamed_any_number_of_times(opened: Opener) -> None:
    """Marks of earlier names do not use up the 30 properties that Drive allows a folder."""
    store = opened("ann:s")
    run_search(store, "a", 1)
    folder = find_folder(store, "a")
    assert folder is not None
    for number in range(30 - len(store.stat(folder.id).properties)):
        store.set_properties(folder.id, freed_mark(store, f"name {number}"))
    rename_search(store, "a", "b")
    rename_search(store, "b", "c")
    assert list_names(store) == ["c"]
    run_search(store, "a", 2)
    assert (len(trial_points(store, "a")), len(trial_points(store, "c"))) == (2, 1)


def test_an_impossible_rename_changes_nothing(tmp_path: Path) -> None:
    """An invalid name, the same name and the name of a person's folder are refused."""
    store = FolderStore(tmp_path / "s")
    run_search(store, "a", 1)
    (tmp_path / "s" / "mine").mkdir()
    (tmp_path / "s" / "mine" / "notes").touch()
    for new, error in (("x/y", SearchNameError), ("a", UsageError), ("mine", RefusedError)):
        with pytest.raises(error):
            rename_search(store, "a", new)
        assert list_names(store) == ["a"]
        assert trial_points(store, "a") == expected_points(tmp_path, 1)


def test_a_search_that_was_removed_and_is_still_listed_is_not_resumed(
    opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Drive's listings lag, and files in its trash can be read."""
    monkeypatch.setattr("colab_drive_tuner.journal.claim_and_takeover._ATTEMPT_PAUSES", (0.0,))
    store = opened("ann:s")
    run_search(store, "a", 1)
    listed = store.list(store.root, name="a")
    remove_search(store, "a")
    monkeypatch.setattr(store, "list", lambda parent, name=None: listed)
    with pytest.raises(NotFoundError, match="search 'a' was just removed"):
        run_search(store, "a", 2)
    monkeypatch.setattr(store, "list_trash", lambda parent: [])
    with pytest.raises(NotFoundError, match="search 'a' was just removed"):
        read_status(store, "a")


class Overtaken(FolderStore):
    """A store in which another machine creates a search while this one renames or copies one."""

    def rename(self, entry_id: str, name: str, properties: Mapping[str, str] | None = None) -> None:
        if self.stat(entry_id).name == "a" and name == "b":
            run_search(FolderStore(self._root), "b", 2)
        super().rename(entry_id, name, properties)

    def create(self, *args: Any, **options: Any) -> Entry:
        if options["name"].startswith("b~copying"):
            run_search(FolderStore(self._root), "b", 2)
        return super().create(*args, **options)


def copy_in_store(store: FolderStore, name: str, new_name: str) -> str:
    return copy_search(store, name, store, new_name=new_name)


@pytest.mark.parametrize("act", [rename_search, copy_in_store])
def test_a_name_that_another_machine_takes_meanwhile_stays_with_it(
    act: Callable[..., object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a renamed nor a copied search becomes a second one of that name."""
    run_search(tmp_path / "s", "a", 3)
    monkeypatch.setattr(Spool, "acquire", lambda spool: True)  # as on two machines
    with pytest.raises(UsageError, match="at the same moment"):
        act(Overtaken(tmp_path / "s"), "a", "b")
    assert list_names(FolderStore(tmp_path / "s")) == ["a", "b"]
    for name, count in (("a", 4), ("b", 5)):
        run_search(tmp_path / "s", name, count)
        assert trial_points(tmp_path / "s", name) == expected_points(tmp_path, count)


def test_one_of_two_copies_in_a_store_is_renamed_or_removed(tmp_path: Path) -> None:
    """Copies made by hand have equal ids, but are treated as separate searches."""
    store = FolderStore(tmp_path / "s")
    run_search(store, "a", 2)
    shutil.copytree(tmp_path / "s" / "a", tmp_path / "s" / "b")
    rename_search(store, "b", "c")
    with pytest.raises(RefusedError, match="plainer"):
        rename_search(store, "c", "d:")
    run_search(store, "c", 4)
    assert [len(trial_points(store, name)) for name in list_names(store)] == [2, 4]
    remove_search(store, "a")
    assert trial_points(store, "c") == expected_points(tmp_path, 4)


@pytest.mark.parametrize("kind", ["folder:s", "ann:s"])
def test_a_search_that_is_held_is_neither_renamed_nor_removed(kind: str, opened: Opener) -> None:
    """A search that this process is running can be neither renamed nor removed."""
    store = opened(kind)
    refused = 0

    def objective(point: dict[str, float]) -> float:
        nonlocal refused
        for change in (lambda: remove_search(store, "a"), lambda: rename_search(store, "a", "b")):
            with pytest.raises(SearchBusyError):
                change()
            refused += 1
        return point["x"]

    trials = DriveTrials("a", store=store, notify=lambda text: None)
    import hyperopt

    hyperopt.fmin(
        objective,
        {"x": hyperopt.hp.uniform("x", 0, 1)},
        algo=hyperopt.rand.suggest,
        max_evals=2,
        trials=trials,
        show_progressbar=False,
        return_argmin=False,
    )
    assert (refused, len(trials), list_names(store)) == (4, 2, ["a"])


def test_a_damaged_search_can_be_removed(tmp_path: Path) -> None:
    """A damaged search can be removed without repair, but not renamed."""
    store = FolderStore(tmp_path / "s")
    run_search(store, "a", 3)
    (tmp_path / "s" / "a" / "records" / "record-000000.cdt").unlink()
    for path in (tmp_path / "s" / "a" / "records").glob("snapshot*"):
        path.unlink()
    with pytest.raises(Exception, match="repair"):
        rename_search(store, "a", "b")
    remove_search(store, "a")
    assert list_names(store) == []


def test_a_search_restored_from_the_trash_by_hand_can_be_resumed(tmp_path: Path) -> None:
    """A search moved out of the trash continues; renaming its folder starts no new search."""
    store = FolderStore(tmp_path / "s")
    run_search(store, "a", 3)
    remove_search(store, "a")
    (gone,) = (tmp_path / "s" / ".trash").iterdir()
    gone.rename(tmp_path / "s" / "a")
    run_search(store, "a", 5)
    assert trial_points(store, "a") == expected_points(tmp_path, 5)
    (tmp_path / "s" / "a").rename(tmp_path / "s" / "b")
    with pytest.raises(SearchFolderError, match="renamed to 'b'"):
        run_search(store, "a", 1)


def test_a_store_may_be_named_by_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every function of the package that takes a store also takes its path."""
    monkeypatch.chdir(tmp_path)
    run_search("s", "a", 2)
    cdt.rename_search("s", "a", "b")
    cdt.copy_search(tmp_path / "s", "b", "t")
    cdt.move_search("s", "b", "t", new_name="c")
    assert [len(cdt.list_histories("t", "b")), cdt.export_trials("t", "b", "b.pkl")] == [1, 2]
    cdt.import_trials("t", "d", "b.pkl")
    cdt.remove_search("t", "b")
    assert [one.name for one in cdt.list_searches("t")] == ["c", "d"]
    assert cdt.read_status("t", "c").done == 2
    with pytest.raises(UsageError, match="never restarted"):
        cdt.restore_search("t", "c")
    with pytest.raises(NotFoundError, match="There is no folder"):
        cdt.list_searches("typo")
    assert not (tmp_path / "typo").exists()


def test_a_session_manages_searches_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The methods of a session work on its own store."""
    monkeypatch.setenv("COLAB_DRIVE_TUNER_STORE", str(tmp_path / "s"))
    session = cdt.setup()
    assert session.list() == []
    run_search(tmp_path / "s", "a", 2)
    run_search(tmp_path / "s", "b", 2)
    session.rename("a", "c")
    session.copy("c", tmp_path / "s", new_name="d")
    session.move("b", tmp_path / "t")
    session.remove("c")
    assert session.list() == ["d"]
    assert [one.present for one in session.histories("d")] == [True]
    with pytest.raises(UsageError, match="never restarted"):
        session.restore("d")
    assert trial_points(tmp_path / "t", "b") == expected_points(tmp_path, 2)
