"""Reading a chain: snapshots as shortcuts, and errors for damaged records."""

import itertools
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from colab_drive_tuner.errors import SearchDamagedError, UnavailableError
from colab_drive_tuner.journal import Journal, maintenance
from colab_drive_tuner.journal.chain import chain
from colab_drive_tuner.journal.chain.chain import decode_snapshot, old_snapshots, save_snapshot
from colab_drive_tuner.journal.chain.record import decode_record
from colab_drive_tuner.journal.maintenance import SNAPSHOT_RECORDS
from colab_drive_tuner.store.protocol import Entry
from tests.file_damage import flip, put_pipe
from tests.journal.faulty_store import append_acknowledged, record_files
from tests.journal.list_state import RULES, item
from tests.processes import wait_until
from tests.search.sample_searches import run_in_fork


def is_snapshot(entry: Entry) -> bool:
    """Whether an entry has the name of a snapshot."""
    return entry.name.startswith("snapshot-")


def test_long_chains_are_read_from_a_snapshot(store, open_journal):
    """A snapshot and the records after it give the same state as all records."""
    journal = open_journal(store)
    for value in range(110):
        append_acknowledged(journal, value)
    journal.close()
    reader = open_journal(store, claim=False)
    assert store.list(store.root)[0].properties["cdt_hint"]
    assert reader.state.items == list(range(110))
    store.set_properties(reader.folder, {"cdt_hint": "gone"})
    assert open_journal(store, claim=False).state.items == list(range(110))


def test_many_short_sessions_are_read_from_a_snapshot(store, open_journal):
    """Sessions too short for a snapshot of their own do not make a reader read all of them."""
    for value in range(24):
        journal = open_journal(store)
        append_acknowledged(journal, value)
        journal.close()
    (folder,) = store.list(store.root)
    snapshot, what = store.read(folder.properties["cdt_hint"]), "The snapshot"
    covered, _ = decode_snapshot(snapshot, what, RULES.load)
    reader = open_journal(store, claim=False)
    assert reader.state.items == list(range(24))
    assert reader._reader.head.pos - covered.pos < SNAPSHOT_RECORDS // 2


def test_old_snapshots_take_no_space_in_the_trash(store, open_journal):
    """Each is as large as the search so far: together they grow with its square."""
    journal = open_journal(store)
    for value in range(5):
        append_acknowledged(journal, value)
        journal._own.maintenance._snapshot()
    kept = [entry for entry in store.list(journal._reader.folder.records) if is_snapshot(entry)]
    assert len(kept) == 2
    trashed = store.list_trash(journal._reader.folder.records)
    assert [entry.size for entry in trashed if is_snapshot(entry)] == [0, 0, 0]


def test_a_session_discards_the_snapshots_that_killed_ones_left(store, open_journal, monkeypatch):
    """Each killed session leaves one; a file that is no snapshot stays, whatever its name."""
    monkeypatch.setattr(maintenance, "TIDY_SECONDS", 0.0)
    journal = open_journal(store)
    folder = journal._reader.folder
    (theirs,) = store.reserve(1)
    store.create(theirs, b"my notes", name="snapshot-000000.cdt", parent=folder.records)
    for value in range(5):
        append_acknowledged(journal, value)
        save_snapshot(store, folder, journal._reader.head, journal.state.dump())
    journal.close()
    journal = open_journal(store)
    wait_until(lambda: len([e for e in store.list(folder.records) if is_snapshot(e)]) <= 3)
    assert theirs in {entry.id for entry in store.list(folder.records)}
    journal.close()
    assert open_journal(store, claim=False).state.items == list(range(5))


def test_old_snapshots_are_discarded_one_by_one(store, open_journal, monkeypatch):
    """The same thread renews the lease, and dozens of snapshots may take minutes on Drive."""
    journal = open_journal(store)
    folder = journal._reader.folder
    for value in range(5):
        append_acknowledged(journal, value)
        save_snapshot(store, folder, journal._reader.head, journal.state.dump())
    journal.close()
    tidying = open_journal(store)._own.maintenance
    tidying.stop(60)
    monkeypatch.setattr(maintenance, "TIDY_SECONDS", 0.0)
    for left in (4, 3, 2, 2):
        tidying._tick()
        assert len(list(filter(is_snapshot, store.list(folder.records)))) == left


def test_snapshots_are_old_by_their_position(store, open_journal):
    """From a million records on, their names are not in the order of their positions."""
    reader = open_journal(store)._reader
    saved = [
        save_snapshot(store, reader.folder, replace(reader.head, pos=pos), b"[]")
        for pos in (1_000_000, 999_999, 1_000_001, 999_998)
    ]
    assert list(old_snapshots(store, reader.folder)) == [saved[3], saved[1]]


def test_a_hint_that_names_a_record_is_not_discarded(store, open_journal):
    """Anybody who can write to the folder can set it."""
    journal = open_journal(store)
    for value in range(3):
        append_acknowledged(journal, value)
    folder = journal._reader.folder
    journal.close()
    store.set_properties(folder.id, {"cdt_hint": folder.first})
    journal = open_journal(store)
    for value in range(3, 6):
        append_acknowledged(journal, value)
        journal._own.maintenance._snapshot()
    journal.close()
    store.set_properties(folder.id, {"cdt_hint": ""})
    assert open_journal(store, claim=False).state.items == list(range(6))


def test_a_snapshot_tells_all_that_the_records_tell(store, open_journal):
    """A snapshot gives the same head of the chain, claim and history as the records."""
    journal = open_journal(store)
    append_acknowledged(journal, 1)
    journal.reset(b"")
    for value in range(110):
        append_acknowledged(journal, value)
    journal.close()
    short = open_journal(store, claim=False)
    assert short._reader.found.hint
    store.set_properties(short.folder, {"cdt_hint": ""})
    whole = open_journal(store, claim=False)
    assert short._reader.head == whole._reader.head
    assert (short.epoch, short.account) == (whole.epoch, whole.account)
    records = [decode_record(path.read_bytes(), "it") for path in record_files(store)]
    (reset,) = (one for one in records if one.kind == "reset")
    assert short.epoch == reset.sha


def test_spooled_items_are_replayed_after_reading_a_snapshot(store, open_journal):
    """A session that reads from a snapshot records the items that a killed one spooled."""

    def die() -> None:
        journal = open_journal(store)
        append_acknowledged(journal, 1)
        reader = journal._reader
        save_snapshot(store, reader.folder, reader.head, journal.state.dump())
        store.away = True
        journal.append(item("pending"), durable=True)
        assert journal.flush_to_disk(20)
        os.kill(os.getpid(), signal.SIGKILL)

    assert run_in_fork(die) == -signal.SIGKILL
    journal = open_journal(store)
    assert journal._reader.found.hint
    assert journal.state.items == [1, "pending"]


def assert_gaps_are_seen(store, open_journal, firsts, numbers):
    """Delete so many records from each of these positions on: reading says which is missing."""
    whole = {path: path.read_bytes() for path in record_files(store)}
    for first, missing in itertools.product(firsts, numbers):
        for path in list(whole)[first : first + missing]:
            path.unlink()
        with pytest.raises(SearchDamagedError, match=f"Record {first} .*missing although later"):
            open_journal(store, claim=False)
        for path, content in whole.items():
            path.write_bytes(content)


def test_a_gap_is_seen_between_batches_of_reads(store, open_journal, monkeypatch):
    """Records are read in batches: a gap is an error at the end of one and across a whole one."""
    monkeypatch.setattr(chain, "PARALLEL_READS", 4)
    journal = open_journal(store)
    for value in range(14):
        append_acknowledged(journal, value)
    journal.close()
    assert_gaps_are_seen(store, open_journal, range(1, 9), range(1, 5))


def test_a_large_gap_is_no_end(store, open_journal, monkeypatch):
    """Whoever reads a search after many records in a row were deleted gets no shorter history."""
    monkeypatch.setattr(maintenance, "SNAPSHOT_RECORDS", 1000)
    journal = open_journal(store)
    for value in range(110):
        append_acknowledged(journal, value)
    assert_gaps_are_seen(store, open_journal, (1, 5, 19, 21, 60), (1, 4, 5, 19, 20, 21, 40))


@pytest.mark.parametrize(
    "damage",
    [lambda path: flip(path, 60), lambda path: flip(path, -10), put_pipe],
    ids=["its head", "its state", "a pipe"],
)
def test_a_snapshot_that_cannot_be_read_is_ignored(store, open_journal, damage):
    """The records decide: a damaged or refused snapshot changes nothing."""
    journal = open_journal(store)
    for value in range(40):
        append_acknowledged(journal, value)
    journal.close()
    (snapshot,) = Path(store.url(store.root)).glob("a search/records/snapshot-*")
    damage(snapshot)
    assert open_journal(store, claim=False).state.items == list(range(40))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda path: path.write_bytes(b""), "not a file of colab-drive-tuner"),
        (lambda path: path.write_bytes(path.read_bytes()[:-3]), "checksum"),
        (lambda path: path.write_bytes(path.read_bytes().replace(b"three", b"eerht")), "checksum"),
        (lambda path: path.unlink(), "missing although later ones exist"),
    ],
    ids=["emptied", "cut", "altered", "deleted"],
)
def test_damage_is_named_and_never_skipped(store, open_journal, damage, says):
    """A damaged or missing record stops the reader with an error that names it."""
    journal = open_journal(store)
    for value in ("one", "two", "three", "four"):
        append_acknowledged(journal, value)
    journal.close()
    damage(record_files(store)[3])
    with pytest.raises(SearchDamagedError, match=f"Record 3 of search 'a search'.*{says}") as error:
        open_journal(store, claim=False)
    assert "repair 'a search'" in str(error.value)


def test_a_last_record_that_was_deleted_is_missed_by_the_next_owner(
    store, open_journal, machine, monkeypatch
):
    """The next owner notices a deleted last record by its id, which is still taken.

    Nothing is written in its place.
    """
    monkeypatch.setattr("colab_drive_tuner.journal.chain.chain._READ_PAUSES", (0.0, 0.0))
    journal = open_journal(store)
    append_acknowledged(journal, 1, 2)
    journal.close()
    record_files(store)[-1].unlink()
    with pytest.raises(SearchDamagedError, match=r"^The id of .* deleted permanently.*repair"):
        open_journal(store, on_busy="takeover")


def test_a_record_of_another_search_is_no_part_of_this_one(store, machine):
    """A valid record of another search, copied by hand, does not follow the record before it."""
    for name in ("one", "other"):
        journal = Journal.open(store, name, RULES)
        journal.claim(lambda state: b"")
        append_acknowledged(journal, 1, 2)
        journal.close()
    here, there = (
        Path(store.url(store.root), name, "records", "record-000001.cdt")
        for name in ("one", "other")
    )
    here.write_bytes(there.read_bytes())
    with pytest.raises(SearchDamagedError, match="Record 1 of search 'one' does not follow"):
        Journal.open(store, "one", RULES)


def test_what_a_later_version_wrote_is_not_called_damaged(store, open_journal):
    """A record of a later version is an error that asks for an upgrade, not for a repair."""
    append_acknowledged(open_journal(store), 1)
    path = record_files(store)[1]
    path.write_bytes(b"CDT9" + path.read_bytes()[4:])
    with pytest.raises(SearchDamagedError, match="upgrade colab-drive-tuner") as error:
        open_journal(store, claim=False)
    assert "repair" not in str(error.value)


def test_a_search_may_be_named_upgrade(store, machine):
    """Damage to a search named "upgrade" is reported like that to any other."""
    journal = Journal.open(store, "upgrade", RULES)
    journal.claim(lambda state: b"", notify=lambda text: None)
    append_acknowledged(journal, 1)
    journal.close()
    (path,) = Path(store.url(store.root)).glob("upgrade/records/record-000001*")
    path.write_bytes(b"")
    with pytest.raises(SearchDamagedError, match="repair upgrade"):
        Journal.open(store, "upgrade", RULES)


def test_a_read_that_fails_halfway_counts_no_record_twice(store, open_journal, monkeypatch):
    """The next read goes on from the records that were read before the store fell silent."""
    journal = open_journal(store)
    append_acknowledged(journal, 0)
    reader = open_journal(store, claim=False)
    append_acknowledged(journal, 1, 2)
    with monkeypatch.context() as silent:
        silent.setattr(type(store), "stat", unavailable)
        with pytest.raises(UnavailableError):
            reader.refresh()
    assert reader.state.items == [0]
    reader.refresh()
    assert reader.state.items == [0, 1, 2]


def test_a_snapshot_that_could_not_be_checked_is_checked_again(store, open_journal, monkeypatch):
    """If the store falls silent during the check, the next read does not trust the snapshot."""
    journal = open_journal(store)
    append_acknowledged(journal, 0, 1)
    journal._own.maintenance._snapshot()
    reader = Journal(store, "a search", RULES)
    with monkeypatch.context() as silent:
        silent.setattr(type(reader._reader), "_is_of_this_chain", unavailable)
        with pytest.raises(UnavailableError):
            reader.refresh()
    assert not reader.exists
    reader.refresh()
    assert reader._reader.snapshot_pos > 0
    assert reader.state.items == [0, 1]


def unavailable(*_: object) -> None:
    """Stand in for a request while the store is silent."""
    raise UnavailableError("The store is away.")
