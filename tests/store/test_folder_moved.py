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
"""Copies the folder at the first path to the second path, which does not exist yet."""


def by_cp(source: Path, target: Path) -> None:
    subprocess.run(["cp", "-r", source, target], check=True)


def by_cp_without_hidden_files(source: Path, target: Path) -> None:
    """Copy as `cp -r SOURCE/* TARGET` does, which leaves out hidden files at the top only."""
    target.mkdir()
    subprocess.run(["cp", "-r", *source.glob("[!.]*"), target], check=True)


def by_rsync(source: Path, target: Path) -> None:
    if shutil.which("rsync") is None:
        pytest.skip("rsync is not installed")
    subprocess.run(["rsync", "-a", f"{source}/", f"{target}/"], check=True)


def by_zip(source: Path, target: Path) -> None:
    """Pack files only: empty folders are lost, as they are by git."""
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
        # Not as an argument, which Python 3.11 knows from 3.11.4 on.
        archive.extraction_filter = getattr(tarfile, "data_filter", None)
        archive.extractall(target)
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


WAYS = [by_cp, by_cp_without_hidden_files, by_rsync, by_zip, by_tar, by_git]


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip flushes, because no power cut happens in these tests."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A store with a search `a` of three trials."""
    run_search(tmp_path / "store", "a", 3)
    return tmp_path / "store"


def test_a_renamed_folder_is_the_search_by_another_name(root: Path, tmp_path: Path) -> None:
    """A renamed folder resumes under its new name with all trials; the old name is free."""
    (root / "a").rename(root / "b")
    assert [search.name for search in list_searches(open_store(root))] == ["b"]
    run_search(root, "b", 6)
    assert trial_points(root, "b") == expected_points(tmp_path, 6)
    assert sorted(path.name for path in root.iterdir() if path.name[0] != ".") == ["b"]


def test_two_renamed_folders_swap_their_names(root: Path, tmp_path: Path) -> None:
    """Two searches that swapped their names keep their own records."""
    run_search(root, "b", 5)
    for old, new in (("a", "c"), ("b", "a"), ("c", "b")):
        (root / old).rename(root / new)
    assert (len(trial_points(root, "a")), len(trial_points(root, "b"))) == (5, 3)
    run_search(root, "b", 7)
    assert trial_points(root, "b") == expected_points(tmp_path, 7)
    assert len(trial_points(root, "a")) == 5


@pytest.mark.parametrize("way", WAYS)
def test_a_copy_in_another_store_is_the_search(way: Bring, root: Path, tmp_path: Path) -> None:
    """A copy in another store resumes under its folder's name; the original is unchanged."""
    (tmp_path / "other").mkdir()
    way(root / "a", tmp_path / "other" / "mine")
    assert trial_points(tmp_path / "other", "mine") == trial_points(root, "a")
    run_search(tmp_path / "other", "mine", 6)
    assert trial_points(tmp_path / "other", "mine") == expected_points(tmp_path, 6)
    assert len(trial_points(root, "a")) == 3


def test_a_copy_appears_in_a_store_that_was_listed_while_it_was_made(
    root: Path, tmp_path: Path
) -> None:
    """A large search takes minutes to copy, and its folder becomes one only with its index."""
    (tmp_path / "other" / "a").mkdir(parents=True)
    os.utime(tmp_path / "other", (1e9, 1e9))
    store = open_store(tmp_path / "other")
    assert list_searches(store) == []
    shutil.copytree(root / "a", tmp_path / "other" / "a", dirs_exist_ok=True)
    assert [search.name for search in list_searches(store)] == ["a"]


@pytest.mark.parametrize("way", WAYS)
def test_a_copy_of_all_searches_is_a_store(way: Bring, root: Path, tmp_path: Path) -> None:
    """A copy of a store is a store, with or without the hidden files of its root."""
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
    """Copy and original resume apart, even where they create records under the same ids."""
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
    """Opening a search's folder as a store is refused and names the folder above it.

    Otherwise an empty store would be opened.
    """
    with pytest.raises(UsageError, match=rf"one search.* {root}$"):
        open_store(root / "a")


def test_a_copy_that_was_deleted_frees_its_name(root: Path, tmp_path: Path) -> None:
    """A deleted copy does not count as renamed to its original, which has the same records."""
    shutil.copytree(root / "a", root / "b")
    run_search(root, "b", 5)
    shutil.rmtree(root / "b")
    run_search(root, "b", 2)
    assert trial_points(root, "b") == expected_points(tmp_path, 2)
    assert len(trial_points(root, "a")) == 3


def test_a_copy_does_not_take_the_place_of_its_original(root: Path) -> None:
    """A run in `a`, once `a` is deleted, reads and writes nothing in its copy `b`."""
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
def test_a_run_stays_in_its_renamed_folder(
    root: Path, tmp_path: Path, copy: str, source: str
) -> None:
    """A run stays in its renamed folder, even if a copy now has the old name."""
    if source == "c":  # a copy, whose id depends on its name
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
    """An id that two copies share is an error, unless the store is opened for one search."""
    shutil.copytree(root / "a", root / "b")
    store = FolderStore(root)
    first = find_folder(store, "a").first
    with pytest.raises(StoreError, match=r"several copies .* move the others out"):
        store.read(first)
    assert store.for_search("a").read(first) == store.for_search("b").read(first)


def test_a_deleted_folder_leaves_nothing(root: Path, tmp_path: Path) -> None:
    """A new search with the name of a deleted one starts again in a folder of that name."""
    shutil.rmtree(root / "a")
    assert trial_points(root, "a") == []
    run_search(root, "a", 4)
    assert trial_points(root, "a") == expected_points(tmp_path, 4)
    assert sorted(path.name for path in root.iterdir() if path.name[0] != ".") == ["a"]


@pytest.mark.parametrize("what", ["store", "searches", "one search"])
def test_a_deleted_store_is_reported_once(root: Path, what: str) -> None:
    """One message names all searches of a deleted store; a single deleted search is named alone."""
    for name in ("b", "c"):
        run_search(root, name, 1)
    for path in {"store": [root], "searches": root.glob("[abc]"), "one search": [root / "a"]}[what]:
        shutil.rmtree(path)
    messages: list[str] = []
    for name in ("a", "b", "c"):
        claim(root, name, messages)
    (message,) = (line for line in messages if "deleted permanently" in line)
    assert ("'b', 'c'" in message) == (what != "one search")


def claim(root: Path, name: str, messages: list[str]) -> None:
    """Begin or resume the search and release it; collect its messages."""
    journal = Journal.open(open_store(root), name, PayloadRules(History, History.load, wanted))
    journal.claim(lambda state: claim_payload({}), notify=messages.append)
    journal.close()


def test_a_trashed_folder_can_be_restored_by_hand(root: Path, tmp_path: Path) -> None:
    """A folder moved out of `.trash` resumes under any name; until then its name is refused."""
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


def test_a_trashed_file_can_be_restored_by_hand(root: Path) -> None:
    """A file moved back under its old name has its id and content again."""
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
    """A folder's name is its search's name, also with dots, spaces and tildes."""
    root = tmp_path / "store"
    run_search(root, names[0], 2)
    (root / names[0]).rename(root / names[1])
    assert [search.name for search in list_searches(open_store(root))] == [names[1]]
    run_search(root, names[1], 3)
    assert trial_points(root, names[1]) == expected_points(tmp_path, 3)


class TestLinks:
    """Symbolic links in a store, which anybody with write access may have put there."""

    @pytest.fixture
    def outside(self, root: Path, tmp_path: Path) -> Path:
        """The folder of the search, moved outside of the store."""
        return (root / "a").rename(tmp_path / "outside")

    def test_a_search_that_is_a_link_is_refused(self, root: Path, outside: Path) -> None:
        """The link is named; nothing behind it is read, written or trashed."""
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
        """A link in place of a folder of the search or its index is refused."""
        (root / "a" / inner).rename(tmp_path / "moved")
        (root / "a" / inner).symlink_to(tmp_path / "moved")
        before = sorted(path for path in tmp_path.joinpath("moved").rglob("*"))
        with pytest.raises((SearchDamagedError, RefusedError), match="symbolic link"):
            run_search(root, "a", 5)
        assert sorted(path for path in tmp_path.joinpath("moved").rglob("*")) == before

    def test_a_file_that_is_a_link_is_not_read_replaced_or_trashed(
        self, root: Path, tmp_path: Path
    ) -> None:
        """A linked file is refused by each method, and its target is unchanged."""
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

    def test_a_trash_folder_that_is_a_symlink_is_refused(self, root: Path, tmp_path: Path) -> None:
        """No file is moved out of the store through a symlinked `.trash`."""
        (tmp_path / "elsewhere").mkdir()
        (root / ".trash").symlink_to(tmp_path / "elsewhere")
        store = open_store(root)
        with pytest.raises(RefusedError, match="symbolic link"):
            store.trash(find_folder(store, "a").id)
        assert list((tmp_path / "elsewhere").iterdir()) == []

    def test_the_root_may_be_a_link(self, root: Path, tmp_path: Path) -> None:
        """The store's own path may be a link, because the user chose it."""
        (tmp_path / "link").symlink_to(root)
        run_search(tmp_path / "link", "a", 4)
        assert len(trial_points(root, "a")) == 4
