"""Damage to each file of a folder store (lost, cut, altered, swapped) is repaired or named."""

import itertools
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from colab_drive_tuner.errors import (
    ChecksumError,
    ColabDriveTunerError,
    RefusedError,
    SearchDamagedError,
)
from colab_drive_tuner.journal import claim_and_takeover, lease
from colab_drive_tuner.journal.chain import chain
from colab_drive_tuner.journal.folder.lookup import find_folder
from colab_drive_tuner.search.results.read_search import list_searches
from colab_drive_tuner.store import open_store
from colab_drive_tuner.store.folder import FolderStore
from colab_drive_tuner.troubleshoot.repair.repair import repair
from tests.store.searches import expected_points, run_search, trial_points

Harm = Callable[[Path], object]


def lose(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes() or b"\0")
    content[len(content) // 3] ^= 0x10
    path.write_bytes(content)


def edit(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"a", b"b") + b" edited\n")


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def link(path: Path) -> None:
    path.unlink()
    path.symlink_to(__file__)


def outcome(act: Callable[..., object], *arguments: object) -> tuple[object, str]:
    """What it returns, or what its error says."""
    try:
        return act(*arguments), ""
    except ColabDriveTunerError as error:
        return None, str(error)


HARMS = [lose, empty, halve, flip, edit]
IN_PLACE = [pipe, folder, link]
"""Pipes, folders and symbolic links, put where a file was."""


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Power does not fail in these tests, and what is damaged stays so."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    monkeypatch.setattr(chain, "_SETTLE_SECONDS", (0.0,))
    monkeypatch.setattr(claim_and_takeover, "_SETTLE_SECONDS", ())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A store with a search `a` of three trials, and a search `b` that is well."""
    run_search(tmp_path / "store", "a", 3)
    run_search(tmp_path / "store", "b", 1)
    return tmp_path / "store"


def files(root: Path, *below: str) -> list[str]:
    """The files below some folders, by their path in the store."""
    found = [path for place in below for path in (root / place).rglob("*") if path.is_file()]
    return sorted(str(path.relative_to(root)) for path in found)


@pytest.mark.parametrize("harm", [*HARMS, *IN_PLACE])
def test_one_damaged_file_of_an_index_changes_nothing(
    harm: Harm, root: Path, tmp_path: Path
) -> None:
    """Whichever it is: the search is read whole, goes on, and is whole on the disk again."""
    whole, last = trial_points(root, "a"), expected_points(tmp_path, 4)
    for number, path in enumerate(files(root, "a/index", ".store")):
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
    """The others are read and listed; what cannot go on says what is in its way, and then does."""
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
    """Each speaks of one id, so none is taken for another; nor for one of another search."""
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
def test_a_damaged_file_of_the_search_is_damage_to_it_alone(
    harm: Harm, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No record is passed over, no search begins anew, and the others are as they were."""
    for module in (lease, claim_and_takeover):  # where the release is lost, the lease is waited for
        monkeypatch.setattr(module, "STALE_SECONDS", 1.0)
    whole = trial_points(root, "a")
    for number, path in enumerate(files(root, "a/records")):
        copy = tmp_path / f"copy{number}"
        shutil.copytree(root, copy)
        harm(copy / path)
        _, trouble = outcome(run_search, copy, "a", 3)
        # A snapshot is made anew; each other file is needed.
        assert "repair" in trouble or trial_points(copy, "a") == whole, path
        assert [entry.name for entry in list_searches(open_store(copy))] == ["a", "b"]
        assert len(trial_points(copy, "b")) == 1
        shutil.rmtree(copy)


@pytest.mark.parametrize("harm", HARMS)
def test_what_both_copies_have_lost_is_named(harm: Harm, root: Path) -> None:
    """Both files, in an error that says what helps; and never a new search beside the old one."""
    both = [root / "a" / "index" / place / "folder" for place in ("ids", "copies/ids")]
    for path in both:
        harm(path)
    with pytest.raises(SearchDamagedError, match="repair") as caught:
        run_search(root, "a", 4)
    assert str(both[0]) in str(caught.value) or str(root / "a" / "index") in str(caught.value)
    a, b = list_searches(open_store(root))
    assert (a.name, bool(a.problem), b.name, b.done) == ("a", True, "b", 1)
    assert sorted(path.name for path in root.iterdir()) == [".store", "a", "b"]


@pytest.mark.parametrize("left", ["index", "index/ids", "nothing of the index"])
def test_repair_brings_back_a_search_without_its_index(
    left: str, root: Path, tmp_path: Path
) -> None:
    """Every trial is there, and it goes on in its own folder as if nothing had happened."""
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
    """Both use the ids that their records name, each in its own folder."""
    shutil.copytree(root / "a", root / "copy")
    shutil.rmtree(root / "copy" / "index")
    repair(open_store(root), "copy")
    for name, count in (("copy", 6), ("a", 5), ("copy", 8), ("a", 9)):
        run_search(root, name, count)
        assert trial_points(root, name) == expected_points(tmp_path, count)
    assert [search.problem for search in list_searches(open_store(root))] == ["", "", ""]


def test_repair_keeps_what_an_index_still_says(root: Path, tmp_path: Path) -> None:
    """Ids that are still described are what they were."""
    store = open_store(root).for_search("a")
    before = find_folder(store, "a")
    for place in ("ids", "copies/ids"):
        (root / "a" / "index" / place / "folder").unlink()
    repair(open_store(root), "a")
    after = find_folder(open_store(root), "a")
    assert (after.first, after.records, after.export) == (
        before.first,
        before.records,
        before.export,
    )
    assert trial_points(root, "a") == expected_points(tmp_path, 3)


def test_what_people_leave_in_the_folders_is_theirs(root: Path, tmp_path: Path) -> None:
    """Notes, backups of editors, conflict copies of a cloud: not listed, and no harm."""
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


def test_a_folder_of_a_person_is_not_taken_for_a_search(root: Path) -> None:
    """Its name is refused, as long as something lies in it."""
    (root / "c").mkdir()
    (root / "c" / "my.txt").write_text("mine")
    assert [search.name for search in list_searches(open_store(root))] == ["a", "b"]
    with pytest.raises(RefusedError, match="/c already exists"):
        run_search(root, "c", 1)
    assert (root / "c" / "my.txt").read_text() == "mine"
    (root / "c" / "my.txt").unlink()
    run_search(root, "c", 1)
    assert len(trial_points(root, "c")) == 1


def test_a_pipe_in_a_store_is_not_waited_for(root: Path) -> None:
    """It is refused at once."""
    store = FolderStore(root).for_search("a")
    export = find_folder(store, "a").export
    (root / "a" / "trials.pkl").unlink()
    os.mkfifo(root / "a" / "trials.pkl")
    with pytest.raises(RefusedError, match="not a plain file"):
        store.read(export)


def test_damage_to_one_id_stops_only_that_file(root: Path) -> None:
    """The listing shows the file and why it cannot be used."""
    store = FolderStore(root).for_search("a")
    folder = find_folder(store, "a")
    for place in ("ids", "copies/ids"):
        (root / "a" / "index" / place / folder.export).write_bytes(b"?")
    with pytest.raises(ChecksumError, match=folder.export):
        store.read(folder.export)
    listed = {entry.name: entry.damage for entry in store.list(folder.id)}
    assert folder.export in listed.pop("trials.pkl")
    assert set(listed.values()) == {""}


def test_a_lost_claim_on_a_name_is_made_again(root: Path) -> None:
    """What lies in a folder is listed without it, and nobody else gets the name."""
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
