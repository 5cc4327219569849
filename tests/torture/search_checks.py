"""Checks that need whole searches: equality, attempts and the ends of trials."""

import functools
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from colab_drive_tuner.checkpoint.history import History
from colab_drive_tuner.checkpoint.record_items import ItemKind, TrialEnd, pack_item
from colab_drive_tuner.journal.chain.record import Record
from colab_drive_tuner.journal.spool.spool import Spool
from colab_drive_tuner.search.drive_trials import DriveTrials
from colab_drive_tuner.search.trials.logbook import rules
from tests.checkpoint.test_history import document
from tests.journal.faulty_store import FaultyStore
from tests.search.sample_searches import (
    SPACE,
    killing_objective,
    killing_objective_in_outage,
    run_hyperopt,
    run_in_fork,
    run_in_store,
    sample_objective,
    trial_values,
)
from tests.torture.checks import check


@check
def resumed_equals_plain(folder: Path) -> None:
    """A search killed in its fifth trial and resumed has the points of plain fmin."""
    assert (
        run_in_fork(lambda: run_in_store(folder, "rand", 9, killing_objective(sample_objective, 5)))
        == -signal.SIGKILL
    )
    assert trial_values(run_in_store(folder, "rand", 9)) == trial_values(run_hyperopt("rand", 9))


@check
def a_gap_in_the_spool_is_filled(folder: Path) -> None:
    """With results missing from the middle of the spool, the points are those of plain fmin."""
    store = with_hole(folder, 1)
    for most in (10, 13):  # the second run uses what the first one recorded
        assert trial_values(run_in_store(store, "anneal", most)) == trial_values(
            run_hyperopt("anneal", most)
        )


def with_hole(folder: Path, *lost: int) -> FaultyStore:
    """Return the store of a search killed in its ninth trial, with some spooled items lost."""
    store = FaultyStore(folder / "store")
    deadly = killing_objective_in_outage(store, away=4, calls=9)
    assert run_in_fork(lambda: run_in_store(store, "anneal", 10, deadly)) == -signal.SIGKILL
    spool = Spool(store.location, "search")
    left = spool.earlier_files()
    items = [item for leftover in left for item in leftover.items]
    for leftover in left:
        leftover.path.unlink()
    segment = spool.new_file(left[0].epoch)
    segment.add([item for at, item in enumerate(items) if at not in lost])
    segment.close()
    return store


@check
def a_batch_is_inherited_whole(folder: Path) -> None:
    """A search killed in the second of three trials of one suggestion runs all three."""
    options = {"max_queue_len": 3}
    assert (
        run_in_fork(
            lambda: run_in_store(
                folder, "rand", 9, killing_objective(sample_objective, 2), **options
            )
        )
        < 0
    )
    assert trial_values(run_in_store(folder, "rand", 9, **options)) == trial_values(
        run_hyperopt("rand", 9, **options)
    )


@check
def a_real_end_supersedes_a_give_up(folder: Path) -> None:
    """A real end in the spool is wanted after a give-up, and counts from then on."""
    history, late = _with_end(TrialEnd.GIVEN_UP)
    assert rules().wanted(history, late)
    history.apply(_record(late, "somebody"))
    assert history.trials[0].end == TrialEnd.DONE


@check
def a_trial_ends_once(folder: Path) -> None:
    """A second end in the spool is not wanted, and would not count."""
    history, late = _with_end(TrialEnd.DONE)
    assert not rules().wanted(history, late)
    history.apply(_record(late, "somebody"))
    assert history.trials[0].loss == 1.0


def _with_end(how: str) -> tuple[History, bytes]:
    history, encoded = History(), document(0, state=2)
    history.apply(_record(pack_item(ItemKind.START, 0, 0, encoded, next_tid=1), "first"))
    loss = 1.0 if how == TrialEnd.DONE else None
    history.apply(_record(pack_item(ItemKind.END, 0, 0, encoded, how=how, loss=loss), "second"))
    assert history.trials[0].end == how
    return history, pack_item(ItemKind.END, 0, 0, encoded, how=TrialEnd.DONE, loss=2.0)


def _record(item: bytes, owner: str) -> Record:
    return Record(0, "trials", owner, "", (), item, 0.0, "")


@check
def a_poison_trial_is_given_up(folder: Path) -> None:
    """With two attempts a poison trial is given up after two or three deaths."""

    def poison(point: Any) -> float:
        if len(trials[-1]._dynamic_trials) == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return sample_objective(point)

    trials: list[DriveTrials] = []

    def session() -> None:
        trials.append(_trials(folder, 2))
        trials[-1].fmin(poison, SPACE, max_evals=5, **_FMIN)

    deaths = 0
    while run_in_fork(session) == -signal.SIGKILL:
        deaths += 1
        assert deaths <= 3
    entries = _trials(folder, 2).log.history.trials
    assert [entry.end for entry in entries.values()] == [
        TrialEnd.DONE,
        TrialEnd.DONE,
        TrialEnd.GIVEN_UP,
        TrialEnd.DONE,
        TrialEnd.DONE,
    ]


@check
def a_stop_is_no_death(folder: Path) -> None:
    """A trial that was stopped four times, with two attempts, still runs."""

    @functools.wraps(sample_objective)  # the wrapper must count as the same objective
    def stopped(point: Any) -> float:
        raise KeyboardInterrupt

    for _ in range(4):
        with pytest.raises(KeyboardInterrupt):
            _trials(folder, 2).fmin(stopped, SPACE, max_evals=4, **_FMIN)
    trials = _trials(folder, 2)
    trials.fmin(sample_objective, SPACE, max_evals=4, **_FMIN)
    assert [entry.end for entry in trials.log.history.trials.values()] == [TrialEnd.DONE] * 4


_FMIN: dict[str, Any] = {"show_progressbar": False, "return_argmin": False}


def _trials(folder: Path, attempts: int) -> DriveTrials:
    return DriveTrials("s", store=folder, max_attempts=attempts, notify=lambda text: None)
