"""Stored searches of every supported format load and resume."""

import datetime
import os
import pickle
import shutil
import signal
import socket
from pathlib import Path
from typing import Any

import hyperopt
import numpy as np
import pytest

from colab_drive_tuner.checkpoint.pickles.reader import read_trials
from colab_drive_tuner.journal import maintenance
from colab_drive_tuner.journal.spool.spool import Spool
from colab_drive_tuner.search.drive_trials import DriveTrials
from colab_drive_tuner.store.folder import FolderStore
from tests.journal.faulty_store import FaultyStore
from tests.search.sample_searches import (
    SPACE,
    held_journals,
    run_hyperopt,
    run_in_fork,
    sample_objective,
    trial_values,
)

FORMATS = Path(__file__).parents[1] / "fixtures" / "formats"
VERSIONS = sorted(path.name for path in FORMATS.iterdir() if path.is_dir())


def rich(point: dict[str, Any]) -> dict[str, Any]:
    """Return a result with each kind of plain data, which depends on the point only."""
    loss = sample_objective(point)
    return {
        "status": "ok",
        "loss": loss,
        "history": [loss, loss / 2, float("nan"), float("inf")],
        "array": np.arange(6, dtype="<i2").reshape(2, 3),
        "scalar": np.float32(loss),
        "pair": (1, b"\x00\xff"),
        "when": datetime.datetime(2026, 11, 23, 12, 30),
        3: 10**99,
    }


def go_on(store: FolderStore, max_evals: int, objective: Any = rich) -> DriveTrials:
    """Run one session of the search."""
    trials = DriveTrials("a search", store=store, notify=lambda text: None)
    hyperopt.fmin(
        objective,
        SPACE,
        algo=hyperopt.rand.suggest,
        max_evals=max_evals,
        trials=trials,
        rstate=np.random.default_rng(3),
        show_progressbar=False,
        return_argmin=False,
    )
    return trials


def write_fixture(folder: Path) -> None:
    """Write the files of the present format: run once per format, see the README there."""
    os.environ["XDG_STATE_HOME"] = str(folder / "state")
    maintenance.SNAPSHOT_RECORDS = 1
    socket.gethostname = lambda: "a-machine"
    store = FaultyStore(folder / "store")
    go_on(store, 3).attachments["notes"] = b"small"
    trials = DriveTrials("a search", store=store, notify=lambda text: None)
    trials.attachments["large"] = bytes(range(256)) * 512
    trials.close()

    def dying(point: dict[str, Any]) -> dict[str, Any]:
        (journal,) = held_journals()
        if journal._own.writer._acknowledged > 1:
            store.away = True
        if len(calls) == 4:
            journal.flush(1.0)  # spooled by then
            os.kill(os.getpid(), signal.SIGKILL)
        calls.append(1)
        if not store.away:
            journal.flush(5.0)
        return rich(point)

    calls: list[int] = []
    assert run_in_fork(lambda: go_on(store, 12, dying)) == -signal.SIGKILL


@pytest.fixture(params=VERSIONS)
def store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> FolderStore:
    """A copy of the fixture, as if this machine had written it."""
    shutil.copytree(FORMATS / request.param, tmp_path, dirs_exist_ok=True)
    store = FolderStore(tmp_path / "store")
    (spool,) = (tmp_path / "state").rglob("about.txt")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    here = Spool(store.location, "a search").folder
    shutil.copytree(spool.parent, here, dirs_exist_ok=True)
    return store


def test_records_of_every_version_load(store: FolderStore) -> None:
    """Trials, parameters, results of every type, and small and large attachments are read."""
    trials = DriveTrials("a search", store=store)
    ended = [doc for doc in trials.trials if doc["state"] == 2]
    assert len(ended) >= 3
    expected = run_hyperopt("rand", 12, rich)
    assert trial_values(trials)[: len(ended)] == trial_values(expected)[: len(ended)]
    assert trials.attachments["notes"] == b"small"
    assert trials.attachments["large"] == bytes(range(256)) * 512


def test_a_search_of_every_version_resumes(store: FolderStore) -> None:
    """Spooled ends are recorded and not run again; the rest equals plain hyperopt."""
    ran: list[int] = []

    def counting(point: dict[str, Any]) -> dict[str, Any]:
        ran.append(1)
        return rich(point)

    before = len([doc for doc in DriveTrials("a search", store=store).trials if doc["state"] == 2])
    assert trial_values(go_on(store, 12, counting)) == trial_values(run_hyperopt("rand", 12, rich))
    assert len(ran) < 12 - before, "some ends came from the spool"


def test_trials_pkl_of_every_version_loads(store: FolderStore) -> None:
    """Both hyperopt alone and the package's safe reader load trials.pkl."""
    path = Path(store.url(store.root)) / "a search" / "trials.pkl"
    copy = pickle.loads(path.read_bytes())
    assert trial_values(copy) == trial_values(run_hyperopt("rand", 3, rich))
    documents, _attachments = read_trials(path)
    assert [doc["tid"] for doc in documents] == [0, 1, 2]


def test_a_snapshot_of_every_version_equals_its_records(store: FolderStore) -> None:
    """The same search is read with the snapshot and without it."""
    with_it = trial_values(DriveTrials("a search", store=store))
    snapshots = list(Path(store.url(store.root)).rglob("snapshot-*"))
    assert snapshots
    for path in snapshots:
        path.unlink()
    assert trial_values(DriveTrials("a search", store=store)) == with_it
