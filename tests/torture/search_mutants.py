"""Mutants without a rule about trials; mutants.py has those about records."""

import time
from typing import Any

import numpy as np

from colab_drive_tuner.checkpoint import history, record_items, replay_filter, trials_and_sessions
from colab_drive_tuner.search import run
from colab_drive_tuner.search.loop import missing_trials
from colab_drive_tuner.search.spec import suggestion_seeds
from colab_drive_tuner.search.trials import careful_start
from tests.torture.mutants import mutant


@mutant
def seed_from_the_clock_on_resume() -> None:
    """CREATE of suggestions: a session draws from a generator of its own."""
    stream = run._seeds

    def fresh(stored: bytes, given: Any, k: int) -> Any:
        if k == 0:
            return stream(stored, given, k)
        return suggestion_seeds.SeedStream(np.random.default_rng(time.time_ns()), k)

    run._seeds = fresh


@mutant
def seed_restarts_on_resume() -> None:
    """A session begins the stored stream anew."""
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
    """SPOOL: not judged by the prefix up to the own claim."""
    from colab_drive_tuner.search.trials import logbook

    logbook.wanted = lambda state, item: True
    take = history.History._apply_item

    def twice(self: Any, item: Any, *more: Any) -> None:
        entry = self.trials.get(item.tid)
        if entry is not None and item.kind == record_items.ItemKind.END:
            entry.end = None  # the last end holds
        take(self, item, *more)

    history.History._apply_item = twice


@mutant
def claims_do_not_name_what_they_inherit() -> None:
    """OPEN: unfinished trials are forgotten, and suggested anew."""
    take = history.History._apply_item

    def dropping(self: Any, item: Any, *more: Any) -> None:
        if item.kind not in (record_items.ItemKind.START, record_items.ItemKind.QUEUED):
            take(self, item, *more)

    history.History._apply_item = dropping


@mutant
def deaths_are_not_counted() -> None:
    """ATTEMPTS: a trial that kills its runtime is tried for ever."""
    history.History.used_up = lambda self, max_attempts: []


@mutant
def a_clean_end_counts_as_a_death() -> None:
    """ATTEMPTS: a session that released is held against its trial."""
    history.History._discard_attempts = lambda self, owner: None


@mutant
def no_care_after_a_death() -> None:
    """ATTEMPTS: the start of a trial is not acknowledged before it runs."""
    careful_start.CarefulStart.needed = lambda self, tid: False


@mutant
def what_is_missing_is_left_out() -> None:
    """HOLES: a trial that a hole left out is not suggested again."""
    missing_trials.MissingTrials.restore_next = lambda self: 0


@mutant
def what_is_missing_is_suggested_from_everything() -> None:
    """HOLES: the algorithm sees the trials that came after it, too."""
    suggest = missing_trials.MissingTrials._suggest

    def knowing(self: Any, call: Any, before: Any) -> Any:
        return suggest(self, call, list(self._trials._dynamic_trials))

    missing_trials.MissingTrials._suggest = knowing


@mutant
def what_is_missing_is_put_at_the_end() -> None:
    """HOLES: it does not take its place between the others."""
    history.History._add_trial = lambda self, item: self.trials.setdefault(
        item.tid, trials_and_sessions.RecordedTrial(item.tid, item.k, item.document)
    )
