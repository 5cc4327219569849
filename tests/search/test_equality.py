"""A resumed search equals the uninterrupted one and plain hyperopt's, bit for bit."""

import signal
from pathlib import Path
from typing import Any

import hyperopt
import numpy as np
import pytest

from colab_drive_tuner.errors import UsageError
from colab_drive_tuner.search.drive_trials import DriveTrials
from colab_drive_tuner.store.protocol import Entry
from tests.journal.faulty_store import FaultyStore
from tests.search.sample_searches import (
    ALGORITHMS,
    SPACE,
    killing_objective,
    killing_objective_in_outage,
    open_read_only,
    resume_sample_search,
    run_fmin,
    run_hyperopt,
    run_in_fork,
    run_in_store,
    sample_objective,
    trial_values,
)


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_sessions_one_after_the_other_equal_one_plain_run(algo: str, tmp_path: Path) -> None:
    """Five sessions, past TPE's 20 random trials, draw what one run of plain fmin draws."""
    for max_evals in (1, 9, 21, 22, 28):
        trials = run_in_store(tmp_path, algo, max_evals)
    assert trial_values(trials) == trial_values(run_hyperopt(algo, 28))
    assert trial_values(open_read_only(tmp_path)) == trial_values(trials)


@pytest.mark.parametrize("cut", range(1, 13))
def test_a_kill_in_any_trial_changes_nothing(cut: int, tmp_path: Path) -> None:
    """A search killed in any trial, its records acknowledged or not, resumes to the same end."""
    deadly = killing_objective(sample_objective, cut, "end" if cut % 3 else "once")
    assert run_in_fork(lambda: run_in_store(tmp_path, "rand", 12, deadly)) == -signal.SIGKILL
    assert trial_values(run_in_store(tmp_path, "rand", 12)) == trial_values(
        run_hyperopt("rand", 12)
    )


@pytest.mark.parametrize("algo", ["tpe", "anneal"])
def test_repeated_kills_change_nothing(algo: str, tmp_path: Path) -> None:
    """Sessions that are each killed in their 7th trial together give plain hyperopt's trials."""
    deaths = 0
    while (
        run_in_fork(
            lambda: run_in_store(tmp_path, algo, 26, killing_objective(sample_objective, 7))
        )
        == -signal.SIGKILL
    ):
        deaths += 1
    assert deaths >= 3
    assert trial_values(open_read_only(tmp_path)) == trial_values(run_hyperopt(algo, 26))


def test_losses_that_are_nan_or_failed_resume_too(tmp_path: Path) -> None:
    """NaN losses and failed trials reach the algorithm of a later session unchanged."""

    def objective(point: dict) -> dict:
        loss = sample_objective(point)
        if loss > 6:
            return {"status": "fail", "why": "too high"}
        return {"status": "ok", "loss": float("nan") if loss > 4 else loss}

    for max_evals in (3, 11, 24, 27):
        trials = run_in_store(tmp_path, "tpe", max_evals, objective)
    assert trial_values(trials) == trial_values(run_hyperopt("tpe", 27, objective))


@pytest.mark.parametrize(("algo", "queue"), [("rand", 3), ("tpe", 2)])
@pytest.mark.parametrize("cut", [1, 2, 3, 5, 8])
def test_a_kill_does_not_split_a_batch_of_max_queue_len(
    algo: str, queue: int, cut: int, tmp_path: Path
) -> None:
    """A batch of several trials, which shares draws or skips ids, resumes to the same trials."""

    def search(objective: object) -> DriveTrials:
        return run_in_store(tmp_path, algo, 12, objective, max_queue_len=queue)

    assert run_in_fork(lambda: search(killing_objective(sample_objective, cut))) == -signal.SIGKILL
    assert trial_values(search(sample_objective)) == trial_values(
        run_hyperopt(algo, 12, max_queue_len=queue)
    )


@pytest.mark.parametrize(("away", "calls"), [(4, 5), (4, 6), (4, 8), (6, 9), (1, 2)])
def test_a_batch_suggested_in_an_outage_survives_a_kill(
    away: int, calls: int, tmp_path: Path
) -> None:
    """Trials of a batch from an outage that had not run keep their points in the next session."""
    store = FaultyStore(tmp_path)
    deadly = killing_objective_in_outage(store, away, calls)
    options = {"max_queue_len": 4}
    assert (
        run_in_fork(lambda: run_in_store(store, "rand", 12, deadly, **options)) == -signal.SIGKILL
    )
    assert trial_values(run_in_store(store, "rand", 12, **options)) == trial_values(
        run_hyperopt("rand", 12, **options)
    )


@pytest.mark.parametrize("away", [2, 5])
def test_a_trial_that_raised_in_an_outage_runs_again(away: int, tmp_path: Path) -> None:
    """The next session runs the trial in its place, although only the spool says how it ended."""
    store = FaultyStore(tmp_path)
    failing = killing_objective_in_outage(store, away, 5, raises=True)
    assert run_in_fork(lambda: run_in_store(store, "rand", 8, failing)) == -signal.SIGKILL
    assert trial_values(run_in_store(store, "rand", 8)) == trial_values(run_hyperopt("rand", 8))


class ClaimsOnly(FaultyStore):
    """A store that becomes unavailable as soon as the search is claimed."""

    def create(self, *args: Any, **options: Any) -> Entry:
        self.away = self.away or options["name"] == "record-000001.cdt"
        return super().create(*args, **options)


def test_points_to_evaluate_survive_an_outage_and_a_kill(tmp_path: Path) -> None:
    """All points run even if only the spool has the results of the first of them."""
    given = [{"x": x / 10, "kind": 0, "q": 1.0} for x in range(4)]

    def search(store: Path | FaultyStore, objective: Any = sample_objective) -> Any:
        return resume_sample_search(
            store, objective, name="search", points_to_evaluate=given
        ).trials

    store = ClaimsOnly(tmp_path / "killed")
    deadly = killing_objective_in_outage(store, 0, 3)
    assert run_in_fork(lambda: search(store, deadly)) == -signal.SIGKILL
    assert trial_values(search(tmp_path / "killed")) == trial_values(search(tmp_path / "whole"))


def test_trials_of_another_search_survive_an_outage_and_a_kill(tmp_path: Path) -> None:
    """They come back from the spool, before the results of the trials that followed them."""

    def search(store: Path | FaultyStore, objective: Any = sample_objective) -> Any:
        return resume_sample_search(store, objective, name="search", from_search="old").trials

    for name in ("killed", "whole"):
        resume_sample_search(tmp_path / name, name="old", max_evals=2)
    store = ClaimsOnly(tmp_path / "killed")
    deadly = killing_objective_in_outage(store, 0, 4)
    assert run_in_fork(lambda: search(store, deadly)) == -signal.SIGKILL
    assert trial_values(search(tmp_path / "killed")) == trial_values(search(tmp_path / "whole"))


def test_a_shared_generator_moves_on_as_with_plain_trials(tmp_path: Path) -> None:
    """After a new search, the caller's rstate is where plain fmin would have left it."""
    mine, theirs = np.random.default_rng(5), np.random.default_rng(5)
    for rstate, trials in (
        (mine, DriveTrials("a", store=tmp_path)),
        (theirs, hyperopt.Trials()),
    ):
        run_fmin(trials, "rand", 4, rstate=rstate)
    assert mine.bit_generator.state == theirs.bit_generator.state


def test_the_seed_may_come_from_hyperopts_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HYPEROPT_FMIN_SEED seeds a search without rstate as in hyperopt; a bad value is refused."""
    monkeypatch.setenv("HYPEROPT_FMIN_SEED", "7")
    ours, theirs = DriveTrials("a", store=tmp_path), hyperopt.Trials()
    for trials in (ours, theirs):
        trials.fmin(sample_objective, SPACE, ALGORITHMS["rand"], 4, show_progressbar=False)
    assert trial_values(ours) == trial_values(theirs)
    monkeypatch.setenv("HYPEROPT_FMIN_SEED", "seven")
    with pytest.raises(UsageError, match="HYPEROPT_FMIN_SEED must be a number"):
        DriveTrials("b", store=tmp_path).fmin(sample_objective, SPACE, ALGORITHMS["rand"], 4)


def test_edits_of_documents_are_not_recorded(tmp_path: Path) -> None:
    """Edited documents count in this process only; a deleted one comes back with the next call."""
    trials = run_in_store(tmp_path, "rand", 3)
    whole = trials.losses()
    trials._dynamic_trials[0]["result"]["loss"] = -5.0
    del trials._dynamic_trials[1]
    trials.refresh()
    assert trials.losses() == [-5.0, whole[2]]
    run_fmin(trials, "rand", 4)
    assert trials.losses()[:3] == [-5.0, *whole[1:]]
    assert DriveTrials("search", store=tmp_path).losses()[:3] == whole


def test_the_stored_random_state_wins(tmp_path: Path) -> None:
    """A later session ignores the rstate it is given and continues the stored one."""
    run_in_store(tmp_path, "rand", 4)
    trials = DriveTrials("search", store=tmp_path)
    run_fmin(trials, "rand", 9, rstate=np.random.default_rng(99))
    assert trial_values(trials) == trial_values(run_hyperopt("rand", 9))


@pytest.mark.parametrize("bits", [np.random.MT19937, np.random.PCG64])
def test_a_randomstate_is_taken_as_hyperas_passes_it(bits: Any, tmp_path: Path) -> None:
    """Hyperas passes a RandomState; equal ones, of any bit generator, give equal searches."""
    found = []
    for name in ("a", "b"):
        trials = DriveTrials(name, store=tmp_path)
        run_fmin(trials, "rand", 3, rstate=np.random.RandomState(bits(1337)))
        found.append(trial_values(trials))
    assert found[0] == found[1]
