"""Mutants without a rule about trials; mutants.py has those about records."""

import time
from typing import Any

import numpy as np

from colab_drive_tuner.checkpoint import history, record_items, replay_filter, trials_and_sessions
from colab_drive_tuner.search import run
from colab_drive_tuner.search.loop import missing_trials
from colab_drive_tuner.search.spec import suggestion_seeds
from colab_drive_tuner.search.trials import poison_trials
from tests.torture.mutants import mutant


@mutant
def seed_from_the_clock_on_resume() -> None:
    """A resumed session draws from a new random generator."""
    stream = run._seeds

    def fresh(stored: bytes, given: Any, k: int) -> Any:
        if k == 0:
            return stream(stored, given, k)
        return suggestion_seeds.SeedStream(np.random.default_rng(time.time_ns()), k)

    run._seeds = fresh


@mutant
def seed_restarts_on_resume() -> None:
    """A resumed session draws from the beginning of the stored stream."""
    stream = run._seeds
    run._seeds = lambda stored, given, k: stream(stored, given, 0)


@mutant
def a_give_up_counts_as_an_end_for_the_spool() -> None:
    """SPOOL: a real end does not supersede a give-up."""
    wanted = replay_filter.wanted

    def hasty(state: Any, item: bytes) -> bool:
        (late,) = record_items.read_items(item, "an item")
        entry = state.trials.get(late.tid)
        return bool(wanted(state, item)) and not (entry and entry.end)

    replay_filter.wanted = hasty
    from colab_drive_tuner.search.trials import logbook

    logbook.wanted = hasty


@mutant
def spooled_ends_are_all_appended() -> None:
    """SPOOL: spooled items are not compared with the chain up to the session's claim."""
    from colab_drive_tuner.search.trials import logbook

    logbook.wanted = lambda state, item: True
    take = history.History._apply_item

    def twice(self: Any, item: Any, *more: Any) -> None:
        entry = self.trials.get(item.tid)
        if entry is not None and item.kind == record_items.ItemKind.END:
            entry.end = None  # the last end counts
        take(self, item, *more)

    history.History._apply_item = twice


@mutant
def claims_do_not_name_what_they_inherit() -> None:
    """OPEN: unfinished trials are forgotten and suggested again."""
    take = history.History._apply_item

    def dropping(self: Any, item: Any, *more: Any) -> None:
        if item.kind not in (record_items.ItemKind.START, record_items.ItemKind.QUEUED):
            take(self, item, *more)

    history.History._apply_item = dropping


@mutant
def deaths_are_not_counted() -> None:
    """ATTEMPTS: a trial that kills its runtime runs again without limit."""
    history.History.out_of_attempts = lambda self, max_attempts: []


@mutant
def a_clean_end_counts_as_a_death() -> None:
    """ATTEMPTS: a session that was released counts against its trial."""
    history.History._discard_attempts = lambda self, owner: None


@mutant
def no_acknowledged_start_after_a_death() -> None:
    """ATTEMPTS: the start of a trial is not acknowledged before it runs."""
    poison_trials.CarefulStart.needed = lambda self, tid: False


@mutant
def missing_trials_are_left_out() -> None:
    """HOLES: a trial that is missing from the spool is not suggested again."""
    missing_trials.MissingTrials.restore_next = lambda self: 0


@mutant
def missing_trials_are_suggested_from_all_trials() -> None:
    """HOLES: the algorithm also sees the trials after the missing one."""
    suggest = missing_trials.MissingTrials._suggest

    def knowing(self: Any, call: Any, before: Any) -> Any:
        return suggest(self, call, list(self._trials._dynamic_trials))

    missing_trials.MissingTrials._suggest = knowing


@mutant
def missing_trials_are_put_at_the_end() -> None:
    """HOLES: the trial does not get its place between the others."""
    history.History._add_trial = lambda self, item: self.trials.setdefault(
        item.tid, trials_and_sessions.RecordedTrial(item.tid, item.k, item.document)
    )
