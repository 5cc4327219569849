"""Gaps in a killed session's spool: the search still ends as the uninterrupted one."""

import functools
import os
import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from colab_drive_tuner.journal import writer
from colab_drive_tuner.journal.spool.spool import Spool
from colab_drive_tuner.journal.spool.spool_file import SpoolFile, SpoolFileWriter, SpoolSession
from colab_drive_tuner.search.drive_trials import DriveTrials
from colab_drive_tuner.search.loop.missing_trials import MissingCall, missing_calls, missing_points
from colab_drive_tuner.search.spec.points import point_document
from colab_drive_tuner.store.folder import FolderStore
from tests.file_damage import empty, flip, lose, put_folder
from tests.journal.faulty_store import FaultyStore
from tests.journal.simulated_disks import FailingDisk
from tests.search.sample_searches import (
    killing_objective_in_outage,
    run_fmin,
    run_hyperopt,
    run_in_fork,
    run_in_store,
    trial_values,
)

AWAY, KILLED, MOST = 4, 9, 12
"""The call that begins an outage, the call that kills the process, and `max_evals`."""


@pytest.mark.parametrize(
    ("k_of", "missing"),
    [
        ({}, []),
        ({0: 0, 1: 1, 2: 2}, []),
        ({0: 0, 2: 2}, [MissingCall(1, (1,))]),
        ({2: 2}, [MissingCall(0, (0,)), MissingCall(1, (1,))]),
        ({0: 0, 3: 3, 5: 5}, [MissingCall(1, (1,)), MissingCall(2, (2,)), MissingCall(4, (4,))]),
        # Given points come first; a person may have inserted documents.
        ({0: None, 1: None, 3: 1}, [MissingCall(0, (2,))]),
        ({0: 0, 7: None, 9: 2}, [MissingCall(1, (8,))]),
        # Calls that suggest two trials each, the last one a single trial.
        ({0: 0, 1: 0, 4: 2}, [MissingCall(1, (2, 3))]),
        # Numbers that cannot be assigned to calls, or that are more than a call suggests.
        ({0: 0, 4: 3}, [MissingCall(1, ()), MissingCall(2, ())]),
        ({3: 1}, [MissingCall(0, ())]),
        ({0: 0, 2**61: 2}, [MissingCall(1, ())]),
        # A call that suggested fewer trials than asked for leaves numbers unused; it is not
        # missing.
        ({0: 0, 1: 0, 3: 1, 4: 2}, []),
        ({"mine": None, 0: 0, 1: 1}, []),
    ],
)
def test_missing_calls_are_inferred_from_their_neighbours(k_of, missing):
    """Missing calls of the algorithm are found, with the numbers of their trials if certain."""
    assert missing_calls(k_of) == missing


def test_given_points_are_missing_only_where_the_search_began_with_them():
    """Given points count as missing only if the search began with some of them."""
    given = [{"x": [0.5]}, {"x": [1.5]}, {"x": [2.5]}]
    begun = [point_document(1, given[1])]
    assert [doc["tid"] for doc in missing_points(begun, given)] == [0, 2]
    assert missing_points([point_document(1, given[0])], given) == []
    assert missing_points([], given) == []


@pytest.fixture(scope="module", params=["anneal", "tpe"])
def died(request, tmp_path_factory) -> tuple[str, Path, list[SpoolFile]]:
    """Kill a search in an outage; return its algorithm, its folder and its spool files."""
    folder = tmp_path_factory.mktemp(request.param)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder / "state"))
        store = FaultyStore(folder / "store")
        deadly = killing_objective_in_outage(store, away=AWAY, calls=KILLED)
        assert (
            run_in_fork(lambda: run_in_store(store, request.param, MOST, deadly)) == -signal.SIGKILL
        )
        left = Spool(store.location, "search").earlier_files()
    assert len([item for file in left for item in file.items]) >= KILLED - AWAY - 1
    return request.param, folder, left


def spool_of(
    died: tuple[str, Path, list[SpoolFile]], folder: Path, patch: pytest.MonkeyPatch
) -> tuple[str, FolderStore, list[Path]]:
    """Copy the search with one spool file for each item, as a session may write them."""
    algo, source, left = died
    shutil.copytree(source, folder, dirs_exist_ok=True)
    patch.setenv("XDG_STATE_HOME", str(folder / "state"))
    store = FolderStore(folder / "store")
    old, spool = Spool(FolderStore(source / "store").location, "search"), None
    spool = Spool(store.location, "search")
    shutil.rmtree(spool.folder)
    shutil.copytree(old.folder, spool.folder)
    session = SpoolSession(1, next_item=left[0].numbered[0][0])
    for path in spool.folder.glob("*.spool"):
        path.unlink()
    for file, item in enumerate(item for one in left for item in one.items):
        segment = SpoolFileWriter(spool.folder / f"000001-{file:06d}.spool", left[0].epoch, session)
        segment.add([item])
        segment.close()
    return algo, store, sorted(spool.folder.glob("*.spool"))


def truncate(path: Path) -> None:
    """Cut off the second half of the file."""
    os.truncate(path, path.stat().st_size // 2)


DAMAGES = {
    "lost": lose,
    "empty": empty,
    "truncated": truncate,
    "an altered item": lambda path: flip(path, -50),
    "an altered header": lambda path: flip(path, 25),
    "a folder": put_folder,
}


@pytest.mark.parametrize("which", range(KILLED - AWAY - 1))
@pytest.mark.parametrize("damage", DAMAGES)
def test_trials_of_a_damaged_spool_file_run_again(died, tmp_path, monkeypatch, damage, which):
    """Trials of a lost or damaged spool file run again in their place, with the same result."""
    algo, store, files = spool_of(died, tmp_path, monkeypatch)
    DAMAGES[damage](files[which])
    messages: list[str] = []
    trials = DriveTrials("search", store=store, max_attempts=100, notify=messages.append)
    run_fmin(trials, algo, MOST)
    assert trial_values(trials) == trial_values(run_hyperopt(algo, MOST))
    assert trial_values(DriveTrials("search", store=store)) == trial_values(trials)
    if which < len(files) - 1:  # the loss of the last item leaves no gap
        assert any("are missing" in text for text in messages)
        assert any(f"Trial {AWAY - 1 + which} " in text for text in messages) or which == 0
    if damage in ("an altered item", "an altered header", "a folder"):
        (kept,) = Spool(store.location, "search").folder.glob("*.kept")
        assert any(str(kept) in text for text in messages)


def test_trials_of_several_lost_spool_files_run_again_in_order(died, tmp_path, monkeypatch):
    """Each suggestion sees the results of the trials before it, including those run again."""
    algo, store, files = spool_of(died, tmp_path, monkeypatch)
    for path in files[::2]:
        path.unlink()
    assert trial_values(run_in_store(store, algo, MOST)) == trial_values(run_hyperopt(algo, MOST))


@pytest.mark.parametrize("seed", range(3))
def test_spool_files_are_replayed_in_writing_order(died, tmp_path, monkeypatch, seed):
    """Spool files with swapped names and changed times are replayed in the order of writing."""
    algo, store, files = spool_of(died, tmp_path, monkeypatch)
    contents = [path.read_bytes() for path in files]
    order = random.Random(seed)
    order.shuffle(contents)
    for path, content in zip(files, contents, strict=True):
        path.write_bytes(content)
        os.utime(path, (order.random() * 1e9, order.random() * 1e9))
    ran: list[int] = []
    assert trial_values(run_in_store(store, algo, MOST, counting(ran))) == trial_values(
        run_hyperopt(algo, MOST)
    )
    assert len(ran) == MOST - KILLED + 1, "nothing that was spooled ran again"
    assert [doc["tid"] for doc in DriveTrials("search", store=store)] == list(range(MOST))


def counting(ran: list[int]) -> Callable[[object], float]:
    """Return `sample_objective`, wrapped so that it notes each call."""
    from tests.search.sample_searches import sample_objective

    @functools.wraps(sample_objective)  # the wrapper must count as the same objective
    def counted(point):
        ran.append(1)
        return sample_objective(point)

    return counted


@pytest.mark.parametrize("act", [1, 3, 4, 7, 8, 10, 11])
def test_a_disk_that_is_full_for_a_moment_in_an_outage_costs_no_trial(tmp_path, monkeypatch, act):
    """What a full disk refused is spooled soon after, so that a kill loses no ended trial."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    store = FaultyStore(tmp_path / "store")
    deadly = killing_objective_in_outage(store, away=AWAY, calls=KILLED)

    def die() -> None:
        monkeypatch.setattr(writer, "SPOOL_AGAIN_SECONDS", 0.05)
        FailingDisk(monkeypatch, lambda now: store.away and now_away(now) == act)
        run_in_store(store, "anneal", MOST, deadly)

    first: list[int] = []

    def now_away(now: int) -> int:
        first.append(now)
        return now - first[0] + 1

    assert run_in_fork(die) == -signal.SIGKILL
    ran: list[int] = []
    trials = run_in_store(store, "anneal", MOST, counting(ran))
    assert trial_values(trials) == trial_values(run_hyperopt("anneal", MOST))
    assert len(ran) == MOST - KILLED + 1, "nothing that had ended ran again"
