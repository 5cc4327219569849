"""The workers that run each trial, as shown by progress, status and timeline."""

import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from colab_drive_tuner.search.drive_trials import DriveTrials
from colab_drive_tuner.search.executors.trial_locations import (
    DaskSender,
    DatagramReceiver,
    DatagramSender,
    Location,
    host_of,
    worker_name,
)
from colab_drive_tuner.search.loop import parallel
from colab_drive_tuner.search.progress import _running_text
from colab_drive_tuner.search.results.read_search import read_search
from colab_drive_tuner.search.results.svg_charts.timeline import runtime_lanes, timeline
from colab_drive_tuner.store import open_store
from colab_drive_tuner.training.trial import running_trial
from tests.processes import wait_until
from tests.search.sample_searches import SPACE, sample_objective


def test_a_dask_worker_that_cannot_report_still_runs_its_trial() -> None:
    """Outside of a worker, or in one that is closing, the report is dropped without an error."""
    pytest.importorskip("distributed")
    DaskSender("topic")(Location(1, "node:1"))


@pytest.mark.parametrize("anywhere", [False, True])
def test_only_signed_datagrams_are_read(anywhere: bool) -> None:
    """Only reports signed with the run's own key are read; other datagrams are ignored."""
    locations = DatagramReceiver(anywhere=anywhere)
    sender = locations.sender
    assert isinstance(sender, DatagramSender)
    DatagramSender(sender.host, sender.port, b"another key")(Location(1, "forged"))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        for junk in (b"", b"x", b"{}" * 5000, json.dumps([1, "unsigned"]).encode()):
            out.sendto(junk, (sender.host, sender.port))
    sender(Location(7, "node:1"))
    arrived = wait_until(locations.read, 20)
    locations.close()
    assert arrived == [Location(7, "node:1")]
    sender(Location(8, "node:1"))  # the receiver is closed, and nothing is raised
    assert "key" not in repr(sender)


def test_only_names_of_workers_have_a_host() -> None:
    """The name of an executor or runtime, or any other text, has no host."""
    assert host_of(worker_name()) == socket.gethostname()
    assert host_of("node-7.example:12/Dask-Worker 3") == "node-7.example"
    for other in ("loky_executor of Colab, process 7 on a", "me", "", None, 7, "a b:7", ":7"):
        assert host_of(other) == ""


def test_progress_says_how_many_run_and_where() -> None:
    """Hosts are sorted by their number of trials; trials without a known worker are counted."""
    assert _running_text(["Colab, process 1 on a"]) == ""
    assert _running_text(["a:1"]) == "1 running (1 on a)"
    owners = ["a:1", "a:2/T", "b:1", "loky_executor of X"]
    assert _running_text(owners) == "4 running (2 on a, 1 on b, 1 not seen on a worker yet)"
    many = [f"{host}:{pid}" for host in "abcde" for pid in range(9 - ord(host) + ord("a"))]
    assert _running_text(many) == "35 running (9 on a, 8 on b, 7 on c, 11 on 2 more hosts)"


def test_the_status_names_the_worker_of_each_running_trial(
    tmp_path: Path, run_command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Text, JSON and timeline show two running trials with their workers."""
    monkeypatch.setattr(parallel, "NOTE_SECONDS", 0.0)
    monkeypatch.setattr(parallel, "NOTE_PAUSE", 0.0)
    monkeypatch.setattr(parallel, "TICK_SECONDS", 0.05)
    free = threading.Event()
    where: dict[int, str] = {}

    def objective(point: Any) -> float:
        tid = running_trial().tid  # type: ignore[union-attr]
        if tid in (1, 2):
            where[tid] = worker_name()
            assert free.wait(300)
        return sample_objective(point)

    def search() -> None:
        with ThreadPoolExecutor(2, thread_name_prefix="pool") as pool:
            trials = DriveTrials("s", store=tmp_path, notify=lambda _: None)
            trials.fmin(objective, SPACE, max_evals=5, show_progressbar=False, executor=pool)

    thread = threading.Thread(target=search)
    thread.start()
    try:
        read, deadline = None, time.monotonic() + 200
        while read is None or [one.worker for one in read.status.running] != [where[1], where[2]]:
            assert time.monotonic() < deadline, read and read.status
            time.sleep(0.05)
            if len(where) == 2:
                read = read_search(open_store(tmp_path), "s")
        code, text, _ = run_command("--store", tmp_path, "status", "s")
        _, output, _ = run_command("--store", tmp_path, "status", "s", "--json")
        later = read_search(open_store(tmp_path), "s")
    finally:
        free.set()
        thread.join()
    assert code == 0
    assert "trials 1, 2" in text
    assert all(worker in text for worker in where.values()), text
    running = json.loads(output)["running"]
    assert [(one["tid"], one["worker"], one["attempt"]) for one in running] == [
        (1, where[1], 1),
        (2, where[2], 1),
    ]
    assert all(abs(time.time() - one.since) < 60 for one in read.status.running if one.since)
    lanes = {lane.where: lane for lane in runtime_lanes(later.data)}
    for tid, worker in where.items():
        assert [trial.tid for trial in lanes[worker].trials][-1] == tid
        assert lanes[worker].end is None, "it runs"
    assert "trial 1, running" in timeline(later.data)
    (ended,) = {
        entry.end for entry in read_search(open_store(tmp_path), "s").history.trials.values()
    }
    assert ended == "done"
    status = read_search(open_store(tmp_path), "s").status
    assert status.running == ()


def test_trials_of_a_dead_runtime_are_not_running(tmp_path: Path) -> None:
    """The status of a search whose runtime died lists no running trials."""
    from tests.search.sample_searches import killing_objective, run_in_fork, run_in_store

    run_in_fork(lambda: run_in_store(tmp_path, "rand", 5, killing_objective(sample_objective, 3)))
    read = read_search(open_store(tmp_path), "search")
    assert read.status.dead_here
    assert read.status.running == ()
