"""Search folders that a user renamed, copied, archived or deleted by hand."""

import os
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from colab_drive_tuner.checkpoint.history import History
from colab_drive_tuner.checkpoint.record_items import claim_payload
from colab_drive_tuner.checkpoint.replay_filter import wanted
from colab_drive_tuner.errors import (
    NotFoundError,
    RefusedError,
    SearchDamagedError,
    SearchFolderError,
    StoreError,
    UsageError,
)
from colab_drive_tuner.journal import Journal, PayloadRules
from colab_drive_tuner.journal.folder.lookup import find_folder
from colab_drive_tuner.search.results.read_search import list_searches
from colab_drive_tuner.store import open_store
from colab_drive_tuner.store.folder import FolderStore
from tests.store.searches import expected_points, run_search, trial_points

Bring = Callable[[Path, Path], object]
"""Brings the folder at the first path to the second one, which does not exist yet."""


def by_cp(source: Path, target: Path) -> None:
    subprocess.run(["cp", "-r", source, target], check=True)


def by_cp_of_what_is_seen(source: Path, target: Path) -> None:
    """`cp -r S/* BACKUP/` leaves behind whatever begins with a dot, at every level."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns(".*"))


def by_rsync(source: Path, target: Path) -> None:
    if shutil.which("rsync") is None:
        pytest.skip("rsync is not installed")
    subprocess.run(["rsync", "-a", f"{source}/", f"{target}/"], check=True)


def by_zip(source: Path, target: Path) -> None:
    """Only files are packed: empty folders are lost, as they are by git."""
    packed = source.with_suffix(".zip")
    with zipfile.ZipFile(packed, "w") as archive:
        for path in source.rglob("*"):
            if path.is_file():
                archive.write(path, path.relative_to(source))
    with zipfile.ZipFile(packed) as archive:
        archive.extractall(target)
    packed.unlink()


def by_tar(source: Path, target: Path) -> None:
    with tarfile.open(source.with_suffix(".tar"), "w") as archive:
        archive.add(source, ".")
    with tarfile.open(source.with_suffix(".tar")) as archive:
        archive.extractall(target, filter="data")
    source.with_suffix(".tar").unlink()


def by_git(source: Path, target: Path) -> None:
    def git(*words: object) -> None:
        identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
        subprocess.run(["git", *identity, *map(str, words)], check=True, capture_output=True)

    git("init", "-q", source)
    git("-C", source, "add", "-A")
    git("-C", source, "commit", "-qm", "a search")
    git("clone", "-q", source, target)
    for place in (source, target):
        shutil.rmtree(place / ".git")


WAYS = [by_cp, by_cp_of_what_is_seen, by_rsync, by_zip, by_tar, by_git]


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Power does not fail in these tests."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A store with a search `a` of three trials."""
    run_search(tmp_path / "store", "a", 3)
    return tmp_path / "store"


def test_a_renamed_folder_is_the_search_by_another_name(root: Path, tmp_path: Path) -> None:
    """With all its trials, and it goes on from where it was; the old name is free again."""
    (root / "a").rename(root / "b")
    assert [search.name for search in list_searches(open_store(root))] == ["b"]
    run_search(root, "b", 6)
    assert trial_points(root, "b") == expected_points(tmp_path, 6)
    assert sorted(path.name for path in root.iterdir() if path.name[0] != ".") == ["b"]


def test_two_renamed_folders_swap_their_names(root: Path, tmp_path: Path) -> None:
    """Neither takes the other's records for its own."""
    run_search(root, "b", 5)
    for old, new in (("a", "c"), ("b", "a"), ("c", "b")):
        (root / old).rename(root / new)
    assert (len(trial_points(root, "a")), len(trial_points(root, "b"))) == (5, 3)
    run_search(root, "b", 7)
    assert trial_points(root, "b") == expected_points(tmp_path, 7)
    assert len(trial_points(root, "a")) == 5


@pytest.mark.parametrize("way", WAYS)
def test_a_copy_in_another_store_is_the_search(way: Bring, root: Path, tmp_path: Path) -> None:
    """It opens there under its folder's name and goes on, and the original is as it was."""
    (tmp_path / "other").mkdir()
    way(root / "a", tmp_path / "other" / "mine")
    assert trial_points(tmp_path / "other", "mine") == trial_points(root, "a")
    run_search(tmp_path / "other", "mine", 6)
    assert trial_points(tmp_path / "other", "mine") == expected_points(tmp_path, 6)
    assert len(trial_points(root, "a")) == 3


@pytest.mark.parametrize("way", WAYS)
def test_a_copy_of_all_searches_is_a_store(way: Bring, root: Path, tmp_path: Path) -> None:
    """Whether the hidden files of the root came along or not."""
    run_search(root, "b", 2)
    way(root, tmp_path / "backup")
    copies = list_searches(open_store(tmp_path / "backup"))
    assert [(search.name, search.done, search.problem) for search in copies] == [
        ("a", 3, ""),
        ("b", 2, ""),
    ]
    run_search(tmp_path / "backup", "a", 6)
    assert trial_points(tmp_path / "backup", "a") == expected_points(tmp_path, 6)


@pytest.mark.parametrize("way", WAYS)
def test_a_copy_in_the_same_store_is_a_search_of_its_own(
    way: Bring, root: Path, tmp_path: Path
) -> None:
    """Both go on, each by itself, also where they make records under the same ids."""
    way(root / "a", root / "b")
    run_search(root, "a", 5)
    assert (len(trial_points(root, "a")), len(trial_points(root, "b"))) == (5, 3)
    run_search(root, "b", 7)
    assert trial_points(root, "b") == expected_points(tmp_path, 7)
    run_search(root, "a", 6)
    assert trial_points(root, "a") == expected_points(tmp_path, 6)
    assert [search.problem for search in list_searches(open_store(root))] == ["", ""]
    store = open_store(root)
    folders = [find_folder(store, name) for name in ("a", "b")]
    assert folders[0].id != folders[1].id
    assert not folders[0].duplicates


def test_the_folder_of_a_search_is_no_store(root: Path) -> None:
    """Whoever names it means the folder above, in which nothing would be found missing."""
    with pytest.raises(UsageError, match=rf"one search.* {root}$"):
        open_store(root / "a")


def test_a_copy_that_was_deleted_frees_its_name(root: Path, tmp_path: Path) -> None:
    """It was not renamed to its original, which has the same records."""
    shutil.copytree(root / "a", root / "b")
    run_search(root, "b", 5)
    shutil.rmtree(root / "b")
    run_search(root, "b", 2)
    assert trial_points(root, "b") == expected_points(tmp_path, 2)
    assert len(trial_points(root, "a")) == 3


def test_a_copy_does_not_take_the_place_of_its_original(root: Path) -> None:
    """What runs in `a` finds nothing in its copy once `a` is gone, and writes nothing there."""
    shutil.copytree(root / "a", root / "b")
    store = FolderStore(root).for_search("a")
    folder = find_folder(store, "a")
    (record,) = store.list(folder.records, name="record-000000.cdt")
    shutil.rmtree(root / "a")
    for ask in (store.read, store.stat, store.trash):
        with pytest.raises(NotFoundError):
            ask(record.id)
    with pytest.raises(NotFoundError):
        store.create(store.reserve(1)[0], b"", name="x", parent=folder.records)
    assert len(trial_points(root, "b")) == 3


@pytest.mark.parametrize("copy", ["none", "before", "in its place"])
@pytest.mark.parametrize("source", ["a", "c"])
def test_what_is_renamed_while_it_is_used_is_the_same(
    root: Path, tmp_path: Path, copy: str, source: str
) -> None:
    """A run goes on in its very folder, not in a copy, also where the copy bears its name now."""
    if source == "c":  # a copy itself: its id depends on its name
        shutil.copytree(root / "a", root / "c")
    if copy == "before":
        shutil.copytree(root / source, root / "b")
    store = FolderStore(root).for_search(source)
    folder = find_folder(store, source)
    (record,) = store.list(folder.records, name="record-000000.cdt")
    (root / source).rename(root / "renamed")
    if copy == "in its place":
        shutil.copytree(root / "renamed", root / source)
    assert store.read(record.id)
    assert store.stat(folder.id).name == "renamed"
    store.create(*store.reserve(1), b"", name="x", parent=folder.records)
    store.create(*store.reserve(1), b"", name="y", parent=folder.id)
    store.set_properties(folder.id, {"cdt_a": "1"})
    found = sorted(path.relative_to(root) for path in root.rglob("[xy]"))
    assert found == [Path("renamed/records/x"), Path("renamed/y")]


def test_an_id_of_two_copies_is_never_guessed(root: Path) -> None:
    """Whoever does not say which search it works in is told of both."""
    shutil.copytree(root / "a", root / "b")
    store = FolderStore(root)
    first = find_folder(store, "a").first
    with pytest.raises(StoreError, match="several copies"):
        store.read(first)
    assert store.for_search("a").read(first) == store.for_search("b").read(first)


def test_a_deleted_folder_leaves_nothing(root: Path, tmp_path: Path) -> None:
    """A new search of the name is a new search, in a folder of exactly that name."""
    shutil.rmtree(root / "a")
    assert trial_points(root, "a") == []
    run_search(root, "a", 4)
    assert trial_points(root, "a") == expected_points(tmp_path, 4)
    assert sorted(path.name for path in root.iterdir() if path.name[0] != ".") == ["a"]


@pytest.mark.parametrize("what", ["store", "searches", "one search"])
def test_a_deleted_store_is_told_of_once(root: Path, what: str) -> None:
    """One line names all searches that were in it; of one among others its own name is said."""
    for name in ("b", "c"):
        run_search(root, name, 1)
    for path in {"store": [root], "searches": root.glob("[abc]"), "one search": [root / "a"]}[what]:
        shutil.rmtree(path)
    said: list[str] = []
    for name in ("a", "b", "c"):
        claim(root, name, said)
    (told,) = (line for line in said if "deleted permanently" in line)
    assert ("'b', 'c'" in told) == (what != "one search")


def claim(root: Path, name: str, said: list[str]) -> None:
    """Begin the search, or go on with it."""
    journal = Journal.open(open_store(root), name, PayloadRules(History, History.load, wanted))
    journal.claim(lambda state: claim_payload({}), notify=said.append)
    journal.close()


def test_a_trashed_folder_comes_back_by_hand(root: Path, tmp_path: Path) -> None:
    """Under its old name or another one; meanwhile no other search takes its place."""
    store = open_store(root)
    store.trash(find_folder(store, "a").id)
    assert store.list(store.root) == []
    assert [entry.name for entry in store.list_trash(store.root)] == ["a"]
    with pytest.raises(SearchFolderError, match="is in the trash"):
        run_search(root, "a", 1)
    (kept,) = (root / ".trash").iterdir()
    kept.rename(root / "back")
    run_search(root, "back", 6)
    assert trial_points(root, "back") == expected_points(tmp_path, 6)


def test_a_trashed_file_comes_back_by_hand(root: Path) -> None:
    """Moved back under its old name it is the file that it was."""
    store = open_store(root).for_search("a")
    folder = find_folder(store, "a")
    (export,) = store.list(folder.id, name="trials.pkl")
    content = store.read(export.id)
    store.trash(export.id)
    assert store.read_trashed(export.id) == content
    assert [entry.id for entry in store.list_trash(folder.id)] == [export.id]
    (kept,) = (root / ".trash").iterdir()
    kept.rename(root / "a" / "trials.pkl")
    assert open_store(root).read(export.id) == content
    assert [entry.id for entry in store.list(folder.id, name="trials.pkl")] == [export.id]


@pytest.mark.parametrize("names", [("one", "two"), ("one", "v1.0"), ("ü", "日本 ~x.y")])
def test_names_of_folders_are_names_of_searches(tmp_path: Path, names: tuple[str, str]) -> None:
    """Whatever a disk can bear, with points, spaces and tildes."""
    root = tmp_path / "store"
    run_search(root, names[0], 2)
    (root / names[0]).rename(root / names[1])
    assert [search.name for search in list_searches(open_store(root))] == [names[1]]
    run_search(root, names[1], 3)
    assert trial_points(root, names[1]) == expected_points(tmp_path, 3)


class TestLinks:
    """A link in a store could have been put there by anybody who may write to the folder."""

    @pytest.fixture
    def outside(self, root: Path, tmp_path: Path) -> Path:
        """The folder of the search, moved outside of the store."""
        return (root / "a").rename(tmp_path / "outside")

    def test_a_search_that_is_a_link_is_refused(self, root: Path, outside: Path) -> None:
        """By name; nothing behind the link is read, written, or put into the trash."""
        (root / "a").symlink_to(outside)
        before = sorted((path, path.stat().st_mtime_ns) for path in outside.rglob("*"))
        run_search(root, "b", 2)
        with pytest.raises(SearchDamagedError, match=r"/a is a symbolic link"):
            run_search(root, "a", 5)
        (a, b) = list_searches(open_store(root))
        assert ("symbolic link" in a.problem, b.done) == (True, 2)
        store = open_store(root)
        (entry,) = store.list(store.root, name="a")
        with pytest.raises(RefusedError, match="symbolic link"):
            store.trash(entry.id)
        assert sorted((path, path.stat().st_mtime_ns) for path in outside.rglob("*")) == before

    @pytest.mark.parametrize(
        "inner", ["records", "index", "index/ids", "index/names", "index/copies/ids"]
    )
    def test_nothing_is_written_through_a_link(
        self, root: Path, tmp_path: Path, inner: str
    ) -> None:
        """In the place of a folder of the search or its index."""
        (root / "a" / inner).rename(tmp_path / "moved")
        (root / "a" / inner).symlink_to(tmp_path / "moved")
        before = sorted(path for path in tmp_path.joinpath("moved").rglob("*"))
        with pytest.raises((SearchDamagedError, RefusedError), match="symbolic link"):
            run_search(root, "a", 5)
        assert sorted(path for path in tmp_path.joinpath("moved").rglob("*")) == before

    def test_a_file_that_is_a_link_is_not_read_replaced_or_trashed(
        self, root: Path, tmp_path: Path
    ) -> None:
        """Whatever it points at is not ours."""
        secret = tmp_path / "secret"
        secret.write_bytes(b"secret")
        store = open_store(root).for_search("a")
        folder = find_folder(store, "a")
        (root / "a" / "trials.pkl").unlink()
        (root / "a" / "trials.pkl").symlink_to(secret)
        for act in (
            store.read,
            store.stat,
            store.trash,
            lambda entry_id: store.replace(entry_id, b""),
            lambda entry_id: store.fetch(entry_id, tmp_path / "copy"),
        ):
            with pytest.raises(RefusedError, match="symbolic link"):
                act(folder.export)
        (entry,) = store.list(folder.id, name="trials.pkl")
        assert "symbolic link" in entry.damage
        assert secret.read_bytes() == b"secret"

    def test_the_trash_is_no_link(self, root: Path, tmp_path: Path) -> None:
        """Nothing leaves the store through it."""
        (tmp_path / "elsewhere").mkdir()
        (root / ".trash").symlink_to(tmp_path / "elsewhere")
        store = open_store(root)
        with pytest.raises(RefusedError, match="symbolic link"):
            store.trash(find_folder(store, "a").id)
        assert list((tmp_path / "elsewhere").iterdir()) == []

    def test_the_root_may_be_one(self, root: Path, tmp_path: Path) -> None:
        """It is the user's own way to the folder."""
        (tmp_path / "link").symlink_to(root)
        run_search(tmp_path / "link", "a", 4)
        assert len(trial_points(root, "a")) == 4
