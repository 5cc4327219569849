"""`doctor`: a line for each thing a search rests on, in order, and never a hang."""

import json
import sys
import threading
from pathlib import Path

import pytest

from colab_drive_tuner.cli import main
from colab_drive_tuner.drive import DriveClient
from colab_drive_tuner.store.drive import DriveStore
from colab_drive_tuner.store.folder import FolderStore
from colab_drive_tuner.troubleshoot import doctor, probes
from colab_drive_tuner.troubleshoot.doctor import OK, PROBLEM, WARNING, examine
from tests.search.searching import stored
from tests.standins.bare import bare_machine  # noqa: F401 - a fixture

pytestmark = pytest.mark.usefixtures("bare_machine")

ORDER = [
    "runtime",
    "GPU",
    "versions",
    "credentials",
    "store",
    "quota",
    "notebook",
    "searches",
    "disk",
    "time left",
]


def levels(spec=None) -> dict[str, str]:
    """The level of each finding."""
    return {finding.about: finding.level for finding in examine(spec)}


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the command line; return its exit code and what it printed."""

    def run_one(*arguments) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["colab-drive-tuner", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        return int(end.value.code or 0), capsys.readouterr().out

    return run_one


def test_a_healthy_folder_store_is_all_ok(tmp_path, run):
    """In the order of the house, a line each, exit 0; without credentials, which it says."""
    stored(tmp_path / "store", "rand", 3)
    code, out = run("--store", tmp_path / "store", "doctor")
    assert code == 0, out
    lines = out.splitlines()
    expected = [about if about != "searches" else "search 'search'" for about in ORDER]
    assert [line.split(":")[0].split(maxsplit=1)[1] for line in lines] == expected
    assert "not needed: searches are kept in a local folder" in out
    assert "3 of 3 trials in 1 sessions, whole" in out


def test_json_says_the_same(tmp_path, run):
    """For programs: about, level, text, advice."""
    stored(tmp_path / "store", "rand", 2)
    code, out = run("--store", tmp_path / "store", "doctor", "--json")
    findings = json.loads(out)
    assert code == 0
    assert set(findings[0]) == {"about", "level", "text", "advice"}
    assert [finding["about"] for finding in findings][:6] == ORDER[:6]


@pytest.mark.parametrize("damaged", [0, 1])
def test_a_damaged_search_is_a_problem_that_names_repair(tmp_path, run, damaged):
    """The exit code says so, too, and what it says is true."""
    stored(tmp_path / "store", "rand", 8)
    records = sorted((tmp_path / "store").rglob("record-*.cdt"))
    records[damaged].unlink()
    code, out = run("--store", tmp_path / "store", "doctor")
    assert code == 1
    assert "`colab-drive-tuner repair search`" in out
    assert run("--store", tmp_path / "store", "repair", "search")[0] == 0
    assert run("--store", tmp_path / "store", "doctor")[0] == 0


def test_without_credentials_it_says_so_and_looks_at_the_rest(run, monkeypatch):
    """Drive cannot be used: a problem; disk and runtime are looked at all the same."""
    code, out = run("doctor")
    assert code == 1
    assert "problem  credentials: without credentials." in out
    assert "ok       disk:" in out
    assert [finding.about for finding in examine()] == ORDER


def test_drive_is_asked_and_nothing_is_made_there(drive_emulator):
    """Latency, clock, room; looking makes no folder."""
    before = len(DriveClient.connect().list_folder("root"))
    found = {finding.about: finding for finding in examine()}
    assert found["credentials"].level == OK
    assert "owner@example.com" in found["credentials"].text
    assert "Drive answers in" in found["store"].text
    assert found["quota"].level == WARNING
    assert found["searches"].text == "none yet: there is no store."
    assert len(DriveClient.connect().list_folder("root")) == before
    store = DriveStore.connect()
    stored(store, "rand", 2)  # type: ignore[arg-type]
    assert levels()["search 'search'"] == OK
    assert levels()["quota"] == OK


def test_results_that_wait_in_the_spool_are_told(tmp_path):
    """A process died before its last result was sent; the next run on this machine records it."""
    import hashlib

    from colab_drive_tuner.checkpoint.codec import encode
    from colab_drive_tuner.checkpoint.items import end_item
    from colab_drive_tuner.journal.spool import Spool

    trials = stored(tmp_path / "store", "rand", 2)
    document = trials.trials[-1] | {"tid": 7}
    store = FolderStore(tmp_path / "store")
    segment = Spool(store.location, "search").segment(hashlib.sha256(b"").hexdigest())
    segment.add([(end_item(encode(document), 7, k=7, how="done", loss=0.5), ())])
    segment.close()
    found = {finding.about: finding for finding in examine(tmp_path / "store")}
    assert found["search 'search'"].level == WARNING
    assert "1 results wait in the spool" in found["search 'search'"].text


def test_a_probe_that_hangs_costs_its_line_only(tmp_path, monkeypatch):
    """Each probe has a time limit; the others are asked all the same."""
    release = threading.Event()

    def hangs(patient):
        release.wait(60)
        yield from ()

    monkeypatch.setitem(probes.PROBES, "GPU", hangs)
    FolderStore(tmp_path)
    monkeypatch.setattr(doctor, "SECONDS", 0.2)
    only = {"GPU": hangs, "disk": probes.disk}
    monkeypatch.setattr(probes, "PROBES", only)
    found = {finding.about: finding for finding in examine(tmp_path, seconds=0.5)}
    release.set()
    assert found["GPU"].level == WARNING
    assert "no answer within 0.5 seconds" in found["GPU"].text
    assert found["disk"].level == OK


@pytest.mark.parametrize(
    ("installed", "named"),
    [
        ({"hyperopt": "0.2.7", "numpy": "2.1.0"}, "hyperopt 0.2.7"),
        ({"hyperopt": "0.3.0", "hyperas": "0.4", "keras": "3.13"}, "hyperas 0.4"),
        ({"hyperopt": "0.3.0", "pydrive2": "1.21.3", "cryptography": "50.0"}, "PyDrive2 1.21.3"),
    ],
)
def test_versions_that_clash_are_named(monkeypatch, installed, named):
    """Which, with which, and what to do."""
    monkeypatch.setattr(probes, "_version", lambda package: installed.get(package, ""))
    (finding,) = probes.versions(doctor.Patient())
    assert finding.level == WARNING
    assert named in finding.text
    assert finding.advice


def test_a_full_disk_and_a_state_folder_that_is_none_are_problems(monkeypatch, tmp_path):
    """Results could not be spooled there."""
    from types import SimpleNamespace

    monkeypatch.setattr(
        "colab_drive_tuner.troubleshoot.probes.shutil.disk_usage",
        lambda place: SimpleNamespace(free=1000),
    )
    assert [finding.level for finding in probes.disk(doctor.Patient())] == [PROBLEM]
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(blocked))
    assert "cannot be spooled" in next(iter(probes.disk(doctor.Patient()))).text


def test_a_runtime_that_is_about_to_end_is_a_warning(monkeypatch, tmp_path):
    """Colab's runtimes live for 12 hours, some for 24."""
    uptime = tmp_path / "uptime"
    uptime.write_text(f"{11.5 * 3600} 0.0\n")
    monkeypatch.setattr(probes, "_UPTIME", Path(uptime))
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release-colab")
    patient = doctor.Patient()
    (finding,) = probes.time_left(patient)
    assert finding.level == WARNING
    assert "max_time=" in finding.advice
