"""Spool files on disks that fail, fill up, corrupt data or lose power."""

import os
import shutil
import signal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colab_drive_tuner.journal import Journal, writer
from colab_drive_tuner.journal.spool.spool import Gap, Spool
from colab_drive_tuner.journal.spool.spool_file import SpoolFile, read_spool_file
from tests.journal.faulty_store import FaultyStore
from tests.journal.list_state import RULES, item
from tests.journal.simulated_disks import FailingDisk, VolatileDisk
from tests.processes import wait_until
from tests.search.sample_searches import run_in_fork

VALUES = [f"value {number}" for number in range(6)]
ACTS = 17
"""Open, header, item and flush of the first file; four items and flushes; and some spare ones."""


def spool_and_die(store: FaultyStore, *, wait: bool, fails) -> None:
    """Claim, make the store unavailable, spool values on a failing disk, and die."""
    writer.SPOOL_AGAIN_SECONDS = 0.02
    writer.PAIR_SECONDS = 0.0
    journal = Journal.open(store, "a search", RULES)
    messages: list[str] = []
    journal.claim(lambda state: b"", notify=messages.append)
    own = journal._own
    store.away = True
    with pytest.MonkeyPatch.context() as patch:
        FailingDisk(patch, fails)
        for value in VALUES:
            journal.append(item(value), durable=True)
            wait_until(lambda: not own.writer._queue)
        wait_until(lambda: not wait or spooled(own.spool) == VALUES)
    os.kill(os.getpid(), signal.SIGKILL)


def spooled(spool: Spool) -> list[str]:
    """Return the values that a later session would find, each once."""
    found = [content for left in spool.earlier_files() for content, _ in left.items]
    return [value for value in VALUES if item(value) in found]


def recovered(store: FaultyStore) -> tuple[list[str], list[str]]:
    """Return what the next session records, and its messages."""
    messages: list[str] = []
    journal = Journal.open(store, "a search", RULES)
    journal.claim(lambda state: b"", notify=messages.append)
    items = list(journal.state.items)
    journal.close()
    return items, messages


@pytest.mark.parametrize("act", range(1, ACTS))
def test_a_disk_that_fails_once_loses_nothing(store, machine, act):
    """Whichever disk operation fails, its item is spooled first at the next attempt."""
    died = run_in_fork(lambda: spool_and_die(store, wait=True, fails=lambda now: now == act))
    assert died == -signal.SIGKILL
    assert recovered(store) == (VALUES, [])


@pytest.mark.parametrize("act", range(1, ACTS, 3))
def test_a_disk_that_stays_full_leaves_no_gap(store, machine, act):
    """The next session finds the first items without a gap, as far as the disk took them."""
    died = run_in_fork(lambda: spool_and_die(store, wait=False, fails=lambda now: now >= act))
    assert died == -signal.SIGKILL
    items, messages = recovered(store)
    assert items == VALUES[: len(items)]
    assert messages == []


@pytest.mark.parametrize("acts", [{3, 4}, {4, 5, 6}, {6, 7}, {3, 8, 9}, {1, 3, 5, 7, 9}])
def test_a_disk_that_fails_while_it_recovers_loses_nothing(store, machine, acts):
    """Nothing is lost even if a file cannot be truncated to its valid part."""
    died = run_in_fork(lambda: spool_and_die(store, wait=True, fails=acts.__contains__))
    assert died == -signal.SIGKILL
    assert recovered(store) == (VALUES, [])


def test_a_recorded_item_is_no_gap_in_the_spool(store, machine, monkeypatch):
    """An item that was recorded and never spooled is no gap between spooled ones."""
    monkeypatch.setattr(writer, "SPOOL_AGAIN_SECONDS", 60.0)

    def die() -> None:
        journal = Journal.open(store, "a search", RULES)
        journal.claim(lambda state: b"", notify=lambda text: None)
        journal.append(item(VALUES[0]), durable=True)
        assert journal.flush(200)
        with pytest.MonkeyPatch.context() as patch:
            FailingDisk(patch, lambda now: True)
            journal.append(item(VALUES[1]), durable=True)
            assert journal.flush(200)
        store.away = True
        journal.append(item(VALUES[2]), durable=True)
        wait_until(lambda: spooled(journal._own.spool) == [VALUES[2]])
        os.kill(os.getpid(), signal.SIGKILL)

    assert run_in_fork(die) == -signal.SIGKILL
    assert recovered(store) == (VALUES[:3], [])


def test_items_survive_a_power_cut_once_they_are_sent(tmp_path, monkeypatch):
    """Each item that is sent to the store is already safe on the disk."""
    state = tmp_path / "state"
    state.mkdir()
    monkeypatch.setenv("XDG_STATE_HOME", str(state))
    disk = VolatileDisk(monkeypatch, state)
    cuts: list[int] = []

    class WatchedStore(FaultyStore):
        def create(self, entry_id, content, *, name, **options):
            if name.startswith("record") and len(cuts) <= 4 and journal._own is not None:
                cuts.append(1)
                sent = [value for value in VALUES if item(value) in content]
                left = disk.after_power_cut(tmp_path / f"cut-{len(cuts)}")
                files = map(read_spool_file, sorted(left.rglob("*.spool")))
                found = [content for file in files for content, _ in file.items]
                assert [value for value in sent if item(value) not in found] == []
            return super().create(entry_id, content, name=name, **options)

    store = WatchedStore(tmp_path / "store")
    journal = Journal.open(store, "a search", RULES)
    journal.claim(lambda state: b"", notify=lambda text: None)
    for value in VALUES[:3]:
        journal.append(item(value), durable=True)
        assert journal.flush(200)
        journal.raise_if_lost()
    assert len(cuts) == 3
    journal.close()


def test_the_noted_folder_of_a_search_survives_a_power_cut(tmp_path, monkeypatch):
    """After a power cut the next session here knows the folder of the search."""
    state = tmp_path / "state"
    state.mkdir()
    monkeypatch.setenv("XDG_STATE_HOME", str(state))
    disk = VolatileDisk(monkeypatch, state)
    store = FaultyStore(tmp_path / "store")
    journal = Journal.open(store, "a search", RULES)
    journal.claim(lambda state: b"", notify=lambda text: None)
    known = Spool(store.location, "a search").known_folder()
    journal.close()
    assert known.id == journal.folder
    left = disk.after_power_cut(tmp_path / "cut")
    monkeypatch.setenv("XDG_STATE_HOME", str(left))
    assert Spool(store.location, "a search").known_folder() == known


@pytest.fixture
def spool(machine) -> Spool:
    """A spool with nine items of one session, three in each file."""
    spool = Spool("a store", "a search")
    for start in (0, 3, 6):
        segment = spool.new_file("epoch")
        segment.add([(b"item %d" % n, (b"beside %d" % n,)) for n in range(start, start + 3)])
        segment.close()
    return spool


def readable(left: list[SpoolFile]) -> list[int]:
    return [number for file in left for number, _ in file.numbered]


@pytest.mark.parametrize(("which", "gaps"), [(0, [Gap(1, 1, 3)]), (1, [Gap(1, 4, 6)]), (2, [])])
def test_a_missing_file_is_a_gap(spool, which, gaps):
    """A missing spool file is a gap, unless it is the last one."""
    spool.earlier_files()[which].path.unlink()
    assert spool.gaps(spool.earlier_files()) == gaps


def test_acknowledged_items_are_no_gap(machine):
    """The last acknowledged file tells with which item the others begin."""
    spool = Spool("a store", "a search")
    for number in range(3):
        segment = spool.new_file("epoch")
        segment.add([(b"%d" % number, ())])
        segment.acknowledge() if number < 2 else segment.close()
        if number < 2:
            spool.new_file("epoch").acknowledge()  # the disk took the file but no item
    left = spool.earlier_files()
    assert readable(left) == [3]
    assert spool.gaps(left) == []
    spool.forget_session()
    assert [path.name for path in spool.folder.iterdir()] == ["about.txt"]


def test_sessions_are_distinguished_and_ordered(spool):
    """Each session numbers its items from 1, and a later one comes after an earlier one."""
    later = Spool("a store", "a search")
    segment = later.new_file("epoch")
    segment.add([(b"later", ())])
    segment.close()
    left = spool.earlier_files()
    assert [(file.session, number) for file in left for number, _ in file.numbered] == [
        *((1, number) for number in range(1, 10)),
        (2, 1),
    ]
    assert spool.gaps(left) == []


@settings(max_examples=200, deadline=None)
@given(at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_flipped_bit_is_detected(spool_file, at, bit):
    """After a flipped bit each entry is read as it was written or not at all."""
    path, whole = spool_file
    content = bytearray(whole)
    content[at % len(content)] ^= 1 << bit
    path.write_bytes(content)
    left = read_spool_file(path)
    for number, (spooled_item, beside) in left.numbered:
        assert (spooled_item, beside) == (b"item %d" % number, (b"beside %d" % number,))
    assert left.damage or len(left.numbered) < 3


@settings(max_examples=100, deadline=None)
@given(length=st.integers(0, 10_000))
def test_a_truncated_file_is_read_up_to_its_end(spool_file, length):
    """A truncated file is what a kill leaves: its whole entries are read, without damage."""
    path, whole = spool_file
    path.write_bytes(whole[: length % len(whole)])
    left = read_spool_file(path)
    assert not left.damage
    assert [number for number, _ in left.numbered] == [1, 2, 3][: len(left.numbered)]


@pytest.fixture(scope="module")
def spool_file(tmp_path_factory) -> tuple[Path, bytes]:
    """A spool file of three items with an attachment each, and its content."""
    folder = tmp_path_factory.mktemp("spool")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder))
        segment = Spool("a store", "a search").new_file("epoch")
        segment.add([(b"item %d" % n, (b"beside %d" % n,)) for n in (1, 2, 3)])
        segment.close()
    return segment.path, segment.path.read_bytes()


def test_a_damaged_file_is_kept_and_named(store, machine):
    """A damaged file is kept and named once, and its readable entries are recorded.

    It never overwrites another kept file.
    """
    journal = Journal.open(store, "a search", RULES)
    journal.claim(lambda state: b"", notify=lambda text: None)
    epoch = journal.epoch
    journal.close()
    spool = Spool(store.location, "a search")
    segment = spool.new_file(epoch)
    segment.add([(item("first"), ()), (item("second"), ()), (item("third"), ())])
    segment.close()
    content = segment.path.read_bytes()
    segment.path.write_bytes(content.replace(b"second", b"2econd"))
    shutil.copy(segment.path, segment.path.with_suffix(".kept"))
    items, messages = recovered(store)
    assert items == ["first", "third"]
    first, second = spool.folder.glob("*.kept")
    assert first.read_bytes() == second.read_bytes()
    assert any("is damaged (1 of its entries are damaged)" in text for text in messages)
    assert any("entries 2 of session 1 are missing" in text for text in messages)
    assert any(str(first) in text or str(second) in text for text in messages)
    assert recovered(store) == (items, []), "the message comes once"
