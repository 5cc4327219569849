"""Damage to each file of a folder store (lost, cut, altered, swapped) is repaired or named."""

import errno
import itertools
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from colab_drive_tuner.errors import (
    ChecksumError,
    ColabDriveTunerError,
    NotFoundError,
    RefusedError,
    SearchDamagedError,
    UsageError,
)
from colab_drive_tuner.journal import claim_and_takeover, lease
from colab_drive_tuner.journal.chain import chain
from colab_drive_tuner.journal.folder.lookup import find_folder
from colab_drive_tuner.search.drive_trials import DriveTrials
from colab_drive_tuner.search.results.read_search import list_searches
from colab_drive_tuner.store import open_store
from colab_drive_tuner.store.folder import FolderStore, rebuilding
from colab_drive_tuner.store.folder.description import Description, encode, encode_properties
from colab_drive_tuner.store.folder.index import Index
from colab_drive_tuner.troubleshoot.repair.repair import repair
from tests.file_damage import empty, lose, put_folder, put_pipe
from tests.store.searches import expected_points, run_search, trial_points

Harm = Callable[[Path], object]


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes() or b"\0")
    content[len(content) // 3] ^= 0x10
    path.write_bytes(content)


def edit(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"a", b"b") + b" edited\n")


def link(path: Path) -> None:
    path.unlink()
    path.symlink_to(__file__)


def outcome(act: Callable[..., object], *arguments: object) -> tuple[object, str]:
    """Return the result of a call, or the message of its error."""
    try:
        return act(*arguments), ""
    except ColabDriveTunerError as error:
        return None, str(error)


HARMS = [lose, empty, halve, flip, edit]
IN_PLACE = [put_pipe, put_folder, link]
"""Pipes, folders and symbolic links in place of a file."""


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip flushes and waits: no power cut happens, and damage does not heal by itself."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    monkeypatch.setattr(chain, "_READ_PAUSES", (0.0,))
    monkeypatch.setattr(claim_and_takeover, "_ATTEMPT_PAUSES", ())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A store with a search `a` of three trials, and an undamaged search `b`."""
    run_search(tmp_path / "store", "a", 3)
    run_search(tmp_path / "store", "b", 1)
    return tmp_path / "store"


def files(root: Path, *below: str) -> list[str]:
    """Return the files below some folders, by their path in the store."""
    found = [path for place in below for path in (root / place).rglob("*") if path.is_file()]
    return sorted(str(path.relative_to(root)) for path in found)


@pytest.mark.parametrize("harm", [*HARMS, *IN_PLACE])
def test_one_damaged_file_of_an_index_changes_nothing(
    harm: Harm, root: Path, tmp_path: Path
) -> None:
    """With an index file damaged, the search is read in full, resumes and heals its index.

    Each file gets every third harm.
    """
    whole, last = trial_points(root, "a"), expected_points(tmp_path, 4)
    first = [*HARMS, *IN_PLACE].index(harm) % 3
    for number, path in enumerate(files(root, "a/index", ".store")[first::3]):
        copy = tmp_path / f"copy{number}"
        shutil.copytree(root, copy)
        harm(copy / path)
        assert trial_points(copy, "a") == whole, path
        run_search(copy, "a", 4)
        assert trial_points(copy, "a") == last, path
        assert [search.problem for search in list_searches(open_store(copy))] == ["", ""], path
        shutil.rmtree(copy)


INDEXES = ["index", "index/ids", "index/copies", "index/copies/ids", "index/names"]
PLACES = [f"a/{index}" for index in [*INDEXES, "index/properties"]]


@pytest.mark.parametrize("place", [*PLACES, ".store", ".store/ids", ".store/names", ".trash"])
def test_a_file_in_place_of_a_folder_hides_no_search(place: str, root: Path) -> None:
    """Other searches are listed; the affected one names what is in its way, and later resumes."""
    if (root / place).is_dir():
        shutil.rmtree(root / place)
    (root / place).write_text("mine")
    b = list_searches(open_store(root))[-1]
    assert (b.name, b.done, b.problem) == ("b", 1, "")
    _, trouble = outcome(run_search, root, "a", 4)
    assert not trouble or str(root / place) in trouble
    if trouble:
        (root / place).unlink(missing_ok=True)
        repair(open_store(root), "a")
        run_search(root, "a", 4)
    assert len(trial_points(root, "a")) == 4


def test_swapped_files_of_an_index_change_nothing_or_are_named(root: Path, tmp_path: Path) -> None:
    """Each file of an index names its id: a swapped one is ignored, or an error that names it."""
    whole = trial_points(root, "a")
    for kind in ("ids", "copies/ids", "names/folder", "properties"):
        for one, other in itertools.pairwise(files(root, f"a/index/{kind}", f"b/index/{kind}")):
            copy = tmp_path / "copy"
            shutil.copytree(root, copy)
            (copy / one).rename(copy / "x")
            (copy / other).rename(copy / one)
            (copy / "x").rename(copy / other)
            found, trouble = outcome(trial_points, copy, "a")
            assert found == whole or str(copy / one) in trouble or str(copy / other) in trouble
            assert sorted(path.name for path in copy.iterdir()) == [".store", "a", "b"]
            shutil.rmtree(copy)


@pytest.mark.parametrize("harm", HARMS)
def test_a_damaged_file_affects_its_search_only(
    harm: Harm, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No record is skipped, no search starts again, and the other searches are unchanged."""
    for module in (lease, claim_and_takeover):  # if the release is lost, the lease must expire
        monkeypatch.setattr(module, "STALE_SECONDS", 1.0)
    whole = trial_points(root, "a")
    for number, path in enumerate(files(root, "a/records")):
        copy = tmp_path / f"copy{number}"
        shutil.copytree(root, copy)
        harm(copy / path)
        _, trouble = outcome(run_search, copy, "a", 3)
        # A snapshot is written again; every other file is needed.
        assert "repair" in trouble or trial_points(copy, "a") == whole, path
        assert [entry.name for entry in list_searches(open_store(copy))] == ["a", "b"]
        assert len(trial_points(copy, "b")) == 1
        shutil.rmtree(copy)


@pytest.mark.parametrize("harm", HARMS)
def test_damage_to_both_copies_of_a_description_is_named(harm: Harm, root: Path) -> None:
    """A description damaged in both copies is an error that asks for `repair`.

    No new search begins beside the old one.
    """
    both = [root / "a" / "index" / place / "folder" for place in ("ids", "copies/ids")]
    for path in both:
        harm(path)
    with pytest.raises(SearchDamagedError, match="repair") as caught:
        run_search(root, "a", 4)
    assert str(both[0]) in str(caught.value) or str(root / "a" / "index") in str(caught.value)
    a, b = list_searches(open_store(root))
    assert (a.name, bool(a.problem), b.name, b.done) == ("a", True, "b", 1)
    assert sorted(path.name for path in root.iterdir()) == [".store", "a", "b"]


@pytest.mark.parametrize("harm", [empty, halve, flip])
def test_damage_to_both_copies_of_a_folders_properties_stops_only_its_search(
    harm: Harm, root: Path, tmp_path: Path
) -> None:
    """The other searches are listed and resume; `repair` rebuilds the damaged one."""
    key = find_folder(open_store(root), "a").id
    for place in ("properties", "copies/properties"):
        harm(root / "a" / "index" / place / key)
    with pytest.raises(SearchDamagedError, match="repair") as caught:
        run_search(root, "a", 4)
    assert str(root / "a" / "index" / "properties" / key) in str(caught.value)
    a, b = list_searches(open_store(root))
    assert (a.name, bool(a.problem), b.name, b.done) == ("a", True, "b", 1)
    run_search(root, "b", 2)
    repair(open_store(root), "a")
    run_search(root, "a", 5)
    assert trial_points(root, "a") == expected_points(tmp_path, 5)


def deny(monkeypatch: pytest.MonkeyPatch, denied: Path) -> None:
    """Refuse to read that file, or what is below that folder, also to root."""

    def denying(name: str) -> None:
        original = getattr(os, name)

        def guarded(path: Any = ".", *arguments: Any, **options: Any) -> Any:
            at = Path(path) if isinstance(path, str | os.PathLike) else Path()
            if not at.is_relative_to(denied):
                return original(path, *arguments, **options)
            if name == "access":
                return False
            raise PermissionError(errno.EACCES, "Permission denied", str(path))

        monkeypatch.setattr(os, name, guarded)

    for name in ("open", "listdir", "scandir", "access"):
        denying(name)


@pytest.mark.parametrize("place", ["index", "index/ids/folder", "index/properties"])
def test_a_search_that_may_not_be_read_stops_only_itself(
    place: str, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its error names the path, `repair` changes nothing, and permission makes it usable again."""
    before = files(root, "a")
    store = open_store(root)
    with monkeypatch.context() as patch:
        deny(patch, root / "a" / place)
        a, b = list_searches(store)
        assert (a.name, b.name, b.done) == ("a", "b", 1)
        assert f"{root / 'a' / place}" in a.problem
        assert "Permission denied" in a.problem
        run_search(root, "b", 2)
        _, trouble = outcome(run_search, root, "a", 4)
        assert str(root / "a" / place) in trouble
        with pytest.raises(RefusedError, match="Permission denied"):
            repair(open_store(root), "a")
    assert files(root, "a") == before
    assert [search.problem for search in list_searches(store)] == ["", ""]
    run_search(root, "a", 4)
    assert trial_points(root, "a") == expected_points(tmp_path, 4)


@pytest.mark.parametrize("left", ["index", "index/ids", "nothing of the index"])
def test_repair_brings_back_a_search_without_its_index(
    left: str, root: Path, tmp_path: Path
) -> None:
    """Repair rebuilds the index: trials and attachments are there, it resumes in its folder."""
    trials = DriveTrials("a", store=open_store(root), notify=lambda text: None)
    trials.attachments["equal"] = trials.attachments["large"]  # one value in two files
    trials.close()
    index = root / "a" / "index"
    if left == "index/ids":
        shutil.rmtree(index / "ids")
        shutil.rmtree(index / "copies")
    elif left == "index":
        shutil.rmtree(index)
        index.mkdir()
    else:
        shutil.rmtree(index)
    with pytest.raises(SearchDamagedError, match="repair"):
        run_search(root, "a", 4)
    assert "its index was rebuilt" in str(repair(open_store(root), "a"))
    assert trial_points(root, "a") == expected_points(tmp_path, 3)
    run_search(root, "a", 6)
    assert trial_points(root, "a") == expected_points(tmp_path, 6)
    assert sorted(path.name for path in root.iterdir()) == [".store", "a", "b"]


def test_repair_of_a_copy_without_its_index_leaves_the_original_alone(
    root: Path, tmp_path: Path
) -> None:
    """Copy and original resume apart, although their records name the same ids."""
    shutil.copytree(root / "a", root / "copy")
    shutil.rmtree(root / "copy" / "index")
    repair(open_store(root), "copy")
    for name, count in (("copy", 6), ("a", 5), ("copy", 8), ("a", 9)):
        run_search(root, name, count)
        assert trial_points(root, name) == expected_points(tmp_path, count)
    assert [search.problem for search in list_searches(open_store(root))] == ["", "", ""]


@pytest.mark.parametrize("interrupted", [False, True])
def test_repair_keeps_what_an_index_still_says(
    interrupted: bool, root: Path, tmp_path: Path
) -> None:
    """Repair keeps the ids that a damaged index describes, also one that a repair has set aside."""
    store = open_store(root).for_search("a")
    before = find_folder(store, "a")
    for place in ("ids", "copies/ids"):
        (root / "a" / "index" / place / "folder").unlink()
    if interrupted:
        (root / "a" / "index").rename(root / "a" / ".index-01234567")
    repair(open_store(root), "a")
    after = find_folder(open_store(root), "a")
    assert (after.first, after.records, after.export) == (
        before.first,
        before.records,
        before.export,
    )
    assert trial_points(root, "a") == expected_points(tmp_path, 3)


def test_files_of_other_programs_are_ignored(root: Path, tmp_path: Path) -> None:
    """Notes, editor backups and conflict copies of a cloud are not listed and do no harm."""
    litter = [".DS_Store", "notes.txt~", "record-000000 (conflicted copy).cdt", "Icon\r", "x.id"]
    places = [".", ".store", "a", *(str(path.relative_to(root)) for path in root.rglob("a/**/"))]
    for place, name in itertools.product(places, litter):
        if (root / place).is_dir():
            (root / place / name).write_bytes(b"\xff litter")
    (root / "my folder").mkdir()
    assert [search.problem for search in list_searches(open_store(root))] == ["", ""]
    run_search(root, "a", 5)
    assert trial_points(root, "a") == expected_points(tmp_path, 5)
    store = open_store(root).for_search("a")
    names = [entry.name for entry in store.list(find_folder(store, "a").id)]
    assert not set(names) & set(litter)


@pytest.mark.parametrize("place", ["a", "a/index", "a/records/mine"])
def test_no_store_is_in_the_folder_of_a_search(place: str, root: Path) -> None:
    """It would go with that search: into the trash, to another store, into a copy by hand."""
    with pytest.raises(UsageError, match=f"folder of one search.*contains it: {root}$"):
        open_store(str(root / place))


def test_a_users_folder_is_not_taken_for_a_search(root: Path) -> None:
    """The name of a user's folder is refused for a search as long as files are in it."""
    (root / "c").mkdir()
    (root / "c" / "my.txt").write_text("mine")
    assert [search.name for search in list_searches(open_store(root))] == ["a", "b"]
    with pytest.raises(RefusedError, match="/c already exists"):
        run_search(root, "c", 1)
    assert (root / "c" / "my.txt").read_text() == "mine"
    (root / "c" / "my.txt").unlink()
    run_search(root, "c", 1)
    assert len(trial_points(root, "c")) == 1


def test_a_pipe_is_refused_without_waiting(root: Path) -> None:
    """A named pipe in place of a file counts as the file's loss; nobody waits for its content."""
    store = FolderStore(root).for_search("a")
    export = find_folder(store, "a").export
    (root / "a" / "trials.pkl").unlink()
    os.mkfifo(root / "a" / "trials.pkl")
    with pytest.raises(NotFoundError, match=r"trials.pkl was deleted"):
        store.read(export)


def test_a_file_that_no_memory_holds_is_refused(root: Path) -> None:
    """A record extended to 1 TiB, which takes no room on disk, is damage of one search."""
    os.truncate(root / "a" / "records" / "record-000000.cdt", 1 << 40)
    a, b = list_searches(root)
    assert "record-000000.cdt is larger than any file of a search" in a.problem
    assert not b.problem


def test_damage_to_one_id_stops_only_that_file(root: Path) -> None:
    """The listing shows the file with the damaged description and what is wrong with it."""
    store = FolderStore(root).for_search("a")
    folder = find_folder(store, "a")
    for place in ("ids", "copies/ids"):
        (root / "a" / "index" / place / folder.export).write_bytes(b"?")
    with pytest.raises(ChecksumError, match=folder.export):
        store.read(folder.export)
    listed = {entry.name: entry.damage for entry in store.list(folder.id)}
    assert folder.export in listed.pop("trials.pkl")
    assert set(listed.values()) == {""}


def test_an_interrupted_rebuilding_loses_no_id(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rebuilding after one that was interrupted finds what the damaged index still describes."""
    store = FolderStore(root).for_search("a")
    (search,) = store.list(store.root, name="a")
    (model,) = store.reserve(1)
    store.create(model, b"1", name="model", parent=search.id, properties={"k": "v"})
    for path in (root / "a" / "index").glob("**/ids/folder"):
        path.write_bytes(b"")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as interrupted:
        interrupted.setattr(rebuilding, "make_folder", interrupt)
        with pytest.raises(KeyboardInterrupt):
            repair(FolderStore(root), "a")
    repair(FolderStore(root), "a")
    assert FolderStore(root).stat(model).properties == {"k": "v"}


def test_folders_that_contain_each_other_stop_only_themselves(root: Path) -> None:
    """Forged descriptions of two folders, each in the other, are damage; all else goes on."""
    home = root / "a" / "index"
    for key, parent in (("x" * 32, "y" * 32), ("y" * 32, "x" * 32)):
        described = Description(key, key, parent, key, 0.0, True, {}, "0" * 32)
        (home / "ids" / key).write_bytes(encode(described))
        (home / "properties").mkdir(exist_ok=True)
        (home / "properties" / key).write_bytes(encode_properties(key, {"k": "v"}))
    store = FolderStore(root)
    with pytest.raises(ChecksumError, match="cannot be decoded"):
        store.stat("x" * 32)
    assert store.find_marked({"k": "v"}) == []
    assert store.list_trash("x" * 32) == []
    with pytest.raises(ChecksumError, match="cannot be decoded"):
        store.read_trashed("x" * 32)


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_a_lost_name_goes_to_the_file_that_is_not_in_the_trash(
    tmp_path: Path, order: tuple[int, int]
) -> None:
    """A file keeps its id without its claim or index, though one of its name was trashed."""
    store = FolderStore(tmp_path / "s")
    ids = sorted(store.reserve(3))
    trashed, kept = (ids[number] for number in order)
    store.create(ids[0], None, name="a", parent=store.root)
    store.create(trashed, b"old", name="f", parent=ids[0])
    store.trash(trashed)
    shutil.rmtree(tmp_path / "s" / ".trash")
    store.create(kept, b"new", name="f", parent=ids[0])
    (tmp_path / "s" / "a" / "index" / "names" / "folder" / "f.id").unlink()
    for _ in range(2):
        assert [entry.id for entry in FolderStore(tmp_path / "s").list(ids[0])] == [kept]
    store.reindex(ids[0], {})
    assert [entry.id for entry in FolderStore(tmp_path / "s").list(ids[0])] == [kept]


def test_a_lost_claim_on_a_name_is_made_again(root: Path) -> None:
    """A listing works without the files that claim names, and makes them again."""
    store = FolderStore(root).for_search("a")
    folder = find_folder(store, "a")
    places = (folder.id, folder.records)
    before = [store.list(place) for place in places]
    claims = list((root / "a" / "index" / "names").rglob("*.id"))
    for claim in claims:
        claim.unlink()
    again = FolderStore(root).for_search("a")
    assert [again.list(place) for place in places] == before
    assert all(claim.exists() for claim in claims)
    for claim in claims:
        claim.unlink()
    index = Index(root / "a", root / "a" / "index", root / ".trash")
    at_once = list(zip(index.list(""), index.list(""), strict=True))
    assert len(at_once) == len(before[0])
    assert all(one == other for one, other in at_once)
