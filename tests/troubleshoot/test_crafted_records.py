"""A search with an invalid record is named, and does not hide the other searches."""

import contextlib
import hashlib
import math
import shlex
import shutil
import zlib
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest

from colab_drive_tuner.checkpoint.codec.codec import encode
from colab_drive_tuner.checkpoint.history import History
from colab_drive_tuner.checkpoint.record_items import settings_item
from colab_drive_tuner.errors import ColabDriveTunerError, SearchDamagedError
from colab_drive_tuner.journal.chain.chain import Head
from colab_drive_tuner.journal.chain.record import Record, encode_record, frame
from colab_drive_tuner.journal.folder.lookup import find_folder
from colab_drive_tuner.search.drive_trials import DriveTrials
from colab_drive_tuner.search.results.read_search import list_searches, read_status
from colab_drive_tuner.store.folder import FolderStore
from colab_drive_tuner.troubleshoot.clean import find_leftovers
from colab_drive_tuner.troubleshoot.doctor import Level, examine
from colab_drive_tuner.troubleshoot.repair.repair import repair
from colab_drive_tuner.troubleshoot.repair.salvage import salvage_folder
from tests.search.sample_searches import SPACE, resume_search, sample_objective
from tests.troubleshoot.damaged_searches import (
    LaterStore,
    record_files,
    run_with_record_per_trial,
)

pytestmark = pytest.mark.usefixtures("no_waiting")

NO_TRIAL = encode([1, 2])


def entry(kind: str, info: Any, document: Any = NO_TRIAL, tid: Any = 99, k: Any = 1) -> bytes:
    """Return an entry of a record, with any values."""
    packed: bytes = msgpack.packb([kind, tid, k, info, document])
    return packed


def trial(**changes: Any) -> bytes:
    """Return a recorded trial of SPACE with some fields changed; `misc_` marks those of `misc`."""
    misc = {
        "tid": 3,
        "cmd": None,
        "vals": {"x": [1.0], "kind": [0], "y": [], "n": [], "q": [3.0]},
        "idxs": {"x": [3], "kind": [3], "y": [], "n": [], "q": [3]},
    }
    document: dict[str, Any] = {
        "tid": 3,
        "state": 2,
        "spec": None,
        "misc": misc,
        "result": {"status": "ok", "loss": 1.0},
        "exp_key": None,
        "owner": None,
        "version": 0,
        "book_time": None,
        "refresh_time": None,
    }
    for key, value in changes.items():
        where = misc if key.startswith("misc_") else document
        where[key.removeprefix("misc_")] = value
        if value is _ABSENT:
            del where[key.removeprefix("misc_")]
    return encode(document)


def parameters(**changes: Any) -> dict[str, Any]:
    """Return the parameters of that trial, some of them changed."""
    return {"x": [1.0], "kind": [0], "y": [], "n": [], "q": [3.0]} | changes


_ABSENT = object()
NO_TRIALS = {
    "no owner": trial(owner=_ABSENT),
    "no times": trial(book_time=_ABSENT, refresh_time=_ABSENT),
    "another's number": trial(misc_tid=4),
    "a text for a value": trial(misc_vals=parameters(x=["\x1b[2J"])),
    "a complex value": trial(misc_vals=parameters(x=[1j])),
    "a number beyond floats": trial(misc_vals=parameters(x=[2**1100])),
    "an array of values": trial(misc_vals=parameters(x=np.arange(3.0))),
    "two values": trial(misc_vals=parameters(x=[1.0, 2.0])),
    "a set for a value": trial(misc_vals=parameters(x=[{1}])),
    "no loss": trial(result={"status": "ok"}),
}
"""Documents that hyperopt, or a command that shows a search, cannot use."""

STRANGE = {
    "no such option": entry("end", {"how": "done"}, trial(misc_vals=parameters(kind=[7])), 3, 3),
    "an option of NaN": entry(
        "end", {"how": "done"}, trial(misc_vals=parameters(kind=[math.nan])), 3, 3
    ),
    "a missing value": entry(
        "queued", {"next": 4}, trial(state=0, misc_vals=parameters(x=[])), 3, 3
    ),
    "an option that is to be run": entry(
        "queued", {"next": 4}, trial(state=0, misc_vals=parameters(kind=[2**63])), 3, 3
    ),
    "a text for a number": entry("end", {"how": "done"}, trial(tid="x", misc_tid="x"), "x", None),
    "the last number": entry("end", {"how": "done"}, trial(tid=2**62, misc_tid=2**62), 2**62, None),
    "times that are none": entry(
        "end", {"how": "done"}, trial(book_time="\x1b[2J", refresh_time=5), 3, 3
    ),
    "other indices": entry("end", {"how": "done"}, trial(misc_idxs={"x": [0, 0], "z": 1}), 3, 3),
}
"""Readable records of trials with values that no search would write."""

CRAFTED = {
    "a list as a key": b"\x81\x90\xc0",
    "junk": b"\xff" * 50,
    "cut": entry("end", {"how": "done"})[:-3],
    "a text for a number": entry("queued", {"next": "abc"}),
    "a list for a number": entry("start", {"next": 3, "progress": [1]}),
    "a list for a digest": entry("attachment", {"name": "x", "set": True, "sha": [1]}),
    "a text for a loss": entry("end", {"how": "done", "loss": "x"}),
    "no way to end": entry("end", {"how": [1]}),
    "a map for a trial": entry("end", {"how": "done"}, tid={}),
    "a number of trials above all": entry("queued", {"next": 2**62 + 1}),
    "a trial's number above all": entry("end", {"how": "done"}, tid=2**62 + 1),
    "an infinite number": entry("queued", {"next": float("inf")}),
    "no info": entry("end", None),
    "a stop that is none": settings_item({"stopped": 5}),
    "a stop without its rules": settings_item({"stopped": {"why": "x"}}),
    "a rule's state that is none": settings_item({"early_stop": {"by": "x", "ended": 1}}),
}


def craft(folder: Path, name: str, payload: bytes) -> None:
    """Write a record with the payload at the end of the chain, as a co-editor can."""
    store = FolderStore(folder)
    found = find_folder(store, name)
    salvaged = salvage_folder(store, found)
    frozen = encode_record(
        Record(
            pos=salvaged.end,
            kind="trials",
            owner="a" * 32,
            prev=salvaged.records[salvaged.end - 1].sha,
            more=store.reserve(4),
            payload=payload,
        )
    )
    name = f"record-{salvaged.end:06d}.cdt"
    store.create(salvaged.next_id, frozen.content, name=name, parent=found.records)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a search for each crafted record, and one intact search."""
    folder = tmp_path_factory.mktemp("crafted") / "store"
    for name in [*CRAFTED, "whole"]:
        run_with_record_per_trial(folder, 2, name)
    for name, payload in CRAFTED.items():
        craft(folder, name, payload)
    return folder


def test_status_shows_the_others_and_names_the_record(made: Path) -> None:
    """Each search has a status; that of a damaged one names the record."""
    found = {status.name: status for status in list_searches(FolderStore(made))}
    assert (found["whole"].done, found["whole"].problem) == (2, "")
    for name in CRAFTED:
        assert "ecord 5" in found[name].problem, name
        with pytest.raises(SearchDamagedError, match="ecord 5"):
            read_status(FolderStore(made), name)


@pytest.mark.parametrize("damage", ["junk", "another", "empty"])
def test_repair_replaces_an_invalid_last_record(tmp_path: Path, damage: str) -> None:
    """An invalid last record is not taken for a session that is writing at this moment."""
    folder = tmp_path / "store"
    run_with_record_per_trial(folder, 3, "search")
    *_, before, last = sorted((folder / "search" / "records").glob("record-*"))
    content = {"junk": bytes(300), "another": before.read_bytes(), "empty": b""}[damage]
    last.write_bytes(content)
    report = repair(LaterStore(folder), "search")
    assert (report.trials, report.done) == (3, 3)
    assert read_status(FolderStore(folder), "search").done == 3


def test_doctor_names_each_and_checks_the_others(made: Path) -> None:
    """Each damaged search is a problem with the repair command, and the intact one is ok."""
    found = {finding.about: finding for finding in examine(made)}
    assert found["search 'whole'"].level == Level.OK
    for name in CRAFTED:
        assert found[f"search {name!r}"].level == Level.PROBLEM, name
        assert "ecord 5" in found[f"search {name!r}"].text
        assert f" repair {shlex.quote(name)}`" in found[f"search {name!r}"].advice


def test_clean_lists_nothing_of_an_unreadable_search(made: Path) -> None:
    """`clean` offers no file of a search that cannot be read."""
    run_with_record_per_trial(made, 2, "twice")
    offered = find_leftovers(store=FolderStore(made))
    assert not [leftover for leftover in offered if any(name in leftover.id for name in CRAFTED)]


@pytest.mark.parametrize("name", CRAFTED)
def test_repair_keeps_the_trials_before_an_invalid_record(
    made: Path, tmp_path: Path, name: str
) -> None:
    """Repair keeps every trial that was recorded before the invalid record."""
    shutil.copytree(made / name, tmp_path / name)
    report = repair(LaterStore(tmp_path), name)
    assert "ecord 5" in report.reason
    assert report.done == 2
    assert read_status(FolderStore(tmp_path), name).done == 2


@pytest.mark.parametrize("name", NO_TRIALS)
def test_an_unusable_trial_document_is_damage(tmp_path: Path, name: str) -> None:
    """Opening the search names the trial, and repair restores the others."""
    run_with_record_per_trial(tmp_path / "store", 2)
    craft(tmp_path / "store", "search", entry("end", {"how": "done"}, NO_TRIALS[name], 3, 3))
    with pytest.raises(SearchDamagedError, match="trial 3"):
        DriveTrials("search", store=LaterStore(tmp_path / "store"))
    assert repair(LaterStore(tmp_path / "store"), "search").done == 2


@pytest.mark.filterwarnings("ignore::colab_drive_tuner.errors.SearchChangedWarning")
@pytest.mark.parametrize("algo", ["tpe", "anneal", "rand"])
@pytest.mark.parametrize("name", STRANGE)
def test_a_strange_trial_raises_at_most_an_error_of_this_package(
    tmp_path: Path, name: str, algo: str
) -> None:
    """With any values in a trial's record, a run finishes or raises an error of the package."""
    run_with_record_per_trial(tmp_path / "store", 2)
    craft(tmp_path / "store", "search", STRANGE[name])
    store = LaterStore(tmp_path / "store")
    with contextlib.suppress(ColabDriveTunerError):
        result = resume_search(
            sample_objective, name="search", store=store, space=SPACE, max_evals=25, algo=algo,
            progress=False, max_attempts=100,
        )  # fmt: skip
        assert result.finished
        assert len(result.rows) == 25
    assert read_status(store, "search").done >= 2


@pytest.mark.parametrize("key", ["rstate", "early_stop"])
def test_a_setting_that_no_run_can_use_is_left_out_by_repair(tmp_path: Path, key: str) -> None:
    """Doctor and a run name the setting; repair keeps all trials and reports what it left out."""
    folder, junk = tmp_path / "store", encode([1])[:-1]
    run_with_record_per_trial(folder, 2)
    setting = junk if key == "rstate" else {"by": "x", "arguments": junk, "ended": 2}
    begin = next((folder / "search" / "records").glob("*-000000.cdt"))
    body = msgpack.unpackb(begin.read_bytes()[36:])
    claim = msgpack.unpackb(body["payload"])
    claim["settings"][key] = setting
    begin.write_bytes(frame(body | {"payload": msgpack.packb(claim)}))
    prev = hashlib.sha256(begin.read_bytes()).hexdigest()
    for record in record_files(folder)[1:]:
        body = msgpack.unpackb(record.read_bytes()[36:]) | {"prev": prev}
        record.write_bytes(frame(body))
        prev = hashlib.sha256(record.read_bytes()).hexdigest()
    (found,) = (finding for finding in examine(folder) if finding.about == "search 'search'")
    assert found.level == Level.PROBLEM
    assert "cannot be used" in found.text
    assert " repair search`" in found.advice
    with pytest.raises(SearchDamagedError, match="restart=True"):
        resume_search(
            sample_objective, name="search", store=folder, space=SPACE, max_evals=3, progress=False,
            early_stop_fn=lambda trials: (False, []),
        )  # fmt: skip
    report = repair(LaterStore(folder), "search")
    assert report.done == 2
    assert any("cannot be used" in note for note in report.notes)
    run_with_record_per_trial(folder, 4)


def test_a_snapshot_of_impossibly_many_records_is_not_used(tmp_path: Path) -> None:
    """The positions that it claims are not counted, which would take more memory than there is."""
    run_with_record_per_trial(tmp_path, 3)
    store = FolderStore(tmp_path)
    folder = find_folder(store, "search")
    head = Head(2**60, "a" * 64, ("next-of-the-forged",), "last-of-the-forged", "c" * 64)
    content = frame({"head": head, "state": zlib.compress(History().dump())})
    (entry_id,) = store.reserve(1)
    store.create(entry_id, content, name="snapshot-000009.cdt", parent=folder.records)
    salvaged = salvage_folder(store, folder)
    assert (salvaged.missing, salvaged.snapshots) == ([], [])
    assert f"A snapshot of {2**60} records" in salvaged.unreadable[0]
