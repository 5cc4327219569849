"""One search with a record that makes no sense: it is named, and hides none of the others."""

from pathlib import Path
from typing import Any

import msgpack
import pytest

from colab_drive_tuner.checkpoint.codec import encode
from colab_drive_tuner.errors import SearchDamagedError
from colab_drive_tuner.journal.folder import find_folder
from colab_drive_tuner.journal.record import freeze
from colab_drive_tuner.search.status import list_searches, read_status
from colab_drive_tuner.store.folder import FolderStore
from colab_drive_tuner.troubleshoot import find_leftovers
from colab_drive_tuner.troubleshoot.doctor import OK, PROBLEM, examine
from colab_drive_tuner.troubleshoot.evidence import collect
from colab_drive_tuner.troubleshoot.repair import repair
from tests.troubleshoot.repairing import run_slowly

pytestmark = pytest.mark.usefixtures("no_waiting")

NO_TRIAL = encode([1, 2])


def entry(kind: str, info: Any, document: Any = NO_TRIAL, tid: Any = 99, k: Any = 1) -> bytes:
    """An entry of a record, whatever its fields are."""
    packed: bytes = msgpack.packb([kind, tid, k, info, document])
    return packed


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
    "an infinite number": entry("queued", {"next": float("inf")}),
    "no info": entry("end", None),
}


class LaterStore(FolderStore):
    """A store whose clock is ahead, so that no lease is fresh."""

    def now(self) -> float:
        """The time in an hour."""
        return super().now() + 3600


def craft(folder: Path, name: str, payload: bytes) -> None:
    """Write a record with the payload at the end of the chain, as a co-editor can."""
    store = FolderStore(folder)
    found = find_folder(store, name)
    evidence = collect(store, found)
    frozen = freeze(
        pos=evidence.top,
        kind="trials",
        owner="a" * 32,
        prev=evidence.records[evidence.top - 1].record.sha,
        more=store.reserve(4),
        payload=payload,
    )
    name = f"record-{evidence.top:06d}.cdt"
    store.create(evidence.next_id, frozen.content, name=name, parent=found.records)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a search for each crafted record, and one that is whole."""
    folder = tmp_path_factory.mktemp("crafted") / "store"
    for name in [*CRAFTED, "whole"]:
        run_slowly(folder, 2, name)
    for name, payload in CRAFTED.items():
        craft(folder, name, payload)
    return folder


def test_status_shows_the_others_and_names_the_record(made: Path) -> None:
    """A row each; the bad ones say which record it is."""
    found = {status.name: status for status in list_searches(FolderStore(made))}
    assert (found["whole"].done, found["whole"].problem) == (2, "")
    for name in CRAFTED:
        assert "ecord 5" in found[name].problem, name
        with pytest.raises(SearchDamagedError, match="ecord 5"):
            read_status(FolderStore(made), name)


def test_doctor_names_each_and_looks_at_the_others(made: Path) -> None:
    """As a problem, by which its exit code is 1."""
    found = {finding.about: finding for finding in examine(made)}
    assert found["search 'whole'"].level == OK
    for name in CRAFTED:
        assert found[f"search {name!r}"].level == PROBLEM, name
        assert "ecord 5" in found[f"search {name!r}"].text
        assert "colab-drive-tuner repair" in found[f"search {name!r}"].advice


def test_clean_goes_on_with_the_others(made: Path) -> None:
    """It offers nothing of a search that cannot be read."""
    run_slowly(made, 2, "twice")
    offered = find_leftovers(store=FolderStore(made))
    assert not [leftover for leftover in offered if any(name in leftover.id for name in CRAFTED)]


@pytest.mark.parametrize("name", CRAFTED)
def test_repair_keeps_what_makes_sense(made: Path, name: str) -> None:
    """All that was recorded before."""
    report = repair(LaterStore(made), name)
    assert "ecord 5" in report.reason
    assert report.done == 2
    assert read_status(FolderStore(made), name).done == 2
