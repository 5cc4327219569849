"""The spool keeps unacknowledged items on this machine and replays them later."""

import errno
import os
import resource
import shutil
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from colab_drive_tuner.errors import QuotaError, SearchBusyError, UnavailableError
from colab_drive_tuner.journal import Journal, outage, writer
from colab_drive_tuner.journal.chain.record import ClaimReason
from colab_drive_tuner.journal.spool.notes import OWNERS, read_owners
from colab_drive_tuner.journal.spool.spool import Spool, has_died
from colab_drive_tuner.journal.spool.spool_file import SpoolFileWriter
from colab_drive_tuner.machine import state_folder
from tests.journal.faulty_store import append_acknowledged
from tests.journal.list_state import RULES, ListState, item
from tests.processes import wait_until


def test_a_lost_answer_is_no_conflict(store, open_journal):
    """A create that finds its own bytes in place has succeeded: nothing is lost or doubled."""
    open_journal(store).close()
    store.lose_answers = 1
    journal = open_journal(store)
    store.lose_answers = 1
    append_acknowledged(journal, 1, 2)
    append_acknowledged(journal, 3)
    assert open_journal(store, claim=False).state.items == [1, 2, 3]


def test_items_of_an_outage_are_recorded_when_the_store_returns(store, open_journal):
    """Items collect while the store is unavailable, and all of them are recorded afterwards."""
    journal = open_journal(store)
    store.away = True
    for value in range(20):
        journal.append(item(value), durable=True)
    assert not journal.flush(timeout=0.5)
    assert journal.trouble is not None
    assert journal.pending == 20
    store.away = False
    assert journal.flush(timeout=200)
    assert journal.trouble is None
    assert open_journal(store, claim=False).state.items == list(range(20))


def test_a_refusal_that_follows_an_outage_is_told(tmp_path, monkeypatch):
    """Each kind of error is told once per outage: the first may be a broken connection."""
    monkeypatch.setattr(outage, "_RETRY_SECONDS", (0.0,))
    monkeypatch.setattr(outage, "_REFUSED_SECONDS", 0.0)
    messages: list[str] = []
    retry = outage.OutageRetry(tmp_path, messages.append)
    errors = [UnavailableError("Away."), QuotaError("Full."), UnavailableError("Away.")]

    def call() -> str:
        if errors:
            raise errors.pop(0)
        return "stored"

    assert retry.until_answered(call) == "stored"
    errors.append(QuotaError("Full again."))
    assert retry.until_answered(call) == "stored"
    begun = [text.split(" Training")[0] for text in messages]
    again = "The store answers again; pending results are being recorded."
    assert begun == ["Away.", "Full.", again, "Full again.", again]


def test_a_notice_that_cannot_be_shown_does_not_end_the_run(store, machine, caplog):
    """If a message cannot be shown, as on a closed pipe, it is logged, and items are recorded."""

    def notify(text: str) -> None:
        raise BrokenPipeError(text)

    journal = Journal.open(store, "a search", RULES)
    journal.claim(lambda state: b"", notify=notify)
    store.away = True
    journal.append(item("kept"), durable=True)
    assert not journal.flush(timeout=0.5)
    store.away = False
    assert journal.flush(timeout=200)
    journal.close()
    assert Journal.open(store, "a search", RULES).state.items == ["kept"]
    assert "The store answers again" in caplog.text


def test_no_pause_is_longer_than_the_longest(store, open_journal, monkeypatch):
    """However much CPU time the writer has used, its pauses end and items are recorded."""
    monkeypatch.setattr(writer, "COLLECTOR_SHARE", 1e-9)
    monkeypatch.setattr(writer, "SENDER_SHARE", 1e-9)
    monkeypatch.setattr(writer, "LONGEST_PAUSE", 0.1)
    journal = open_journal(store)
    for value in range(3):
        journal.append(item(value), durable=True)
        wait_until(lambda: not journal.pending)


def test_a_run_that_ends_in_an_outage_says_what_is_pending(store, open_journal):
    """A close during an outage tells the number and file of pending items.

    The next run records them.
    """
    messages: list[str] = []
    journal = Journal.open(store, "a search", RULES)
    journal.claim(lambda state: b"", notify=messages.append)
    store.away = True
    journal.append(item("kept"), durable=True)
    journal.close(timeout=0.5)
    assert "1 entries are not acknowledged" in messages[-1]
    assert ".spool" in messages[-1]
    store.away = False
    again = open_journal(store, claim=False)
    assert again.claim(lambda state: b"").recovered == 1
    assert again.state.items == ["kept"]
    again.close()


@pytest.mark.parametrize("copied", [False, True])
def test_items_spooled_under_a_former_name_are_recorded(store, open_journal, copied):
    """Items spooled before a rename are recorded, unless the old name's folder still exists.

    Nothing waits for the lease: the lock of the former name shows that its owner is dead.
    """
    journal = open_journal(store)
    store.away = True
    journal.append(item("kept"), durable=True)
    journal.close(timeout=0.5)
    store.away = False
    root = Path(store.url(store.root))
    if copied:
        shutil.copytree(root / "a search", root / "renamed")
    else:
        (root / "a search").rename(root / "renamed")
    renamed = Journal.open(store, "renamed", RULES, sleep=lambda seconds: None)
    claim = renamed.claim(lambda state: b"", on_busy="error", notify=lambda text: None)
    renamed.close()
    assert (claim.reason, claim.running) == (ClaimReason.STALE, None)
    assert (claim.recovered, renamed.state.items) == ((0, []) if copied else (1, ["kept"]))
    spools = (state_folder() / "spool").glob("*/*.spool")
    assert len(list(spools)) == copied
    if copied:
        assert open_journal(store).state.items == ["kept"]


def test_a_search_renamed_under_its_live_owner_is_busy(store, open_journal):
    """Another process waits for the lease, although it has the lock of the new name."""
    open_journal(store)
    (Path(store.url(store.root)) / "a search").rename(Path(store.url(store.root)) / "renamed")
    with pytest.raises(SearchBusyError, match="is held by"):
        Journal.open(store, "renamed", RULES).claim(lambda state: b"", on_busy="error")


def test_a_former_lock_that_cannot_be_taken_tells_nothing(store, open_journal):
    """Then the session waits for the lease: the error would be about another name's lock."""
    journal = open_journal(store)
    lock = journal._own.spool.folder / "lock"
    store.away = True
    journal.append(item("kept"), durable=True)
    journal.close(timeout=0.5)  # without a release
    store.away = False
    (Path(store.url(store.root)) / "a search").rename(Path(store.url(store.root)) / "renamed")
    lock.unlink(missing_ok=True)
    lock.mkdir()
    renamed = Journal.open(store, "renamed", RULES)
    with pytest.raises(SearchBusyError, match="is held by"):
        renamed.claim(lambda state: b"", on_busy="error")
    lock.rmdir()
    renamed.claim(lambda state: b"", on_busy="error", notify=lambda text: None)
    renamed.close()


def test_a_session_noted_under_two_names_is_dead_if_both_locks_are_free(store, open_journal):
    """A note may be a copy: one held lock shows that the session may be alive."""
    spool = open_journal(store)._own.spool
    (owner,) = read_owners(spool.folder / OWNERS)
    Spool(store.location, "another").note_owner(owner)
    assert not has_died(owner)
    spool.release()
    assert has_died(owner)


def test_attachments_get_files_of_their_own(store, open_journal):
    """A record names the files of attachments by sha256, also after an outage."""
    journal = open_journal(store)
    store.away = True
    values = [b"a" * 1000, b"b" * 1000]
    journal.append(item("with values"), durable=True, attachments=values)
    journal.close(timeout=0.5)
    store.away = False
    seen = {}
    rules = replace(RULES, empty=lambda: ListState(files=seen))
    again = Journal.open(store, "a search", rules)
    assert again.claim(lambda state: b"").recovered == 1
    assert again.state.items == ["with values"]
    assert [store.read(seen[sha256(value).hexdigest()]) for value in values] == values
    again.close()


@pytest.mark.parametrize("present", ["new", "old"])
def test_results_of_another_history_are_kept_and_named(store, open_journal, present):
    """An item spooled before a reset is kept in a file that is named, not added to the search.

    So it is if the present history would not want it, as a trial whose number it has by now.
    """
    journal = open_journal(store)
    store.away = True
    journal.append(item("old"), durable=True)
    journal.close(timeout=0.5)
    store.away = False
    # Hide the spool while another session restarts the search.
    hidden = Path(os.environ["XDG_STATE_HOME"], "hidden")
    Spool(store.location, "a search").folder.rename(hidden)
    other = open_journal(store, on_busy="takeover")
    other.reset(b"")
    append_acknowledged(other, present)
    other.close()
    folder = Spool(store.location, "a search").folder
    (left,) = hidden.glob("*.spool")
    left.rename(folder / left.name)
    messages: list[str] = []
    last = Journal.open(store, "a search", RULES)
    last.claim(lambda state: b"", notify=messages.append)
    assert last.state.items == [present]
    assert "another history" in messages[0]
    assert ".kept" in messages[0]
    last.close()


def test_a_full_disk_does_not_stop_recording(store, open_journal, monkeypatch):
    """Items that cannot be spooled are recorded; the failure and its end are reported once."""

    def full(self, items):
        raise OSError(errno.ENOSPC, "No space left on device")

    messages: list[str] = []
    journal = Journal.open(store, "a search", RULES)
    journal.claim(lambda state: b"", notify=messages.append)
    with monkeypatch.context() as patch:
        patch.setattr(SpoolFileWriter, "add", full)
        append_acknowledged(journal, 1)
        append_acknowledged(journal, 2)
    append_acknowledged(journal, 3)
    journal.close()
    assert open_journal(store, claim=False).state.items == [1, 2, 3]
    failed, works_again = messages
    assert "No space left on device" in failed
    assert "lost if this process dies" in failed
    assert works_again.startswith("Unacknowledged results are kept in")


def test_what_fits_on_a_full_disk_can_be_read(store, machine):
    """An entry that does not fit leaves no partial entry in front of later ones."""
    spool = Spool(store.location, "a search")
    segment = spool.new_file("epoch")
    segment.add([(b"first", ())])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            segment.add([(b"fits", ()), (b"x" * 1000, ())])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not segment.usable
    segment = spool.new_file("epoch")
    segment.add([(b"last", (b"beside",))])
    segment.close()
    left = spool.earlier_files()
    assert [leftover.items for leftover in left] == [
        ((b"first", ()),),
        ((b"last", (b"beside",)),),
    ]
    assert spool.gaps(left) == []


@pytest.mark.timeout(300)
def test_a_close_without_ids_and_without_a_store_ends(store, machine, monkeypatch):
    """A close ends at its deadline if the store is away and no id for the release is left."""
    for module in ("writer", "claim_and_takeover"):
        monkeypatch.setattr(f"colab_drive_tuner.journal.{module}.ID_BLOCK", 1)
    monkeypatch.setattr("colab_drive_tuner.journal.writer.ID_RESERVE", 0)
    journal = Journal.open(store, "a search", replace(RULES, export=None))
    journal.claim(lambda state: b"")
    append_acknowledged(journal, 1)
    store.away = True
    journal.close(timeout=0.5)
    store.away = False
    assert Journal.open(store, "a search", RULES).state.items == [1]
