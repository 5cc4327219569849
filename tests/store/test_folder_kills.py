"""Kills at any instant, and races between processes, leave a folder store intact."""

import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from colab_drive_tuner.errors import IdTakenError, NotFoundError
from colab_drive_tuner.store.folder import FolderStore

HERE = Path(__file__).parents[2]


def start(root: Path, word: str, *more: str) -> subprocess.Popen[str]:
    """Start `tests.store.create_entries` and wait until it is ready."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.store.create_entries", str(root), word, *more],
        cwd=HERE,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def visible(root: Path) -> list[Path]:
    """Return the paths that a user sees in the folder, without an index."""
    paths = root.iterdir() if root.exists() else ()
    return [path for path in paths if not path.name.startswith(".") and path.name != "index"]


@pytest.mark.parametrize("inner", [False, True], ids=["in the root", "in a search"])
@pytest.mark.parametrize("kind", ["", "folder "], ids=["file", "folder"])
def test_killed_at_any_step_a_create_has_happened_or_not(
    tmp_path: Path, kind: str, inner: bool
) -> None:
    """A create killed at any disk operation is complete or has not happened.

    Creating again is refused in the first case and works in the second.
    """
    deadly, deaths, halves = 0, 0, 0
    while deadly >= 0:
        deadly += 1
        root = tmp_path / str(deadly)
        store = FolderStore(root)
        entry_id, parent = *store.reserve(1), store.root
        where = root
        if inner:
            (parent,) = store.reserve(1)
            store.create(parent, None, name="s", parent=store.root)
            where = root / "s"
        output, _ = start(root, "first", str(deadly), parent).communicate(f"{kind}{entry_id}\n")
        try:
            found = store.stat(entry_id)
        except NotFoundError:
            assert output == ""
            assert visible(where) == []
            assert not root.exists() or store.list(parent) == []
            store.create(entry_id, None if kind else b"second", name="x", parent=parent)
            if not kind:
                assert store.read(entry_id) == b"second"
        else:
            halves += output == ""
            assert found.is_folder == bool(kind)
            if not kind:
                assert store.read(entry_id) == b"first"
            with pytest.raises(IdTakenError):
                store.create(entry_id, b"second", name="x", parent=parent)
        assert [entry.id for entry in store.list(parent)] == [entry_id]
        assert len(visible(where)) == 1
        store.trash(entry_id)
        assert visible(where) == []
        deaths += output == ""
        if output:
            break
    assert deaths > 10
    assert halves > 2  # some were killed after the create, before they printed it


def test_no_acknowledged_create_is_lost_by_kills(tmp_path: Path) -> None:
    """A process that creates in a loop, killed at random times, loses no acknowledged create."""
    dice = random.Random(7)
    store = FolderStore(tmp_path)
    asked: list[str] = []
    made: dict[str, bytes] = {}
    for life in range(8):
        process = start(tmp_path, f"life {life}")
        assert process.stdin is not None
        assert process.stdout is not None
        asked += store.reserve(500)
        process.stdin.write("\n".join(asked[-500:]) + "\n")
        process.stdin.flush()
        output = [process.stdout.readline() for _ in range(dice.randrange(5, 60))]
        process.send_signal(signal.SIGKILL)  # during a later create
        output += process.stdout.read().splitlines()  # with what `readline` has buffered
        process.communicate()
        for line in output:
            made[line.strip().removeprefix("made ")] = f"life {life}".encode()
    assert len(made) >= 8 * 5
    assert {entry_id: store.read(entry_id) for entry_id in made} == made
    listed = [entry.id for entry in store.list(store.root)]
    assert len(set(listed)) == len(listed) == len(visible(tmp_path))
    assert set(made) <= set(listed) <= set(asked)
    assert len(listed) <= len(made) + 8  # at most one unacknowledged create per process
    for entry_id in made:
        with pytest.raises(IdTakenError):
            store.create(entry_id, b"again", name="x", parent=store.root)


@pytest.mark.parametrize("kind", ["file", "folder", "file in a search"])
def test_of_racing_processes_exactly_one_wins_each_id(tmp_path: Path, kind: str) -> None:
    """Of three processes that create the same ids, one wins each id, and its content stays."""
    store = FolderStore(tmp_path)
    ids, parent, where = store.reserve(150), store.root, tmp_path
    if kind == "file in a search":
        (parent,) = store.reserve(1)
        store.create(parent, None, name="s", parent=store.root)
        where = tmp_path / "s"
    processes = [start(tmp_path, word, "0", parent) for word in ("a", "b", "c")]
    asked = [f"folder {one}" if kind == "folder" else one for one in ids]
    threads = []
    output: dict[int, str] = {}

    def run(number: int) -> None:
        output[number] = processes[number].communicate("\n".join(asked) + "\n")[0]

    for number in range(3):
        threads.append(threading.Thread(target=run, args=[number]))
        threads[-1].start()
    for thread in threads:
        thread.join()
    winners = {
        line.removeprefix("made "): "abc"[number]
        for number, text in output.items()
        for line in text.splitlines()
        if line.startswith("made ")
    }
    assert sum(text.count("made ") for text in output.values()) == len(ids)
    if kind == "folder":
        assert {store.stat(entry_id).is_folder for entry_id in ids} == {True}
    else:
        assert {entry_id: store.read(entry_id).decode() for entry_id in ids} == winners
    assert len(visible(where)) == len(ids)
