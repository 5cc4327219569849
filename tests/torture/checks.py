"""Small demands on a build, each in a second or so: what a rule of the protocol is there for.

Each takes an empty folder and raises where the build breaks the rule. `run_check` runs one of them
in a process of its own, in which a mutant may have been patched in.
"""

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from colab_drive_tuner.checkpoint.codec import encode
from colab_drive_tuner.checkpoint.history import History
from colab_drive_tuner.checkpoint.items import DONE, GIVEN_UP, end_item, start_item
from colab_drive_tuner.errors import SearchDamagedError, SearchError, UnavailableError
from colab_drive_tuner.journal import Journal, upkeep, writer
from colab_drive_tuner.journal.record import freeze
from colab_drive_tuner.search.logbook import rules
from colab_drive_tuner.search.trials import DriveTrials
from colab_drive_tuner.store.folder import FolderStore
from tests.journal.listing import RULES, item
from tests.journal.weather import WeatheredStore, append
from tests.search.searching import SPACE, bowl, in_child, killing, plain, points, stored
from tests.torture.mutants import MUTANTS

CAUGHT = 9
"""The exit status of a check that found its rule broken."""
CHECKS: dict[str, Callable[[Path], None]] = {}


def check(demand: Callable[[Path], None]) -> Callable[[Path], None]:
    """Note a check under its function's name."""
    CHECKS[demand.__name__] = demand
    return demand


def run_check(mutant: str | None, name: str, folder: str) -> None:
    """Run one check, in a build with one rule removed where a mutant is named."""
    output = os.open(Path(folder, "said"), os.O_WRONLY | os.O_CREAT)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.stdout, sys.stderr = (open(n, "w", buffering=1, closefd=False) for n in (1, 2))  # noqa: SIM115
    go_to(Path(folder), "first")
    if mutant is not None:
        MUTANTS[mutant]()
    try:
        CHECKS[name](Path(folder))
    except (AssertionError, pytest.fail.Exception):
        traceback.print_exc()
        os._exit(CAUGHT)
    except BaseException:  # noqa: BLE001 - a check must fail for the reason it names
        traceback.print_exc()
        os._exit(1)
    os._exit(0)  # without a clean close: broken builds may not manage one


def go_to(folder: Path, machine: str) -> None:
    """From here on this process is on another machine."""
    os.environ["XDG_STATE_HOME"] = str(folder / "machines" / machine)


def claimed(store: FolderStore, **options: Any) -> Journal:
    """The journal of a search, claimed."""
    journal = Journal.open(store, "s", RULES, sleep=lambda seconds: None)
    journal.claim(lambda state: b"", notify=lambda text: None, **options)
    return journal


def read(store: FolderStore) -> list[Any]:
    """The items that a stranger reads."""
    items: list[Any] = Journal.open(store, "s", RULES).state.items
    return items


@check
def resumed_equals_plain(folder: Path) -> None:
    """Killed in its fifth trial and resumed: the points of plain fmin."""
    assert in_child(lambda: stored(folder, "rand", 9, killing(bowl, 5))) == -signal.SIGKILL
    assert points(stored(folder, "rand", 9)) == points(plain("rand", 9))


@check
def a_batch_is_inherited_whole(folder: Path) -> None:
    """Killed in the second of three trials of one suggestion."""
    options = {"max_queue_len": 3}
    assert in_child(lambda: stored(folder, "rand", 9, killing(bowl, 2), **options)) < 0
    assert points(stored(folder, "rand", 9, **options)) == points(plain("rand", 9, **options))


@check
def a_lost_answer_is_no_rival(folder: Path) -> None:
    """The same bytes under the id are one's own."""
    store = WeatheredStore(folder / "store")
    journal = claimed(store)
    for value in range(3):
        store.lose_answers = 1
        append(journal, value)
    assert read(store) == [0, 1, 2]


@check
def a_rival_is_noticed(folder: Path) -> None:
    """The loser counts nothing as acknowledged, and keeps what it had."""
    store = WeatheredStore(folder / "store")
    loser = claimed(store)
    append(loser, 1)
    go_to(folder, "second")
    append(claimed(store, on_busy="takeover"), 2)
    go_to(folder, "first")
    loser.append(item(3), durable=True)
    assert not loser.flush(20)
    with pytest.raises(SearchError):
        loser.raise_if_lost()
    assert read(store) == [1, 2]
    assert list((folder / "machines" / "first").rglob("*.spool"))


@check
def a_clone_is_a_rival(folder: Path) -> None:
    """A record of the same session with other bytes is not one's own."""
    store = FolderStore(folder / "store")
    (entry_id,) = store.reserve(1)
    one, other = (
        freeze(pos=0, kind="trials", owner="the same", prev="", payload=item(value))
        for value in (1, 2)
    )
    assert writer.create(store, one, entry_id, store.root)
    assert writer.create(store, one, entry_id, store.root)
    assert not writer.create(store, other, entry_id, store.root)


@check
def one_record_is_in_flight(folder: Path) -> None:
    """The next create begins only after the answer to the one before."""
    flying: list[int] = []
    most: list[int] = []
    lock = threading.Lock()

    class SlowStore(WeatheredStore):
        def create(self, *args: Any, **options: Any) -> Any:
            with lock:
                flying.append(1)
                most.append(len(flying))
            time.sleep(0.05)
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
    assert journal.flush(20)
    time.sleep(0.2)
    assert most
    assert max(most) == 1


@check
def nothing_is_acknowledged_without_an_answer(folder: Path) -> None:
    """With the store away, everything is pending."""
    store = WeatheredStore(folder / "store")
    journal = claimed(store)
    store.away = True
    journal.append(item(1), durable=True)
    assert not journal.flush(0.5)
    assert journal.counts().acknowledged == 0
    store.away = False
    assert journal.flush(20)
    assert read(store) == [1]


@check
def a_gap_is_never_bridged(folder: Path) -> None:
    """A record deleted by hand stops the reader."""
    _damage(folder, lambda path: path.unlink())


@check
def an_altered_record_is_never_read(folder: Path) -> None:
    """A flipped bit stops the reader."""
    _damage(folder, lambda path: path.write_bytes(path.read_bytes().replace(b"two", b"2wo")))


def _damage(folder: Path, damage: Callable[[Path], object]) -> None:
    store = WeatheredStore(folder / "store")
    journal = claimed(store)
    for value in ("one", "two", "three"):
        append(journal, value)
    damage(sorted((folder / "store" / "s" / "records").iterdir())[2])
    with pytest.raises(SearchDamagedError):
        read(store)


@check
def what_was_pending_survives_a_kill(folder: Path) -> None:
    """Ends that the store had not answered are in the next session's chain."""
    store = WeatheredStore(folder / "store")

    def die() -> None:
        journal = claimed(store)
        append(journal, "acknowledged")
        store.away = True
        for value in ("pending", "and more"):
            journal.append(item(value), durable=True)
        journal.flush(0.8)
        os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(die) == -signal.SIGKILL
    claimed(store)
    assert sorted(read(store)) == ["acknowledged", "and more", "pending"]


@check
def a_real_end_supersedes_a_give_up(folder: Path) -> None:
    """It is wanted from the spool, and holds from then on."""
    history, late = _with_end(GIVEN_UP)
    assert rules().wanted(history, late)
    history._take(_item(late), "somebody")
    assert history.trials[0].end == DONE


@check
def a_trial_ends_once(folder: Path) -> None:
    """A second end from a spool is not wanted, and would not count."""
    history, late = _with_end(DONE)
    assert not rules().wanted(history, late)
    history._take(_item(late), "somebody")
    assert history.trials[0].loss == 1.0


def _with_end(how: str) -> tuple[History, bytes]:
    document = {"tid": 0, "state": 2, "misc": {"vals": {"x": [0.5]}}, "result": {}}
    history, encoded = History(), encode(document)
    history._take(_item(start_item(encoded, 0, k=0, next_tid=1)), "first")
    loss = 1.0 if how == DONE else None
    history._take(_item(end_item(encoded, 0, k=0, how=how, loss=loss)), "second")
    assert history.trials[0].end == how
    return history, end_item(encoded, 0, k=0, how=DONE, loss=2.0)


def _item(content: bytes) -> Any:
    from colab_drive_tuner.checkpoint.items import read_items

    (found,) = read_items(content, "an item")
    return found


@check
def snapshots_hold_acknowledged_records(folder: Path) -> None:
    """What is on its way when a snapshot is taken is not in it."""

    class RecordsAway(WeatheredStore):
        refuse = False

        def create(self, *args: Any, **options: Any) -> Any:
            if self.refuse and options["name"].startswith("record"):
                raise UnavailableError("Records are not taken.")
            return super().create(*args, **options)

    store = RecordsAway(folder / "store")
    journal = claimed(store)
    append(journal, 1)
    store.refuse = True
    journal.append(item("on its way"), durable=True)
    journal.flush(0.3)
    assert journal._own is not None
    journal._own.upkeep._snapshot()
    assert read(store) == [1]


@check
def ids_never_run_out(folder: Path) -> None:
    """With blocks of two ids, ten records find their place."""
    for module in (writer, sys.modules["colab_drive_tuner.journal.opening"]):
        module.ID_BLOCK = 2  # type: ignore[attr-defined]
    writer.ID_RESERVE = 1
    upkeep.SNAPSHOT_RECORDS = 1000
    store = WeatheredStore(folder / "store")
    journal = claimed(store)
    append(journal, *range(10))
    for value in range(10, 20):
        append(journal, value)
    assert read(store) == list(range(20))


@check
def a_poison_trial_is_given_up(folder: Path) -> None:
    """After two deaths, or three."""

    def poison(point: Any) -> float:
        if len(trials[-1]._dynamic_trials) == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return bowl(point)

    trials: list[DriveTrials] = []

    def session() -> None:
        trials.append(_trials(folder, 2))
        trials[-1].fmin(poison, SPACE, max_evals=5, **_FMIN)

    deaths = 0
    while in_child(session) == -signal.SIGKILL:
        deaths += 1
        assert deaths <= 3
    entries = _trials(folder, 2).log.history.trials
    assert [entry.end for entry in entries.values()] == [DONE, DONE, GIVEN_UP, DONE, DONE]


@check
def a_stop_is_no_death(folder: Path) -> None:
    """Stopped four times in the same trial, with two attempts: it still gets its turn."""

    def stopped(point: Any) -> float:
        raise KeyboardInterrupt

    for _ in range(4):
        with pytest.raises(KeyboardInterrupt):
            _trials(folder, 2).fmin(stopped, SPACE, max_evals=4, **_FMIN)
    trials = _trials(folder, 2)
    trials.fmin(bowl, SPACE, max_evals=4, **_FMIN)
    assert [entry.end for entry in trials.log.history.trials.values()] == [DONE] * 4


@check
def a_fork_may_not_write(folder: Path) -> None:
    """Neither to the journal nor to the trials."""
    store = WeatheredStore(folder / "store")
    journal = claimed(store)

    def write() -> None:
        with pytest.raises(SearchError):
            journal.append(item(1))

    assert in_child(write) == 0


_FMIN: dict[str, Any] = {"show_progressbar": False, "return_argmin": False}


def _trials(folder: Path, attempts: int) -> DriveTrials:
    return DriveTrials("s", store=folder, max_attempts=attempts, notify=lambda text: None)
