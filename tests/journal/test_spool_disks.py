"""Spool files on disks that fail, fill up, corrupt data or lose power."""

import os
import shutil
import signal
import time
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
from tests.search.sample_searches import run_in_fork

VALUES = [f"value {number}" for number in range(6)]
ACTS = 17
"""Opening, header, item and flush of the first file; four items and flushes; and some to spare."""


def spool_and_die(store: FaultyStore, *, wait: bool, fails) -> None:
    """Claim, let the store go away, spool the values one by one on a disk that fails, and die."""
    writer.SPOOL_AGAIN_SECONDS = 0.02
    writer.PAIR_SECONDS = 0.0
    journal = Journal.open(store, "a search", RULES)
    said: list[str] = []
    journal.claim(lambda state: b"", notify=said.append)
    own = journal._own
    store.away = True
    with pytest.MonkeyPatch.context() as patch:
        FailingDisk(patch, fails)
        for value in VALUES:
            journal.append(item(value), durable=True)
            wait_until(lambda: not own.writer._appended)
        wait_until(lambda: not wait or spooled(own.spool) == VALUES)
    os.kill(os.getpid(), signal.SIGKILL)


def spooled(spool: Spool) -> list[str]:
    """The values that a later session would find, each once."""
    found = [content for left in spool.leftovers() for content, _ in left.items]
    return [value for value in VALUES if item(value) in found]


def recovered(store: FaultyStore) -> tuple[list[str], list[str]]:
    """What the next session records, and what it says."""
    said: list[str] = []
    journal = Journal.open(store, "a search", RULES)
    journal.claim(lambda state: b"", notify=said.append)
    items = list(journal.state.items)
    journal.close()
    return items, said


def wait_until(holds) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize("act", range(1, ACTS))
def test_a_disk_that_fails_once_loses_nothing(store, machine, act):
    """Whichever act it is: what it did not take is taken first, at the next chance."""
    died = run_in_fork(lambda: spool_and_die(store, wait=True, fails=lambda now: now == act))
    assert died == -signal.SIGKILL
    assert recovered(store) == (VALUES, [])


@pytest.mark.parametrize("act", range(1, ACTS, 3))
def test_a_disk_that_stays_full_leaves_no_hole(store, machine, act):
    """What the next session finds are the first results, up to some; it misses none of them."""
    died = run_in_fork(lambda: spool_and_die(store, wait=False, fails=lambda now: now >= act))
    assert died == -signal.SIGKILL
    items, said = recovered(store)
    assert items == VALUES[: len(items)]
    assert said == []


@pytest.mark.parametrize("acts", [{3, 4}, {4, 5, 6}, {6, 7}, {3, 8, 9}, {1, 3, 5, 7, 9}])
def test_a_disk_that_fails_while_it_recovers_loses_nothing(store, machine, acts):
    """Also where a file cannot even be cut to what was whole."""
    died = run_in_fork(lambda: spool_and_die(store, wait=True, fails=acts.__contains__))
    assert died == -signal.SIGKILL
    assert recovered(store) == (VALUES, [])


def test_what_the_store_took_meanwhile_is_not_missed(store, machine, monkeypatch):
    """An item that was recorded and never spooled is no hole between those that were."""
    monkeypatch.setattr(writer, "SPOOL_AGAIN_SECONDS", 60.0)

    def die() -> None:
        journal = Journal.open(store, "a search", RULES)
        journal.claim(lambda state: b"", notify=lambda text: None)
        journal.append(item(VALUES[0]), durable=True)
        assert journal.flush(20)
        with pytest.MonkeyPatch.context() as patch:
            FailingDisk(patch, lambda now: True)
            journal.append(item(VALUES[1]), durable=True)
            assert journal.flush(20)
        store.away = True
        journal.append(item(VALUES[2]), durable=True)
        wait_until(lambda: spooled(journal._own.spool) == [VALUES[2]])
        os.kill(os.getpid(), signal.SIGKILL)

    assert run_in_fork(die) == -signal.SIGKILL
    assert recovered(store) == (VALUES[:3], [])


def test_what_is_acknowledged_as_spooled_survives_a_power_cut(tmp_path, monkeypatch):
    """Whenever something is sent, a power cut would leave it, and what was spooled before it."""
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
        assert journal.flush(20)
        journal.raise_if_lost()
    assert len(cuts) == 3
    journal.close()


def test_the_place_of_a_search_survives_a_power_cut(tmp_path, monkeypatch):
    """The next session here knows in which folder the search lay."""
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
    """Unless nothing comes after it: then it is as if it had never been."""
    spool.leftovers()[which].path.unlink()
    assert spool.gaps(spool.leftovers()) == gaps


def test_what_was_acknowledged_is_no_gap(machine):
    """The file that was put away last says with which item the others begin."""
    spool = Spool("a store", "a search")
    for number in range(3):
        segment = spool.new_file("epoch")
        segment.add([(b"%d" % number, ())])
        segment.acknowledge() if number < 2 else segment.close()
        if number < 2:
            spool.new_file("epoch").acknowledge()  # of a disk that took the file and no item
    left = spool.leftovers()
    assert readable(left) == [3]
    assert spool.gaps(left) == []
    spool.forget_session()
    assert [path.name for path in spool.folder.iterdir()] == ["about.txt"]


def test_sessions_are_told_apart_and_kept_in_order(spool):
    """Each numbers its items anew, and a later one comes after an earlier one."""
    later = Spool("a store", "a search")
    segment = later.new_file("epoch")
    segment.add([(b"later", ())])
    segment.close()
    left = spool.leftovers()
    assert [(file.session, number) for file in left for number, _ in file.numbered] == [
        *((1, number) for number in range(1, 10)),
        (2, 1),
    ]
    assert spool.gaps(left) == []


@settings(max_examples=200, deadline=None)
@given(at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_no_flipped_bit_is_believed(spool_file, at, bit):
    """What is read is what was written; the rest is missing or damaged, never another thing."""
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
def test_a_torn_file_is_read_up_to_where_it_was_torn(spool_file, length):
    """That is what a kill leaves, and no damage."""
    path, whole = spool_file
    path.write_bytes(whole[: length % len(whole)])
    left = read_spool_file(path)
    assert not left.damage
    assert [number for number, _ in left.numbered] == [1, 2, 3][: len(left.numbered)]


@pytest.fixture(scope="module")
def spool_file(tmp_path_factory) -> tuple[Path, bytes]:
    """A file of three items with a value each, and its content."""
    folder = tmp_path_factory.mktemp("spool")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder))
        segment = Spool("a store", "a search").new_file("epoch")
        segment.add([(b"item %d" % n, (b"beside %d" % n,)) for n in (1, 2, 3)])
        segment.close()
    return segment.path, segment.path.read_bytes()


def test_a_damaged_file_is_kept_and_named(store, machine):
    """With what can be read of it recorded; it is never overwritten by another one that is kept."""
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
    items, said = recovered(store)
    assert items == ["first", "third"]
    first, second = spool.folder.glob("*.kept")
    assert first.read_bytes() == second.read_bytes()
    assert any("is damaged (1 of its entries are damaged)" in text for text in said)
    assert any("entries 2 of session 1 are missing" in text for text in said)
    assert any(str(first) in text or str(second) in text for text in said)
    assert recovered(store) == (items, []), "it is said once"
