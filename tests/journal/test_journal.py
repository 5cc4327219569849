"""A journal keeps what was acknowledged, tells who owns it, and never guesses."""

import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from colab_drive_tuner.errors import (
    AccountMismatchError,
    SearchBusyError,
    SearchDamagedError,
    SearchError,
    SearchNameError,
    SearchTakenOverError,
    UsageError,
)
from colab_drive_tuner.journal import Journal
from colab_drive_tuner.journal.spool import Spool
from tests.journal.listing import RULES, Listing, item
from tests.journal.weather import WeatheredStore, append


def records_of(store: WeatheredStore) -> list[Path]:
    """The files of the chain, in order."""
    return sorted(Path(store.url(store.root)).glob("a search/records/record-*"))


def test_what_was_acknowledged_is_read_by_a_fresh_reader(store, open_journal):
    """Items come back in the order in which they were appended."""
    append(open_journal(store), *range(50))
    assert open_journal(store, claim=False).state.items == list(range(50))


def test_opening_writes_nothing(store, open_journal):
    """A search that does not exist is not made by looking for it."""
    journal = open_journal(store, claim=False)
    assert not journal.exists
    assert journal.folder is None
    assert not list(Path(store.url(store.root)).glob("*search*"))


def test_a_released_search_is_claimed_at_once(store, open_journal):
    """After a clean end the next session finds a released search."""
    first = open_journal(store)
    append(first, 1)
    first.close()
    second = open_journal(store, claim=False)
    assert second.holder() is None
    assert second.claim(lambda state: b"").reason == "released"


def test_a_clean_end_writes_the_convenience_copy(store, open_journal):
    """`trials.pkl` holds the exported state after a close."""
    journal = open_journal(store)
    append(journal, "a", "b")
    journal.close()
    assert (Path(store.url(store.root)) / "a search" / "trials.pkl").read_text() == '["a", "b"]'


def test_the_same_kernel_takes_over_from_itself(store, open_journal):
    """A cell that is run again claims anew; the journal of its first run writes no more."""
    first = open_journal(store)
    append(first, 1)
    second = open_journal(store)
    append(second, 2)
    with pytest.raises(SearchError, match="not claimed"):
        first.append(item(3))
    assert second.state.items == [1, 2]


def test_a_rival_that_takes_over_is_noticed_at_the_next_write(store, open_journal, machine):
    """The loser stops with an error that names where its unrecorded items are."""
    loser = open_journal(store)
    append(loser, 1)
    machine("second")
    winner = open_journal(store, on_busy="takeover")
    append(winner, 2)
    machine("first")
    loser.append(item("unrecorded"), end=True)
    assert not loser.flush(timeout=20)
    with pytest.raises(SearchTakenOverError, match="kept in") as error:
        loser.raise_if_lost()
    assert str(Spool(store.location, "a search").folder) in str(error.value)
    with pytest.raises(SearchTakenOverError):
        loser.append(item("too late"), end=True)
    loser.close()
    winner.close()
    again = open_journal(store)
    assert again.state.items == [1, 2, "unrecorded", "too late"]


def test_a_fresh_lease_is_respected(store, open_journal, machine):
    """Held elsewhere: refused where asked for, waited for otherwise, and then taken."""
    append(open_journal(store), 1)
    machine("second")
    with pytest.raises(SearchBusyError, match="last seen"):
        open_journal(store, on_busy="error")
    said: list[str] = []
    waiting = Journal.open(store, "a search", RULES, sleep=lambda seconds: None)
    with pytest.raises(SearchBusyError):  # no time passes in the store: it goes on beating
        waiting.claim(lambda state: b"", notify=said.append)
    assert len(said) == 1
    assert "Waiting" in said[0]
    store.later = 91.0
    assert waiting.claim(lambda state: b"").reason == "stale"
    waiting.close()


def test_waiting_ends_when_the_lease_does(store, open_journal, machine):
    """The watcher goes on by itself once the holder has been silent for long enough."""
    append(open_journal(store), 1)
    machine("second")

    def sleep(seconds: float) -> None:
        store.later += seconds

    waiting = Journal.open(store, "a search", RULES, sleep=sleep)
    claim = waiting.claim(lambda state: b"", notify=lambda text: None)
    assert claim.reason == "stale"
    assert 0 < claim.careful <= 95
    waiting.close()


def test_another_account_is_refused_before_anything_is_written(store, open_journal, machine):
    """Reserved ids work for one account only, so a second one may not go on."""
    open_journal(store).close()
    before = records_of(store)
    store.owner = "someone@else"
    with pytest.raises(AccountMismatchError, match="someone@else"):
        open_journal(store)
    assert records_of(store) == before


@pytest.mark.parametrize("name", ["", " ", "a/b", "a\nb", "x" * 121, "ü" * 61, "..", ".hidden"])
def test_impossible_names_are_refused(store, name):
    """A name that a folder could not bear is refused by name."""
    with pytest.raises(SearchNameError, match="search name"):
        Journal.open(store, name, RULES)


@pytest.mark.parametrize("name", ["quotes ' \"", "emoji 🚀", "back\\slash", "ü" * 60, "a%2Fb"])
def test_unusual_names_are_fine(store, name, machine):
    """Quotes, emoji, backslashes and percent signs make a search's name."""
    journal = Journal.open(store, name, RULES)
    journal.claim(lambda state: b"")
    append(journal, name)
    journal.close()
    assert Journal.open(store, name, RULES).state.items == [name]


def test_an_unknown_on_busy_is_refused(store, open_journal):
    """The error names the choices."""
    with pytest.raises(UsageError, match="'wait', 'takeover', 'error'"):
        open_journal(store, on_busy="force")


def test_a_lost_answer_is_no_rival(store, open_journal):
    """409 to the same bytes is success: nothing is written twice, nothing is lost."""
    open_journal(store).close()
    store.lose_answers = 1
    journal = open_journal(store)
    store.lose_answers = 1
    append(journal, 1, 2)
    append(journal, 3)
    assert open_journal(store, claim=False).state.items == [1, 2, 3]


def test_an_outage_is_made_good_when_the_store_returns(store, open_journal):
    """While the store is away items gather, and none is missing afterwards."""
    journal = open_journal(store)
    store.away = True
    for value in range(20):
        journal.append(item(value), end=True)
    assert not journal.flush(timeout=0.5)
    assert journal.counts().offline_since is not None
    assert journal.counts().pending == 20
    store.away = False
    assert journal.flush(timeout=20)
    assert journal.counts().offline_since is None
    assert open_journal(store, claim=False).state.items == list(range(20))


def test_a_run_that_ends_in_an_outage_says_what_is_pending(store, open_journal):
    """Closing without a store names the count and the file; the next run records it."""
    said: list[str] = []
    journal = Journal.open(store, "a search", RULES)
    journal.claim(lambda state: b"", notify=said.append)
    store.away = True
    journal.append(item("kept"), end=True)
    journal.close(timeout=0.5)
    assert "1 entries are not acknowledged" in said[-1]
    assert ".spool" in said[-1]
    store.away = False
    again = open_journal(store, claim=False)
    assert again.claim(lambda state: b"").recovered == 1
    assert again.state.items == ["kept"]
    again.close()


def test_values_beside_an_item_get_files_of_their_own(store, open_journal):
    """Their ids stand in the record by sha256, also where an outage came between."""
    journal = open_journal(store)
    store.away = True
    values = [b"a" * 1000, b"b" * 1000]
    journal.append(item("with values"), end=True, beside=values)
    journal.close(timeout=0.5)
    store.away = False
    seen = {}
    rules = replace(RULES, empty=lambda: Listing(files=seen))
    again = Journal.open(store, "a search", rules)
    assert again.claim(lambda state: b"").recovered == 1
    assert again.state.items == ["with values"]
    assert [store.read(seen[sha256(value).hexdigest()]) for value in values] == values
    again.close()


def test_long_chains_are_read_from_a_snapshot(store, open_journal):
    """A snapshot and the records behind it tell the same as all the records."""
    journal = open_journal(store)
    for value in range(110):
        append(journal, value)
    journal.close()
    reader = open_journal(store, claim=False)
    assert store.list(store.root)[0].properties["cdt_hint"]
    assert reader.state.items == list(range(110))
    store.mark(reader.folder, {"cdt_hint": "gone"})
    assert open_journal(store, claim=False).state.items == list(range(110))


def test_a_damaged_snapshot_is_passed_over(store, open_journal):
    """The records are the truth: a snapshot that was altered changes nothing."""
    journal = open_journal(store)
    for value in range(40):
        append(journal, value)
    journal.close()
    (snapshot,) = Path(store.url(store.root)).glob("a search/records/snapshot-*")
    content = bytearray(snapshot.read_bytes())
    content[-10] ^= 1
    snapshot.write_bytes(content)
    assert open_journal(store, claim=False).state.items == list(range(40))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda path: path.write_bytes(b""), "not a file of ours"),
        (lambda path: path.write_bytes(path.read_bytes()[:-3]), "checksum"),
        (lambda path: path.write_bytes(path.read_bytes().replace(b"three", b"eerht")), "checksum"),
        (lambda path: path.unlink(), "missing although later ones exist"),
    ],
    ids=["emptied", "cut", "altered", "deleted"],
)
def test_damage_is_named_and_never_bridged(store, open_journal, damage, says):
    """A record that is not what was written stops the reader, which says which one it is."""
    journal = open_journal(store)
    for value in ("one", "two", "three", "four"):
        append(journal, value)
    journal.close()
    damage(records_of(store)[3])
    with pytest.raises(SearchDamagedError, match=f"Record 3 of search 'a search'.*{says}"):
        open_journal(store, claim=False)


def test_a_reset_begins_a_new_history(store, open_journal):
    """The items before it are archived in the chain, and spooled items of then stay out."""
    journal = open_journal(store)
    append(journal, 1)
    journal.reset(b"")
    assert journal.state.items == []
    append(journal, 2)
    assert open_journal(store, claim=False).state.items == [2]


def test_results_of_another_history_are_kept_and_named(store, open_journal):
    """A spooled item from before a reset is not added to what came after it."""
    journal = open_journal(store)
    store.away = True
    journal.append(item("old"), end=True)
    journal.close(timeout=0.5)
    store.away = False
    # Hide the spool while another session restarts the search.
    hidden = Path(os.environ["XDG_STATE_HOME"], "hidden")
    Spool(store.location, "a search").folder.rename(hidden)
    other = open_journal(store, on_busy="takeover")
    other.reset(b"")
    append(other, "new")
    other.close()
    folder = Spool(store.location, "a search").folder
    (left,) = hidden.glob("*.spool")
    left.rename(folder / left.name)
    said: list[str] = []
    last = Journal.open(store, "a search", RULES)
    last.claim(lambda state: b"", notify=said.append)
    assert last.state.items == ["new"]
    assert "another history" in said[0]
    assert ".kept" in said[0]
    last.close()


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
    """A child process that inherited the journal is refused, and the chain is untouched."""
    journal = open_journal(store)
    append(journal, 1)

    def write() -> int:
        with pytest.raises(SearchError, match="fork"):
            journal.append(item("from the fork"))
        return 0

    assert in_a_fork(write) == 0
    append(journal, 2)
    assert open_journal(store, claim=False).state.items == [1, 2]


def test_a_fork_takes_nothing_from_its_parent(store, open_journal):
    """Closing what it inherited does nothing, and claiming is refused: the parent is alive."""
    journal = open_journal(store)

    def claim() -> int:
        journal.close()
        with pytest.raises(SearchBusyError, match="live process of this machine"):
            Journal.open(store, "a search", RULES).claim(lambda state: b"")
        return 0

    assert in_a_fork(claim) == 0
    append(journal, 1)
    journal.close()
    assert open_journal(store, claim=False).holder() is None


CHILD = textwrap.dedent("""
    import sys, time
    sys.path.insert(0, {root!r})
    from tests.journal.listing import RULES, item
    from colab_drive_tuner.journal import Journal
    from colab_drive_tuner.store.folder import FolderStore
    journal = Journal.open(FolderStore({store!r}), "a search", RULES)
    claim = journal.claim(lambda state: b"")
    print("claimed", claim.reason, flush=True)
    value = len(journal.state.items)
    while True:
        journal.note_running(value)
        journal.append(item(value), end=True)
        value += 1
        if value % 5 == 0:
            journal.flush()
            print("acknowledged", value, flush=True)
        time.sleep(0.001)
""")


@pytest.fixture
def start_child(store, machine):
    """Start a process that appends for ever; all are killed at the end."""
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


def test_a_live_process_of_this_machine_is_never_overtaken(store, open_journal, start_child):
    """It is refused at once, whatever `on_busy` says."""
    child = start_child()
    child.stdout.readline()
    with pytest.raises(SearchBusyError, match="live process of this machine"):
        open_journal(store, on_busy="takeover")


def test_kills_lose_nothing_acknowledged(store, open_journal, start_child):
    """After each SIGKILL the next session goes on at once, with every acknowledged item."""
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
