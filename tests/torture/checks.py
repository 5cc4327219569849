"""Checks of the protocol's rules, about a second each; each fails on a mutant without the rule.

Each takes an empty folder and raises if the build breaks the rule.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from colab_drive_tuner.errors import (
    SearchBusyError,
    SearchDamagedError,
    SearchError,
    SearchFolderError,
    UnavailableError,
)
from colab_drive_tuner.journal import Journal, maintenance, writer
from colab_drive_tuner.journal.chain import chain, record
from colab_drive_tuner.journal.chain.chain import save_snapshot
from colab_drive_tuner.journal.chain.record import Record, encode_record
from colab_drive_tuner.journal.folder.lookup import find_folder
from colab_drive_tuner.journal.spool.spool import Gap, Spool
from colab_drive_tuner.journal.spool.spool_file import read_spool_file
from colab_drive_tuner.store.folder import FolderStore
from tests.journal import faulty_store
from tests.journal.faulty_store import FaultyStore, append_acknowledged
from tests.journal.list_state import RULES, item
from tests.journal.simulated_disks import FailingDisk, VolatileDisk
from tests.search.sample_searches import run_in_fork

CHECKS: dict[str, Callable[[Path], None]] = {}


def check(demand: Callable[[Path], None]) -> Callable[[Path], None]:
    """Register a check under its function's name."""
    CHECKS[demand.__name__] = demand
    return demand


def go_to(folder: Path, machine: str) -> None:
    """Switch this process to another simulated machine."""
    os.environ["XDG_STATE_HOME"] = str(folder / "machines" / machine)


def claimed(store: FolderStore, **options: Any) -> Journal:
    """Open and claim the journal of a search."""
    journal = Journal.open(store, "s", RULES, sleep=lambda seconds: None)
    journal.claim(lambda state: b"", notify=lambda text: None, **options)
    return journal


def read(store: FolderStore) -> list[Any]:
    """Return the items that another process reads."""
    items: list[Any] = Journal.open(store, "s", RULES).state.items
    return items


def settle(journal: Journal, until: Callable[[], object] = lambda: True) -> None:
    """Wait for the disk, and until the store has everything or cannot be reached.

    Builds with a rule removed may never get there; they are judged by the state after the deadline.
    """
    journal.flush_to_disk(faulty_store.patience)
    deadline = time.monotonic() + faulty_store.patience / 4
    while time.monotonic() < deadline:
        if (journal.trouble is not None or not journal.pending) and until():
            return
        time.sleep(0.01)


@check
def a_lost_answer_is_no_conflict(folder: Path) -> None:
    """Equal bytes under the id are the session's own record."""
    store = FaultyStore(folder / "store")
    journal = claimed(store)
    for value in range(3):
        store.lose_answers = 1
        append_acknowledged(journal, value)
    assert read(store) == [0, 1, 2]


@check
def a_takeover_is_noticed(folder: Path) -> None:
    """The former owner counts nothing as acknowledged and keeps its items in the spool."""
    store = FaultyStore(folder / "store")
    loser = claimed(store)
    append_acknowledged(loser, 1)
    go_to(folder, "second")
    append_acknowledged(claimed(store, on_busy="takeover"), 2)
    go_to(folder, "first")
    loser.append(item(3), durable=True)
    assert not loser.flush(faulty_store.patience)
    with pytest.raises(SearchError):
        loser.raise_if_lost()
    assert read(store) == [1, 2]
    assert list((folder / "machines" / "first").rglob("*.spool"))


@check
def a_clones_record_is_a_conflict(folder: Path) -> None:
    """A record with the same owner and other bytes is not the session's own."""
    store = FolderStore(folder / "store")
    (entry_id,) = store.reserve(1)
    one, other = (
        encode_record(Record(pos=0, kind="trials", owner="the same", prev="", payload=item(value)))
        for value in (1, 2)
    )
    assert writer.create(store, one, entry_id, store.root)
    assert writer.create(store, one, entry_id, store.root)
    assert not writer.create(store, other, entry_id, store.root)


@check
def equal_content_of_a_clone_is_a_conflict(folder: Path) -> None:
    """Two sessions never write equal bytes, even at the same instant."""
    record.time = SimpleNamespace(time=lambda: 1.0)  # type: ignore[assignment]
    store = FolderStore(folder / "store")
    (entry_id,) = store.reserve(1)
    one, other = (
        encode_record(Record(pos=0, kind="trials", owner="the same", prev="", payload=item(1)))
        for _ in range(2)
    )
    assert writer.create(store, one, entry_id, store.root)
    assert not writer.create(store, other, entry_id, store.root)


@check
def one_record_is_in_flight(folder: Path) -> None:
    """The next create begins only after the answer to the one before."""
    flying: list[int] = []
    most: list[int] = []
    lock, company = threading.Lock(), threading.Event()

    class SlowStore(FaultyStore):
        def create(self, *args: Any, **options: Any) -> Any:
            with lock:
                flying.append(1)
                most.append(len(flying))
                if len(flying) > 1:
                    company.set()
            company.wait(0.3)
            try:
                return super().create(*args, **options)
            finally:
                with lock:
                    flying.pop()

    journal = claimed(SlowStore(folder / "store"))
    most.clear()
    for value in range(12):
        journal.append(item(value))
        time.sleep(0.03)
    assert journal.flush(faulty_store.patience)
    assert most
    assert max(most) == 1


@check
def nothing_is_acknowledged_without_an_answer(folder: Path) -> None:
    """While the store is unavailable, every item is pending."""
    store = FaultyStore(folder / "store")
    journal = claimed(store)
    store.away = True
    journal.append(item(1), durable=True)
    settle(journal)
    assert journal._own.writer._acknowledged == 0
    assert not journal.flush(0.1)
    store.away = False
    assert journal.flush(faulty_store.patience)
    assert read(store) == [1]


@check
def a_gap_is_never_skipped(folder: Path) -> None:
    """A deleted record stops the reader."""
    _damage(folder, lambda path: path.unlink())


@check
def an_altered_record_is_never_read(folder: Path) -> None:
    """A flipped bit stops the reader."""
    _damage(folder, lambda path: path.write_bytes(path.read_bytes().replace(b"two", b"2wo")))


def _damage(folder: Path, damage: Callable[[Path], object]) -> None:
    store = FaultyStore(folder / "store")
    journal = claimed(store)
    for value in ("one", "two", "three"):
        append_acknowledged(journal, value)
    damage(sorted((folder / "store" / "s" / "records").iterdir())[2])
    with pytest.raises(SearchDamagedError):
        read(store)


@check
def pending_ends_survive_a_kill(folder: Path) -> None:
    """The next session records ends to which the store had not answered."""
    store = FaultyStore(folder / "store")

    def die() -> None:
        journal = claimed(store)
        append_acknowledged(journal, "acknowledged")
        store.away = True
        for value in ("pending", "and more"):
            journal.append(item(value), durable=True)
        settle(journal)
        os.kill(os.getpid(), signal.SIGKILL)

    assert run_in_fork(die) == -signal.SIGKILL
    claimed(store)
    assert sorted(read(store)) == ["acknowledged", "and more", "pending"]


@check
def spooled_ends_survive_a_power_cut(folder: Path) -> None:
    """When a record is sent, its durable items are in flushed spool files."""
    (folder / "machines" / "first").mkdir(parents=True)
    values, cuts = ["one", "two"], []

    class WatchedStore(FaultyStore):
        def create(self, entry_id: str, content: Any, **options: Any) -> Any:
            sent = [value for value in values if content and item(value) in content]
            if sent:
                cuts.append(disk.after_power_cut(folder / f"cut-{len(cuts)}"))
                files = map(read_spool_file, cuts[-1].rglob("*.spool"))
                found = [spooled for file in files for spooled, _ in file.items]
                lost.extend(value for value in sent if item(value) not in found)
            return super().create(entry_id, content, **options)

    lost: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        disk = VolatileDisk(patch, folder / "machines" / "first")
        journal = claimed(WatchedStore(folder / "store"))
        for value in values:
            append_acknowledged(journal, value)
    assert len(cuts) == 2
    assert lost == []


@check
def a_spool_has_no_gaps(folder: Path) -> None:
    """A disk that was full gets the items that it missed before any later one."""
    store, values = FaultyStore(folder / "store"), ["one", "two", "three"]

    def die() -> None:
        journal = claimed(store)
        store.away = True
        with pytest.MonkeyPatch.context() as patch:
            FailingDisk(patch, lambda act: act == 3)
            for value in values:
                journal.append(item(value), durable=True)
                settle(journal)
            spool = Spool(store.location, "s")
            settle(journal, lambda: sum(len(left.items) for left in spool.earlier_files()) == 3)
        os.kill(os.getpid(), signal.SIGKILL)

    assert run_in_fork(die) == -signal.SIGKILL
    claimed(store)
    assert read(store) == values


@check
def spooled_items_keep_their_order(folder: Path) -> None:
    """The order does not depend on the files' names, and a missing item is a gap."""
    spool = Spool("a store", "a search")
    for value in (b"1", b"2", b"3"):
        segment = spool.new_file("epoch")
        segment.add([(value, ())])
        segment.close()
    (first, second, third) = sorted(spool.folder.glob("*.spool"))
    first.rename(third.with_name("000009-000009.spool"))
    assert [left.items[0][0] for left in spool.earlier_files()] == [b"1", b"2", b"3"]
    second.unlink()
    assert spool.gaps(spool.earlier_files()) == [Gap(1, 2, 2)]


@check
def a_search_outlives_its_copies(folder: Path) -> None:
    """A folder with the same properties is ignored, and the search resumes."""
    store = FaultyStore(folder / "store")
    journal = claimed(store)
    append_acknowledged(journal, 1)
    journal.close()
    assert journal.folder is not None
    properties = dict(store.stat(journal.folder).properties)
    store.create(*store.reserve(1), None, name="s", parent=store.root, properties=properties)
    again = claimed(store)
    append_acknowledged(again, 2)
    again.close()
    append_acknowledged(claimed(store), 3)
    assert read(store) == [1, 2, 3]


@check
def a_search_in_the_trash_is_an_error(folder: Path) -> None:
    """No new search begins under the name of a trashed one."""
    store = FaultyStore(folder / "store")
    journal = claimed(store)
    append_acknowledged(journal, 1)
    journal.close()
    assert journal.folder is not None
    store.trash(journal.folder)
    with pytest.raises(SearchFolderError):
        claimed(store)


@check
def snapshots_hold_acknowledged_records(folder: Path) -> None:
    """A record that is being sent is not in a snapshot."""
    refused: list[str] = []  # shared with the stores that `for_search` returns

    class RecordsAway(FaultyStore):
        def create(self, *args: Any, **options: Any) -> Any:
            if refused and options["name"].startswith("record"):
                raise UnavailableError("Records are not taken.")
            return super().create(*args, **options)

    store = RecordsAway(folder / "store")
    journal = claimed(store)
    append_acknowledged(journal, 1)
    refused.append("records")
    journal.append(item("on its way"), durable=True)
    settle(journal)
    assert journal._own is not None
    journal._own.maintenance._snapshot()
    assert read(store) == [1]


@check
def ids_never_run_out(folder: Path) -> None:
    """Twenty items are recorded with blocks of two ids."""
    for module in (writer, sys.modules["colab_drive_tuner.journal.claim_and_takeover"]):
        module.ID_BLOCK = 2  # type: ignore[attr-defined]
    writer.ID_RESERVE = 1
    maintenance.SNAPSHOT_RECORDS = 1000
    store = FaultyStore(folder / "store")
    journal = claimed(store)
    append_acknowledged(journal, *range(10))
    for value in range(10, 20):
        append_acknowledged(journal, value)
    assert read(store) == list(range(20))


@check
def a_fork_may_not_write(folder: Path) -> None:
    """A forked process cannot append to the journal."""
    store = FaultyStore(folder / "store")
    journal = claimed(store)

    def write() -> None:
        with pytest.raises(SearchError):
            journal.append(item(1))

    assert run_in_fork(write) == 0


def _with_a_snapshot(store: FaultyStore, value: str) -> Journal:
    """Return a journal whose records are all in a snapshot."""
    journal = claimed(store)
    append_acknowledged(journal, value)
    reader = journal._reader
    save_snapshot(store, reader.folder, reader.head, journal.state.dump())
    return journal


@check
def spooled_items_belong_to_a_snapshots_history(folder: Path) -> None:
    """A session that reads from a snapshot records the items that a dead one spooled."""
    store = FaultyStore(folder / "store")

    def die() -> None:
        journal = _with_a_snapshot(store, "in the snapshot")
        store.away = True
        journal.append(item("pending"), durable=True)
        settle(journal)
        os.kill(os.getpid(), signal.SIGKILL)

    assert run_in_fork(die) == -signal.SIGKILL
    claimed(store)
    assert read(store) == ["in the snapshot", "pending"]


@check
def a_snapshot_tells_who_holds_a_search(folder: Path) -> None:
    """Another machine that reads a snapshot knows that the search is held."""
    store = FaultyStore(folder / "store")
    _with_a_snapshot(store, "held")
    go_to(folder, "second")
    with pytest.raises(SearchBusyError):
        claimed(store, on_busy="error")


@check
def gaps_are_seen_between_batches_of_reads(folder: Path) -> None:
    """One or two missing records at the end of a batch of reads are an error."""
    chain.PARALLEL_READS = 4
    for missing in (1, 2):
        store = FaultyStore(folder / f"store {missing}")
        journal = claimed(store)
        for value in range(10):
            append_acknowledged(journal, value)
        journal.close()
        for path in sorted(Path(store.url(store.root), "s", "records").iterdir())[3 : 3 + missing]:
            path.unlink()
        with pytest.raises(SearchDamagedError):
            read(store)


@check
def no_snapshot_leads_into_another_chain(folder: Path) -> None:
    """A snapshot of another search, copied into the folder, is ignored."""
    store = FaultyStore(folder / "store")
    _with_a_snapshot(store, "ours").close()
    mine = find_folder(store, "s")
    other = Journal.open(store, "other", RULES)
    other.claim(lambda state: b"", notify=lambda text: None)
    append_acknowledged(other, "another's")
    theirs = other._reader
    assert mine is not None
    save_snapshot(store, mine, theirs.head, other.state.dump())
    assert read(store) == ["ours"]


@check
def a_property_never_leads_outside(folder: Path) -> None:
    """A forged property does not let trials.pkl replace another file."""
    store = FaultyStore(folder / "store")
    claimed(store).close()
    mine = find_folder(store, "s")
    assert mine is not None
    (thesis,) = store.reserve(1)
    store.create(thesis, b"a thesis", name="thesis", parent=store.root)
    store.set_properties(mine.id, {"cdt_export": thesis})
    journal = claimed(store)
    append_acknowledged(journal, 1)
    journal.close()
    assert store.read(thesis) == b"a thesis"
