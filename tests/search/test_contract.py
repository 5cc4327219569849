"""DriveTrials behave as hyperopt's Trials in everything that hyperopt relies on."""

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hyperopt
import numpy as np
import pytest
from hyperopt import hp
from hyperopt.early_stop import no_progress_loss

from colab_drive_tuner.errors import SeedChangedError, UsageError
from colab_drive_tuner.search.drive_trials import DriveTrials
from colab_drive_tuner.search.results.read_search import read_status
from colab_drive_tuner.store import open_store
from tests.search.sample_searches import (
    SPACE,
    killing_objective,
    open_read_only,
    run_fmin,
    run_hyperopt,
    run_in_fork,
    run_in_store,
    sample_objective,
    trial_values,
)


@pytest.mark.parametrize(
    "options",
    [
        {"loss_threshold": 1.2},
        {"early_stop_fn": no_progress_loss(4)},
        {"max_queue_len": 4},
        {"early_stop_fn": lambda trials, *args: (len(trials.trials) > 5, args)},
    ],
    ids=["threshold", "no-progress", "queue", "own-stop"],
)
def test_ways_to_stop(options: dict[str, Any], tmp_path: Path) -> None:
    """Each way to stop a search stops it at the same trial as plain hyperopt."""
    expected = trial_values(run_hyperopt("rand", 25, **options))
    assert trial_values(run_in_store(tmp_path, "rand", 25, **options)) == expected


def test_a_threshold_reached_by_an_earlier_sessions_trial_stops(tmp_path: Path) -> None:
    """A resumed trial that reaches the loss threshold ends the search: no further trial runs."""
    expected = run_hyperopt("rand", 25, loss_threshold=1.2)
    deadly = killing_objective(sample_objective, len(expected))
    run_in_fork(lambda: run_in_store(tmp_path, "rand", 25, deadly, loss_threshold=1.2))
    assert trial_values(run_in_store(tmp_path, "rand", 25, loss_threshold=1.2)) == trial_values(
        expected
    )


def test_the_timeout_applies_to_each_call(tmp_path: Path) -> None:
    """With a tiny timeout each call of `fmin` starts at most one trial."""
    for most in (1, 2):
        trials = DriveTrials("search", store=tmp_path)
        run_fmin(trials, "rand", 5, timeout=1e-9)
        assert len(trials) <= most


def test_return_argmin_is_respected(tmp_path: Path) -> None:
    """`fmin` returns what plain hyperopt returns, with and without `return_argmin`."""
    for name, argmin in (("a", True), ("b", False)):
        results = []
        for trials in (DriveTrials(name, store=tmp_path), hyperopt.Trials()):
            results.append(  # noqa: PERF401
                hyperopt.fmin(
                    sample_objective,
                    SPACE,
                    algo=hyperopt.rand.suggest,
                    max_evals=4,
                    trials=trials,
                    rstate=np.random.default_rng(1),
                    verbose=False,
                    return_argmin=argmin,
                )
            )
        assert results[0] == results[1]


def scattered(point: Any) -> dict[str, Any]:
    """Return a result with the keys that hyperopt's averages need."""
    loss = sample_objective(point)
    return {"status": "ok", "loss": loss, "loss_variance": 0.1, "true_loss": loss + 1}


READINGS: dict[str, Callable[[hyperopt.Trials], Any]] = {
    "iteration": lambda trials: [doc["tid"] for doc in trials],
    "length": len,
    "slicing": lambda trials: [doc["misc"]["vals"] for doc in trials.trials[3:-2:2]],
    "tids": lambda trials: trials.tids,
    "specs": lambda trials: trials.specs,
    "results": lambda trials: trials.results,
    "miscs": lambda trials: trials.miscs,
    "idxs and vals": lambda trials: (trials.idxs, trials.vals, trials.idxs_vals),
    "losses": lambda trials: trials.losses(),
    "statuses": lambda trials: trials.statuses(),
    "argmin": lambda trials: trials.argmin,
    "best trial": lambda trials: trials.best_trial["tid"],
    "best error": lambda trials: trials.average_best_error(),
    "counts": lambda trials: [trials.count_by_state_synced(state) for state in range(4)],
    "unsynced counts": lambda trials: trials.count_by_state_unsynced([0, 2]),
    "new ids": lambda trials: trials.new_trial_ids(2),
    "trials_from_docs": lambda trials: trial_values(hyperopt.trials_from_docs(trials.trials)),
}


def test_every_reading_of_trials_equals_hyperopts(tmp_path: Path) -> None:
    """Every attribute and method that reads plain Trials gives the same, also for a new reader."""
    ours, theirs = run_in_store(tmp_path, "rand", 9, scattered), run_hyperopt("rand", 9, scattered)
    for trials in (ours, open_read_only(tmp_path)):
        for what, reading in READINGS.items():
            assert repr(reading(trials)) == repr(reading(copy.deepcopy(theirs))), what


def test_plots_are_drawn(tmp_path: Path) -> None:
    """`hyperopt.plotting` draws a DriveTrials."""
    pytest.importorskip("matplotlib").use("Agg")
    plotting = pytest.importorskip("hyperopt.plotting")
    trials = run_in_store(tmp_path, "rand", 6)
    for plot in ("main_plot_history", "main_plot_histogram", "main_plot_vars"):
        getattr(plotting, plot)(trials, do_show=False)


@pytest.mark.filterwarnings("ignore")  # models that atpe loads warn
def test_atpe_resumes(tmp_path: Path) -> None:
    """ATPE passes Trials that it has not refreshed; no trial is lost or run twice."""
    pytest.importorskip("lightgbm")
    for max_evals in (5, 12):
        trials = DriveTrials("a", store=tmp_path)
        trials.fmin(sample_objective, SPACE, algo=hyperopt.atpe.suggest, max_evals=max_evals)
    assert trials.tids == DriveTrials("a", store=tmp_path).tids == list(range(12))


def test_annotated_objectives(tmp_path: Path) -> None:
    """`space="annotated"` reads the space from the objective's annotations."""

    def objective(x: hp.uniform("x", -1, 1)) -> float:
        return x**2

    trials = DriveTrials("a", store=tmp_path)
    objective.__annotations__.pop("return")
    trials.fmin(objective, "annotated", algo=hyperopt.rand.suggest, max_evals=3)
    assert len(trials) == 3


def test_attachments_come_back(tmp_path: Path) -> None:
    """Attachments of a result, of `Ctrl` and set after `fmin` are in later sessions and pickles."""

    @hyperopt.fmin_pass_expr_memo_ctrl
    def objective(expr: Any, memo: Any, ctrl: Any) -> dict[str, Any]:
        ctrl.attachments["tid"] = ctrl.current_trial["tid"]
        return {"status": "ok", "loss": 1.0, "attachments": {"notes": b"abc", "plain": [1, (2,)]}}

    trials = run_in_store(tmp_path, "rand", 2, objective)
    trials.trial_attachments(trials.trials[1])["after"] = "fmin"
    trials.close()
    again = open_read_only(tmp_path)
    for found in (trials, again, pickle.loads(pickle.dumps(again))):
        attached = found.trial_attachments(found.trials[1])
        assert attached["notes"] == b"abc"
        assert attached["plain"] == [1, (2,)]
        assert (attached["tid"], attached["after"]) == (1, "fmin")
        assert "after" not in found.trial_attachments(found.trials[0])
    assert again.attachments == trials.attachments


def test_callbacks_get_the_callers_trials(tmp_path: Path) -> None:
    """`Ctrl`, `early_stop_fn` and the algorithm get the very object that the caller made."""
    seen: list[Any] = []

    @hyperopt.fmin_pass_expr_memo_ctrl
    def objective(expr: Any, memo: Any, ctrl: Any) -> dict[str, Any]:
        seen.append(ctrl.trials)
        if len(ctrl.trials.trials) == 2:
            ctrl.inject_results([None], [{"status": "ok", "loss": 0.5}], [_misc(ctrl, 77)], [77])
        return {"status": "ok", "loss": 1.0}

    def algo(ids: Any, domain: Any, trials: Any, seed: Any) -> Any:
        seen.append(trials)
        return hyperopt.rand.suggest(ids, domain, trials, seed)

    def stop(trials: Any, *args: Any) -> Any:
        seen.append(trials)
        return False, args

    trials = DriveTrials("a", store=tmp_path)
    trials.fmin(objective, SPACE, algo=algo, max_evals=4, early_stop_fn=stop)
    assert all(one is trials for one in seen)
    assert sorted(DriveTrials("a", store=tmp_path).tids) == sorted(trials.tids)
    assert 77 in trials.tids


def _misc(ctrl: Any, tid: int) -> dict[str, Any]:
    misc = copy.deepcopy(ctrl.current_trial["misc"])
    misc |= {"tid": tid, "cmd": None}
    misc["idxs"] = {label: [tid] if vals else [] for label, vals in misc["vals"].items()}
    return misc


def test_edited_documents_count(tmp_path: Path) -> None:
    """A loss edited in memory counts for losses, best_trial and argmin, also after more runs."""
    trials = run_in_store(tmp_path, "rand", 5)
    trials.trials[2]["result"]["loss"] = -9.0
    assert trials.losses()[2] == -9.0
    assert trials.best_trial["tid"] == 2
    run_fmin(trials, "rand", 7)
    assert len(trials) == 7
    assert trials.best_trial["tid"] == 2


def test_copies_are_plain_trials(tmp_path: Path) -> None:
    """A pickled or copied DriveTrials, or its view, is an ordinary Trials without a store."""
    trials = run_in_store(tmp_path, "rand", 3)
    for plain_ones in (pickle.loads(pickle.dumps(trials)), copy.deepcopy(trials), trials.view()):
        assert type(plain_ones) is hyperopt.Trials
        assert trial_values(plain_ones) == trial_values(trials)
        assert plain_ones.argmin == trials.argmin


def test_inserted_documents_are_kept_and_run(tmp_path: Path) -> None:
    """Inserting documents claims the search; the next fmin runs the new ones."""
    domain = hyperopt.base.Domain(sample_objective, SPACE)
    trials = DriveTrials("a", store=tmp_path)
    docs = hyperopt.rand.suggest(trials.new_trial_ids(2), domain, trials, 5)
    trials.insert_trial_docs(docs)
    trials.refresh()
    trials.close()
    again = DriveTrials("a", store=tmp_path)
    assert [doc["state"] for doc in again.trials] == [0, 0]
    again.fmin(sample_objective, SPACE, algo=hyperopt.rand.suggest, max_evals=3)
    assert [doc["state"] for doc in again.trials] == [2, 2, 2]
    assert again.vals["x"][:2] == [doc["misc"]["vals"]["x"][0] for doc in docs]


def test_delete_all_begins_a_new_history(tmp_path: Path) -> None:
    """After `delete_all` the search is empty for every session and can be run again."""
    trials = run_in_store(tmp_path, "rand", 3)
    trials.delete_all()
    assert len(trials) == 0
    assert read_status(open_store(tmp_path), "search").holder is None
    assert len(open_read_only(tmp_path)) == 0
    assert trial_values(run_in_store(tmp_path, "rand", 4)) == trial_values(run_hyperopt("rand", 4))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # file left open
def test_the_save_file_holds_plain_trials(tmp_path: Path) -> None:
    """`trials_save_file` still writes an ordinary Trials."""
    path = tmp_path / "saved.pkl"
    run_in_store(tmp_path, "rand", 3, trials_save_file=str(path))
    with path.open("rb") as file:
        assert type(pickle.load(file)) is hyperopt.Trials


def test_another_seed_is_refused(tmp_path: Path) -> None:
    """The seed with which a search was created is accepted again; another seed is refused."""
    trials = DriveTrials("a", store=tmp_path, seed=3)
    trials.fmin(sample_objective, SPACE, algo=hyperopt.rand.suggest, max_evals=2)
    assert trial_values(trials) == trial_values(run_hyperopt("rand", 2))
    assert DriveTrials("a", store=tmp_path, seed=3).seed == 3
    with pytest.raises(SeedChangedError, match="seed=3, not seed=4"):
        DriveTrials("a", store=tmp_path, seed=4)


@pytest.mark.parametrize(
    "options",
    [
        *({"name": "a/b"}, {"seed": -1}, {"seed": "x"}, {"on_busy": "go"}, {"max_attempts": 0}),
        *({"keep_models": -1}, {"keep_models": 0.5}),
    ],
)
def test_bad_options_are_refused_by_name(options: dict[str, Any], tmp_path: Path) -> None:
    """The error names the invalid option, and no store is created."""
    with pytest.raises(UsageError, match=next(iter(options))):
        DriveTrials(**{"name": "a", "store": tmp_path / "new"} | options)
    assert not (tmp_path / "new").exists()


def test_constructing_drive_trials_writes_nothing(tmp_path: Path) -> None:
    """Constructing a DriveTrials creates no folder for the search."""
    DriveTrials("a", store=tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.name == "a"]
