"""Files cut, altered, deleted or moved by hand: the search resumes, or the file is named."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from colab_drive_tuner.store import open_store
from tests.torture.harness import LEASE, Lab, Running
from tests.torture.places import folder_place
from tests.torture.session import Session, changed, plain

CONSTANTS = LEASE | {"SNAPSHOT_RECORDS": 4}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of a search that ran in three sessions, with two snapshots."""
    folder = tmp_path_factory.mktemp("finished")
    lab = Lab(folder_place(folder / "store"), folder)
    for max_evals in (6, 12, 18):
        session = lab.session("s", max_evals=max_evals, nap=0.03, constants=CONSTANTS)
        lab.finish(session)
    return folder / "store"


@pytest.fixture
def search(folder_lab: Lab, finished: Path) -> Session:
    """A copy of the search, which may run more trials."""
    shutil.copytree(finished, folder_lab.place.variables["COLAB_DRIVE_TUNER_STORE"])
    return folder_lab.session("s", max_evals=20, constants=CONSTANTS)


def visible(lab: Lab, pattern: str) -> list[Path]:
    """Return the search's files that match the pattern."""
    return sorted((Path(lab.place.variables["COLAB_DRIVE_TUNER_STORE"]) / "s").glob(pattern))


def refused(lab: Lab, search: Session) -> str:
    """Run a session that finds damage; assert that it writes nothing, and return its message."""
    before = {path: path.stat().st_mtime_ns for path in visible(lab, "**/*")}
    running: Running = lab.start(search)
    assert running.end() == 3, running.output
    assert running.outcome["error"] in ("SearchDamagedError", "StoreError")
    assert {path: path.stat().st_mtime_ns for path in visible(lab, "**/*")} == before
    return str(running.outcome["says"])


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "emptied": lambda content: b"",
    "cut": lambda content: content[: len(content) // 2],
    "altered": lambda content: content[:-5] + bytes([content[-5] ^ 4]) + content[-4:],
    "replaced by a pickle": lambda content: b"cos\nsystem\n(S'touch /tmp/owned'\ntR.",
}


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("which", [0, 3, -1], ids=["first", "middle", "last"])
def test_a_damaged_record_is_named(folder_lab: Lab, search: Session, how: str, which: int) -> None:
    """Without a snapshot a damaged record is named by its number, and nothing is written."""
    for snapshot in visible(folder_lab, "records/snapshot-*"):
        snapshot.unlink()
    record = visible(folder_lab, "records/record-*")[which]
    record.write_bytes(DAMAGES[how](record.read_bytes()))
    number = int(re.findall(r"\d+", record.name)[0])
    assert re.search(rf"Record {number} of search 's'", refused(folder_lab, search))


@pytest.mark.parametrize(
    "which",
    [pytest.param(0, marks=pytest.mark.long), 3, -2],
    ids=["first", "middle", "last but one"],
)
def test_a_deleted_record_is_never_skipped(folder_lab: Lab, search: Session, which: int) -> None:
    """A missing record before later ones stops the search."""
    for snapshot in visible(folder_lab, "records/snapshot-*"):
        snapshot.unlink()
    visible(folder_lab, "records/record-*")[which].unlink()
    says = refused(folder_lab, search)
    assert "missing although later ones exist" in says


def test_a_search_resumes_from_a_snapshot_of_deleted_records(
    folder_lab: Lab, search: Session
) -> None:
    """A snapshot has acknowledged records only, so the search resumes from it."""
    visible(folder_lab, "records/record-*")[1].unlink()
    folder_lab.finish(search)
    copy = folder_lab.start(search)  # the search is finished: returns at once
    assert copy.end() == 0


@pytest.mark.parametrize("how", [*DAMAGES, "deleted"])
def test_snapshots_are_never_needed(folder_lab: Lab, search: Session, how: str) -> None:
    """Without valid snapshots, and with an empty trash, the records are enough."""
    for snapshot in visible(folder_lab, "records/snapshot-*"):
        if how == "deleted":
            snapshot.unlink()
        else:
            snapshot.write_bytes(DAMAGES[how](snapshot.read_bytes()))
    trash = Path(folder_lab.place.variables["COLAB_DRIVE_TUNER_STORE"], ".trash")
    shutil.rmtree(trash, ignore_errors=True)
    folder_lab.finish(search)
    folder_lab.judge(search)


def test_a_lost_or_wrong_hint_is_no_harm(folder_lab: Lab, search: Session) -> None:
    """The hint is advice: an empty or wrong one changes nothing."""
    store = open_store(folder_lab.place.variables["COLAB_DRIVE_TUNER_STORE"])
    (folder,) = [entry for entry in store.list(store.root) if "cdt_hint" in entry.properties]
    store.set_properties(folder.id, {"cdt_hint": "no-such-file"})
    folder_lab.finish(search)
    store.set_properties(folder.id, {"cdt_hint": ""})
    search = changed(search, max_evals=22)
    folder_lab.finish(search)
    folder_lab.judge(search)


def test_moved_records_are_an_error(folder_lab: Lab, search: Session) -> None:
    """No second history begins while `records/` is moved away; once back, the search resumes."""
    (records,) = visible(folder_lab, "records")
    away = folder_lab.folder / "elsewhere"
    records.rename(away)
    running = folder_lab.start(search)
    assert running.end() != 0
    assert not list(visible(folder_lab, "records*/record-*"))
    away.rename(records)
    folder_lab.finish(search)
    folder_lab.judge(changed(search), taken_over=True)


@pytest.mark.parametrize("how", ["torn", "emptied", "garbage"])
def test_a_damaged_spool_file_is_ignored(folder_lab: Lab, search: Session, how: str) -> None:
    """A spool file that is damaged by a kill or a full disk does not stop the search."""
    folder_lab.finish(changed(search, max_evals=19))
    machine = Path(search.machine)
    (spool,) = (path.parent for path in machine.rglob("about.txt"))
    content = {"torn": b"\x40\x00\x00\x00abc", "emptied": b"", "garbage": os.urandom(300)}[how]
    (spool / "0123.spool").write_bytes(content)
    folder_lab.finish(search)
    folder_lab.judge(search)


def test_clocks_decide_nothing(folder_lab: Lab, search: Session) -> None:
    """The files' times, as of other clocks, do not matter for reading."""
    for path in visible(folder_lab, "records/*"):
        os.utime(path, (1, 1))
    folder_lab.finish(search)
    assert folder_lab.judge(search)["points"] == plain("rand", 20, 3)
