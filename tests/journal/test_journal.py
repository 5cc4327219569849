"""The journal: acknowledged records are kept, ownership is exact, ambiguity is an error."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from colab_drive_tuner.errors import (
    AccountMismatchError,
    SearchBusyError,
    SearchError,
    SearchNameError,
    SearchTakenOverError,
)
from colab_drive_tuner.journal import Journal, maintenance
from colab_drive_tuner.journal.spool.spool import Spool
from colab_drive_tuner.store.protocol import Entry
from tests.journal.faulty_store import FaultyStore, append_acknowledged, record_files
from tests.journal.list_state import RULES, ListState, item
from tests.processes import wait_until


def test_what_was_acknowledged_is_read_by_a_fresh_reader(store, open_journal):
    """A new reader finds acknowledged items in the order in which they were appended."""
    append_acknowledged(open_journal(store), *range(50))
    assert open_journal(store, claim=False).state.items == list(range(50))


def test_opening_writes_nothing(store, open_journal):
    """Opening a search that does not exist does not create it."""
    journal = open_journal(store, claim=False)
    assert not journal.exists
    assert journal.folder is None
    assert not list(Path(store.url(store.root)).glob("*search*"))


def test_a_released_search_is_claimed_at_once(store, open_journal):
    """After a clean end the next session claims the released search."""
    first = open_journal(store)
    append_acknowledged(first, 1)
    first.close()
    second = open_journal(store, claim=False)
    assert second.holder() is None
    assert second.claim(lambda state: b"").reason == "released"
    second.close()


@pytest.mark.parametrize("ends_by", ["release", "reset", "takeover", "life"])
def test_a_claim_joins_what_was_recorded_since_it_was_read(store, open_journal, machine, ends_by):
    """The claim is sent without reading again: what others recorded meanwhile comes before it."""
    first = open_journal(store)
    append_acknowledged(first, 1)
    first.close()
    early = open_journal(store, claim=False)
    machine("second")
    other = open_journal(store)
    append_acknowledged(other, 2)
    if ends_by == "reset":
        other.reset(b"")
        append_acknowledged(other, 3)
    if ends_by in ("release", "reset"):
        other.close()
    machine("first")
    if ends_by == "life":
        with pytest.raises(SearchBusyError, match="is held by"):
            early.claim(lambda state: b"", on_busy="error")
        append_acknowledged(other, 4)
        return
    seen = []
    on_busy = "takeover" if ends_by == "takeover" else "error"
    claim = early.claim(
        lambda state: str(seen.append(list(state.items))).encode(),
        on_busy=on_busy,
        notify=lambda text: None,
    )
    append_acknowledged(early, 5)
    expected = [3] if ends_by == "reset" else [1, 2]
    assert seen[-1] == expected, "the claim's content was built from all records before it"
    assert claim.reason == ("takeover" if ends_by == "takeover" else "released")
    early.close()
    assert open_journal(store, claim=False).state.items == [*expected, 5]


class OvertakenStore(FaultyStore):
    """A store in which another thread appends an item while a given record is created."""

    appends = None
    """The name of a record, and a function to call once, before that record is created."""

    def create(self, *args, **options) -> Entry:
        if self.appends is not None and options["name"] == self.appends[0]:
            do, type(self).appends = self.appends[1], None
            do()
        return super().create(*args, **options)


@pytest.mark.parametrize("record", ["record-000001.cdt", "record-000002.cdt"])
@pytest.mark.parametrize("ends_by", ["close", "reset"])
def test_items_appended_during_a_close_or_reset_are_recorded(
    tmp_path, open_journal, monkeypatch, record, ends_by
):
    """An item that another thread appends while a close or reset sends its records is not lost."""
    store = OvertakenStore(tmp_path / "store")
    journal = open_journal(store)
    more = journal._own.writer.append
    monkeypatch.setattr(
        OvertakenStore, "appends", (record, lambda: more(item("late"), durable=True))
    )
    journal.append(item(1), durable=True)
    if ends_by == "reset":
        journal.reset(b"")
        assert journal.flush(200)
        # The reset is the second record, or comes after what was appended before it was sent.
        assert journal.state.items == (["late"] if record == "record-000002.cdt" else [])
        return
    journal.close()
    append_acknowledged(open_journal(store), 2)
    assert open_journal(store, claim=False).state.items == [1, "late", 2]


def test_a_journal_that_created_the_search_claims_it_again(store, open_journal):
    """A journal that created its search can claim it a second time after a close."""
    journal = open_journal(store)
    append_acknowledged(journal, 1)
    journal.close()
    assert journal.claim(lambda state: b"").reason == "released"
    append_acknowledged(journal, 2)
    journal.close()
    assert open_journal(store, claim=False).state.items == [1, 2]


def test_a_clean_end_writes_the_convenience_copy(store, open_journal):
    """`trials.pkl` holds the exported state after a close."""
    journal = open_journal(store)
    append_acknowledged(journal, "a", "b")
    journal.close()
    assert (Path(store.url(store.root)) / "a search" / "trials.pkl").read_text() == '["a", "b"]'


def test_an_unexpected_error_does_not_end_the_maintenance(store, machine, monkeypatch, caplog):
    """A failure of the export is logged; the thread that renews the lease runs on."""
    monkeypatch.setattr(maintenance, "EXPORT_SECONDS", 0.0)
    failures = [MemoryError("no memory for the export")]

    def export(state: ListState) -> bytes:
        if failures:
            raise failures.pop()
        return b"[]"

    journal = Journal.open(store, "a search", replace(RULES, export=export))
    journal.claim(lambda state: b"", notify=lambda text: None)
    append_acknowledged(journal, 1)
    wait_until(lambda: "no memory for the export" in caplog.text)
    assert any(thread.name == "cdt-maintenance" for thread in threading.enumerate())
    journal.close()


def test_the_same_kernel_takes_over_from_itself(store, open_journal):
    """A cell that runs again claims the search; the journal of its first run writes no more."""
    first = open_journal(store)
    append_acknowledged(first, 1)
    second = open_journal(store)
    append_acknowledged(second, 2)
    with pytest.raises(SearchError, match="not open here any more"):
        first.append(item(3))
    assert second.state.items == [1, 2]


def test_a_takeover_is_noticed_at_the_next_write(store, open_journal, machine):
    """The former owner gets an error with the place of its unrecorded items.

    The next session on its machine records them.
    """
    loser = open_journal(store)
    append_acknowledged(loser, 1)
    machine("second")
    winner = open_journal(store, on_busy="takeover")
    append_acknowledged(winner, 2)
    machine("first")
    loser.append(item("unrecorded"), durable=True)
    assert not loser.flush(timeout=200)
    with pytest.raises(SearchTakenOverError, match="kept in") as error:
        loser.raise_if_lost()
    assert str(Spool(store.location, "a search").folder) in str(error.value)
    with pytest.raises(SearchTakenOverError):
        loser.append(item("too late"), durable=True)
    with pytest.raises(SearchTakenOverError, match="kept in"):
        loser.close()
    winner.close()
    again = open_journal(store)
    assert again.state.items == [1, 2, "unrecorded", "too late"]


def test_a_takeover_with_nothing_pending_is_no_error(store, open_journal, machine):
    """A former owner whose items are all in the chain closes without an error."""
    loser = open_journal(store)
    append_acknowledged(loser, 1)
    machine("second")
    winner = open_journal(store, on_busy="takeover")
    machine("first")
    loser.close()
    append_acknowledged(winner, 2)
    winner.close()
    assert open_journal(store).state.items == [1, 2]


def test_a_fresh_lease_is_respected(store, open_journal, machine):
    """A search with a fresh lease is refused or waited for, and taken over once it is stale."""
    append_acknowledged(open_journal(store), 1)
    machine("second")
    with pytest.raises(SearchBusyError, match="last seen"):
        open_journal(store, on_busy="error")
    messages: list[str] = []
    waiting = Journal.open(store, "a search", RULES, sleep=lambda seconds: None)
    with pytest.raises(SearchBusyError):  # the store's clock stands still, so the lease stays fresh
        waiting.claim(lambda state: b"", notify=messages.append)
    assert len(messages) == 1
    assert "Waiting" in messages[0]
    store.later = 91.0
    assert waiting.claim(lambda state: b"").reason == "stale"
    waiting.close()


def test_a_lease_from_the_future_has_expired(store, open_journal, machine):
    """Records of a machine whose clock was an hour fast do not hold the search for an hour."""
    store.later = 3600.0
    append_acknowledged(open_journal(store), 1)
    store.later = 0.0
    machine("second")
    assert "last seen at an unknown time" in str(open_journal(store, claim=False).holder())
    assert open_journal(store, on_busy="error").state.items == [1]


def test_waiting_ends_when_the_lease_expires(store, open_journal, machine):
    """A waiting session claims the search once its owner has been silent for long enough."""
    append_acknowledged(open_journal(store), 1)
    machine("second")

    def sleep(seconds: float) -> None:
        store.later += seconds

    waiting = Journal.open(store, "a search", RULES, sleep=sleep)
    claim = waiting.claim(lambda state: b"", notify=lambda text: None)
    assert claim.reason == "stale"
    assert 0 < claim.careful_seconds <= 95
    waiting.close()


def test_another_account_is_refused_before_anything_is_written(store, open_journal, machine):
    """Reserved ids work for one account only: another one is refused before it writes."""
    open_journal(store).close()
    before = record_files(store)
    store.owner = "someone@else"
    with pytest.raises(AccountMismatchError, match="someone@else"):
        open_journal(store)
    assert record_files(store) == before


@pytest.mark.parametrize("name", ["", " ", "a/b", "a\nb", "x" * 121, "ü" * 61, "..", ".hidden"])
def test_impossible_names_are_refused(store, name):
    """A search name that cannot name a folder is refused."""
    with pytest.raises(SearchNameError, match="search name"):
        Journal.open(store, name, RULES)


def test_a_reset_begins_a_new_history(store, open_journal):
    """After a reset only later items are read."""
    journal = open_journal(store)
    append_acknowledged(journal, 1)
    journal.reset(b"")
    assert journal.state.items == []
    append_acknowledged(journal, 2)
    assert open_journal(store, claim=False).state.items == [2]


def in_a_fork(action) -> int:
    """Run `action` in a forked process; return its exit code."""
    child = os.fork()
    if not child:
        code = 3
        try:
            code = action()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_fork_may_not_write(store, open_journal):
    """A forked child cannot append to the inherited journal, and the chain is unchanged."""
    journal = open_journal(store)
    append_acknowledged(journal, 1)

    def write() -> int:
        with pytest.raises(SearchError, match="fork"):
            journal.append(item("from the fork"))
        return 0

    assert in_a_fork(write) == 0
    append_acknowledged(journal, 2)
    assert open_journal(store, claim=False).state.items == [1, 2]


def test_a_fork_takes_nothing_from_its_parent(store, open_journal):
    """A fork neither closes the inherited journal nor claims the search of its live parent."""
    journal = open_journal(store)

    def claim() -> int:
        journal.close()
        with pytest.raises(SearchBusyError, match="live process of this machine"):
            Journal.open(store, "a search", RULES).claim(lambda state: b"")
        return 0

    assert in_a_fork(claim) == 0
    append_acknowledged(journal, 1)
    journal.close()
    assert open_journal(store, claim=False).holder() is None


CHILD = textwrap.dedent("""
    import sys, time
    sys.path.insert(0, {root!r})
    from tests.journal.list_state import RULES, ListState, item
    from colab_drive_tuner.journal import Journal, maintenance
    from colab_drive_tuner.store.folder import FolderStore
    journal = Journal.open(FolderStore({store!r}), "a search", RULES)
    claim = journal.claim(lambda state: b"")
    print("claimed", claim.reason, flush=True)
    value = len(journal.state.items)
    while True:
        journal.note_running(value)
        journal.append(item(value), durable=True)
        value += 1
        if value % 5 == 0:
            journal.flush()
            print("acknowledged", value, flush=True)
        time.sleep(0.001)
""")


@pytest.fixture
def start_child(store, machine):
    """Start a process that appends items for ever; all are killed at the end."""
    children: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        code = CHILD.format(root=str(Path(__file__).parents[2]), store=store.url(store.root))
        child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        children.append(child)
        return child

    yield start
    for child in children:
        child.kill()
        child.wait()
        child.stdout.close()


@pytest.mark.parametrize("on_busy", ["wait", "takeover"])
def test_a_live_process_of_this_machine_is_never_overtaken(
    store, open_journal, start_child, on_busy
):
    """A claim while a live process of this machine runs the search is refused at once."""
    child = start_child()
    child.stdout.readline()
    words = f"live process of this machine, process {child.pid}: stop it"
    with pytest.raises(SearchBusyError, match=words):
        open_journal(store, on_busy=on_busy)


@pytest.mark.parametrize("on_busy", ["error", "wait", "takeover"])
def test_the_error_tells_another_thread_from_another_process(store, open_journal, on_busy):
    """Of two threads that open one search, the second reads that another thread holds it."""
    errors: list[str] = []

    def second(state: object) -> bytes:
        with pytest.raises(SearchBusyError) as error:
            ThreadPoolExecutor(1).submit(open_journal, store, on_busy=on_busy).result(200)
        errors.append(str(error.value))
        return b""

    journal = open_journal(store, claim=False)
    journal.claim(second, notify=lambda text: None)
    assert "another thread of this process" in errors[0]
    append_acknowledged(journal, 1)
    journal.close()


def test_a_live_process_with_a_lock_of_its_own_is_not_taken_for_dead(
    store, open_journal, monkeypatch
):
    """With duplicate folders each process may hold another lock: the owner counts as alive."""
    open_journal(store)
    monkeypatch.setattr(store, "location", "another location")
    with pytest.raises(SearchBusyError, match="is held by"):
        open_journal(store, on_busy="error")


def test_kills_lose_nothing_acknowledged(store, open_journal, start_child):
    """After each SIGKILL the next session resumes at once with every acknowledged item."""
    acknowledged = 0
    for lines in (1, 2, 5, 9):
        child = start_child()
        for _ in range(lines):
            words = child.stdout.readline().split()
            acknowledged = int(words[1]) if words[0] == "acknowledged" else acknowledged
        child.send_signal(signal.SIGKILL)
        child.wait()
    journal = open_journal(store, claim=False)
    claim = journal.claim(lambda state: b"")
    assert claim.reason == "dead"
    items = journal.state.items
    assert items == list(range(len(items)))
    assert len(items) >= acknowledged > 0
    assert claim.running in {len(items) - 1, len(items), len(items) + 1}
    journal.close()
