"""`doctor`: one line for each requirement of a search, in order, and never a hang."""

import json
import socket
import sys
import threading
import time

import pytest

from colab_drive_tuner import runtime
from colab_drive_tuner.cli import main
from colab_drive_tuner.drive import DriveClient
from colab_drive_tuner.machine import state_folder
from colab_drive_tuner.store.drive import DriveStore
from colab_drive_tuner.store.folder import FolderStore
from colab_drive_tuner.troubleshoot import doctor as examination
from colab_drive_tuner.troubleshoot.doctor import Level, context, examine, machine_probes
from tests.fakes import google_colab
from tests.fakes.bare_machine import bare_machine  # noqa: F401 - a fixture
from tests.search.sample_searches import run_in_store

pytestmark = pytest.mark.usefixtures("bare_machine")

ORDER = [
    "runtime",
    "GPU",
    "versions",
    "state folder",
    "credentials",
    "store",
    "quota",
    "notebook",
    "searches",
    "disk",
    "time left",
]


def levels(spec=None) -> dict[str, str]:
    """Return the level of each finding."""
    return {finding.about: finding.level for finding in examine(spec)}


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the command line; return its exit code and its output."""

    def run_one(*arguments) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["colab-drive-tuner", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        return int(end.value.code or 0), capsys.readouterr().out

    return run_one


def test_a_healthy_folder_store_is_all_ok(tmp_path, run):
    """Doctor prints one line for each requirement, in order, needs no credentials and exits 0."""
    run_in_store(tmp_path / "store", "rand", 3)
    code, out = run("--store", tmp_path / "store", "doctor")
    assert code == 0, out
    lines = out.splitlines()
    expected = [about if about != "searches" else "search 'search'" for about in ORDER]
    assert [line.split(":")[0].split(maxsplit=1)[1] for line in lines] == expected
    assert "not needed: searches are not kept in Google Drive" in out
    assert "3 of 3 trials in 1 session, intact" in out


def test_json_says_the_same(tmp_path, run):
    """`doctor --json` lists the findings with about, level, text and advice."""
    run_in_store(tmp_path / "store", "rand", 2)
    code, out = run("--store", tmp_path / "store", "doctor", "--json")
    findings = json.loads(out)
    assert code == 0
    assert set(findings[0]) == {"about", "level", "text", "advice"}
    assert [finding["about"] for finding in findings][:6] == ORDER[:6]


@pytest.mark.parametrize("damaged", [0, 1])
def test_a_damaged_search_is_a_problem_that_names_repair(tmp_path, run, damaged):
    """Doctor exits 1 and names `repair`, after which it exits 0."""
    run_in_store(tmp_path / "store", "rand", 8)
    records = sorted((tmp_path / "store").rglob("record-*.cdt"))
    records[damaged].unlink()
    code, out = run("--store", tmp_path / "store", "doctor")
    assert code == 1
    assert f"`colab-drive-tuner --store {tmp_path / 'store'} repair search`" in out
    assert run("--store", tmp_path / "store", "repair", "search")[0] == 0
    assert run("--store", tmp_path / "store", "doctor")[0] == 0


def test_without_credentials_the_rest_is_still_checked(run, monkeypatch):
    """Missing credentials are a problem; disk and runtime are checked all the same."""
    code, out = run("doctor")
    assert code == 1
    lines = dict(zip(ORDER, out.splitlines(), strict=True))  # one line each
    assert lines["credentials"].startswith("problem  credentials: without credentials.")
    assert "COLAB_DRIVE_TUNER_CREDENTIALS: not set" in lines["credentials"]
    for about in ("store", "quota", "searches"):
        assert lines[about].startswith(f"warning  {about}: ")
        assert "because nobody is signed in." in lines[about]
    assert lines["disk"].startswith("ok       disk:")


@pytest.mark.parametrize("drive", ["silent", "gone"])
def test_a_drive_that_does_not_answer_is_a_problem(run, monkeypatch, drive):
    """If Drive is silent or unreachable, the lines that need it say why they were not checked."""
    monkeypatch.setattr(context, "PATIENCE", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1] if drive == "silent" else 9
        monkeypatch.setenv("DRIVE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
        code, out = run("doctor")
    lines = dict(zip(ORDER, out.splitlines(), strict=True))
    assert code == 1
    assert lines["credentials"].startswith("problem  credentials: Google Drive did not answer")
    for about in ("store", "quota", "searches"):
        assert lines[about].startswith(f"warning  {about}: ")
        assert "because Drive does not answer." in lines[about]


def test_a_clock_that_is_wrong_is_a_warning(drive_emulator, monkeypatch):
    """A clock that is wrong by minutes is a warning, because Google refuses its sign-ins."""
    monkeypatch.setattr(DriveClient, "now", lambda client: time.time() - 3600)
    found = {finding.about: finding for finding in examine()}["store"]
    assert found.level == Level.WARNING
    assert "differ by 3600 s" in found.text
    assert "clock" in found.advice


def test_a_nearly_full_store_is_a_problem_even_if_all_searches_are_finished(tmp_path, monkeypatch):
    """The finding says why little free space is a problem although nothing is needed."""
    run_in_store(tmp_path / "store", "rand", 2)
    monkeypatch.setattr(FolderStore, "free_space", lambda store: 3_800_000)
    found = {finding.about: finding for finding in examine(tmp_path / "store")}["quota"]
    assert found.level == Level.PROBLEM
    assert "3.8 MB are free. A new search may need 10 MB." in found.text


def test_a_folder_in_which_no_search_can_be_kept_is_a_problem(tmp_path):
    """A file in place of the store's folder is a problem; a missing folder is only a warning."""
    file = tmp_path / "file"
    file.write_text("")
    assert levels(tmp_path / "new" / "store")["store"] == Level.WARNING
    assert not (tmp_path / "new").exists()
    for place in (file, file / "store"):
        (found,) = (finding for finding in examine(place) if finding.about == "store")
        assert (found.level, place.name in found.text) == (Level.PROBLEM, True)
        assert found.advice.startswith("Name another store")


def test_a_command_on_colab_does_not_call_for_a_restart(run, monkeypatch):
    """A command on Colab cannot reach the page, which does not mean that the page is gone."""
    google_colab.install(monkeypatch, google_colab.Page({"cells": []}))
    monkeypatch.setattr("google.colab._message.blocking_request", lambda *a, **k: 1 / 0)
    out = run("doctor")[1]
    assert out.startswith("ok       runtime: Google Colab; only a cell, not a command,")
    assert "cdt.setup() in this notebook" not in out


def test_a_working_directory_that_is_gone_is_named(run, tmp_path, monkeypatch):
    """A removed working directory is a problem that doctor and clean report without a crash."""
    run_in_store(tmp_path / "store", "rand", 2)
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    code, out = run("--store", tmp_path / "store", "doctor")
    assert code == 1
    assert "problem  disk: the working directory is gone" in out
    assert "%cd" in out
    assert run("--store", tmp_path / "store", "clean")[0] == 1
    monkeypatch.chdir(tmp_path)


def test_drive_is_checked_without_creating_anything(drive_emulator):
    """Doctor measures Drive's latency, clock and quota and creates no folder."""
    before = len(DriveClient.connect().list_folder("root"))
    found = {finding.about: finding for finding in examine()}
    assert found["credentials"].level == Level.OK
    assert "owner@example.com" in found["credentials"].text
    assert "Drive answers in" in found["store"].text
    assert found["quota"].level == Level.OK
    assert found["searches"].text == "none yet: there is no store at drive:Colab Drive Tuner."
    assert len(DriveClient.connect().list_folder("root")) == before
    store = DriveStore.connect()
    run_in_store(store, "rand", 2)  # type: ignore[arg-type]
    assert levels()["search 'search'"] == Level.OK
    assert levels()["quota"] == Level.OK


def test_a_named_folder_of_drive_is_checked_as_drive(drive_emulator):
    """The account is checked for a folder of Drive, given by its name or as a store object."""
    named = DriveStore.connect("Elsewhere")
    for spec in ("drive:Elsewhere", named):
        found = {finding.about: finding for finding in examine(spec)}
        assert "owner@example.com in the emulated Drive" in found["credentials"].text
        assert "Drive answers in" in found["store"].text
        assert found["searches"].text == "none yet: there is no store at drive:Elsewhere."


def test_a_search_that_never_ran_here_gets_no_spool(tmp_path, monkeypatch):
    """Examining a search of another machine makes no folder for it on this one."""
    run_in_store(tmp_path / "store", "rand", 2)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another machine"))
    found = {finding.about: finding for finding in examine(tmp_path / "store")}
    assert found["search 'search'"].level == Level.OK
    assert not list(state_folder().glob("spool/*"))


def test_spooled_results_are_a_warning(tmp_path):
    """Results that a dead process spooled are counted; the next run here records them."""
    import hashlib

    from colab_drive_tuner.checkpoint.codec.codec import encode
    from colab_drive_tuner.checkpoint.record_items import ItemKind, pack_item
    from colab_drive_tuner.journal.spool.spool import Spool

    trials = run_in_store(tmp_path / "store", "rand", 2)
    document = trials.trials[-1] | {"tid": 7}
    store = FolderStore(tmp_path / "store")
    segment = Spool(store.location, "search").new_file(hashlib.sha256(b"").hexdigest())
    segment.add([(pack_item(ItemKind.END, 7, 7, encode(document), how="done", loss=0.5), ())])
    segment.close()
    found = {finding.about: finding for finding in examine(tmp_path / "store")}
    assert found["search 'search'"].level == Level.WARNING
    assert "1 results are spooled on this machine" in found["search 'search'"].text


def test_a_probe_that_hangs_costs_its_line_only(tmp_path, monkeypatch):
    """Each probe has a time limit, and the other probes still run."""
    release = threading.Event()

    def hangs(_context):
        release.wait(60)
        yield from ()

    def answers(_context):
        yield context.Finding(Level.OK, "enough")

    monkeypatch.setattr(examination, "PROBES", {"GPU": hangs, "disk": answers})
    found = {finding.about: finding for finding in examine(tmp_path, seconds=3.0)}
    release.set()
    assert found["GPU"].level == Level.WARNING
    assert "no answer within 3 seconds" in found["GPU"].text
    assert found["disk"].level == Level.OK


def test_a_probe_that_runs_out_of_time_keeps_what_it_had_found(monkeypatch):
    """The findings before the time limit are kept."""
    release = threading.Event()

    def slow(_context):
        yield context.Finding(Level.PROBLEM, "the first part")
        release.wait(60)

    monkeypatch.setattr(examination, "PROBES", {"slow": slow})
    first, second = examine(seconds=3.0)
    release.set()
    assert (first.about, first.level, first.text) == ("slow", Level.PROBLEM, "the first part")
    assert second.level == Level.WARNING


@pytest.mark.parametrize(
    ("installed", "named"),
    [
        ({"hyperopt": "0.2.7", "numpy": "2.1.0"}, "hyperopt 0.2.7"),
        ({"hyperopt": "0.3.0", "hyperas": "0.4", "keras": "3.13"}, "hyperas 0.4"),
        ({"hyperopt": "0.3.0", "pydrive2": "1.21.3", "cryptography": "50.0"}, "PyDrive2 1.21.3"),
    ],
)
def test_incompatible_versions_are_named(monkeypatch, installed, named):
    """Doctor warns of an incompatible package with its version, and gives advice."""
    monkeypatch.setattr(
        machine_probes, "installed_version", lambda package: installed.get(package, "")
    )
    (finding,) = machine_probes.versions(context.CheckContext())
    assert finding.level == Level.WARNING
    assert named in finding.text
    assert finding.advice


def test_a_full_disk_and_a_state_folder_that_is_none_are_problems(monkeypatch, tmp_path):
    """Results cannot be spooled on a full disk, or if a file is in place of the state folder."""
    from types import SimpleNamespace

    monkeypatch.setattr(
        "colab_drive_tuner.troubleshoot.doctor.machine_probes.shutil.disk_usage",
        lambda place: SimpleNamespace(free=1000),
    )
    assert [finding.level for finding in machine_probes.disk(context.CheckContext())] == [
        Level.PROBLEM
    ]
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(blocked))
    assert "cannot be spooled" in next(iter(machine_probes.disk(context.CheckContext()))).text


def test_a_runtime_that_is_about_to_end_is_a_warning(monkeypatch, tmp_path):
    """A Colab runtime that is 11.5 hours old is a warning that advises `max_time=`."""
    uptime = tmp_path / "uptime"
    uptime.write_text(f"{11.5 * 3600} 0.0\n")
    monkeypatch.setattr(runtime, "_UPTIME", uptime)
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release-colab")
    (finding,) = machine_probes.time_left(context.CheckContext())
    assert finding.level == Level.WARNING
    assert "max_time=" in finding.advice
