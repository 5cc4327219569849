"""`resume_search`: the same call starts a search, resumes it, and returns its result."""

import functools
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import hyperopt
import numpy as np
import pytest
from hyperopt import hp

from colab_drive_tuner.errors import (
    SearchChangedWarning,
    SearchError,
    SeedChangedError,
    SpaceChangedError,
    UnfinishedSearchWarning,
)
from colab_drive_tuner.search.loop import sequential
from colab_drive_tuner.search.resume import resume_search
from colab_drive_tuner.search.spec.fingerprints import describe_space, space_difference
from colab_drive_tuner.search.trial_documents import name_all_parameters
from colab_drive_tuner.search.trials.stored_trials import StoredTrials
from colab_drive_tuner.training.trial import running_trial
from tests.journal.faulty_store import FaultyStore
from tests.processes import run_python
from tests.search.sample_searches import (
    SPACE,
    data,
    killing_objective,
    model,
    resume_sample_search,
    run_hyperopt,
    run_in_fork,
    sample_objective,
    trial_values,
)

STATUS_OK = "ok"


def test_a_killed_search_resumes_and_ends_as_plain_fmin(tmp_path: Path) -> None:
    """A search that is killed in its third trial and run again ends as plain hyperopt's."""
    run_in_fork(lambda: resume_sample_search(tmp_path, killing_objective(sample_objective, 3)))
    result = resume_sample_search(tmp_path)
    expected = run_hyperopt("rand", 6)
    assert trial_values(result.trials) == trial_values(expected)
    assert result.finished
    assert result.exit_code == 0
    assert result.best_run == expected.argmin
    assert result.best_loss == expected.best_trial["result"]["loss"]
    assert result.best_params == hyperopt.space_eval(SPACE, expected.argmin)
    assert "6 of 6 trials, best loss" in repr(result)
    assert result.seed == 3


def test_a_finished_search_returns_at_once(tmp_path: Path) -> None:
    """A finished search calls neither the objective nor the data function, and writes nothing."""
    options: dict[str, Any] = {"name": "t", "max_evals": 1, "store": tmp_path, "progress": False}
    resume_search(model, data, **options)
    resume_sample_search(tmp_path)
    before = sorted(tmp_path.rglob("*"))

    def untouchable(*_point: Any) -> Any:
        raise AssertionError

    assert resume_sample_search(tmp_path, untouchable).finished
    assert resume_sample_search(tmp_path, max_evals=4).finished
    assert resume_search(model, untouchable, **options).finished
    assert sorted(tmp_path.rglob("*")) == before


def test_templates_with_a_data_function(tmp_path: Path) -> None:
    """A hyperas-style search returns parameters as values and choices also as indices."""
    result = resume_search(
        model, data, name="t", max_evals=5, seed=1, store=tmp_path, progress=False
    )
    assert set(result.best_params) == {"slope", "kind"}
    assert result.best_params["kind"] in ("plain", "squared")
    assert result.best_run["kind"] in (0, 1)
    best_run, best_model = result
    assert best_run == result.best_run
    assert best_model is None
    rows = result.rows
    assert [row["tid"] for row in rows] == [0, 1, 2, 3, 4]
    assert {row["kind"] for row in rows} <= {"plain", "squared"}
    assert rows[0]["state"] == "done"
    assert rows[0]["duration"] >= 0


def test_a_search_whose_end_waits_for_the_store_needs_another_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All trials ran, but a schedule that is removed now would leave their results behind."""
    store = FaultyStore(tmp_path)
    monkeypatch.setattr(StoredTrials.close, "__defaults__", (0.5,))

    def objective(point: Any) -> Any:
        store.away = True
        return sample_objective(point)

    result = resume_sample_search(store, objective)
    assert (result.finished, result.exit_code) == (True, 75)
    store.away = False
    assert resume_sample_search(store, objective).exit_code == 0


def test_an_unfinished_result_warns_with_counts(tmp_path: Path) -> None:
    """Unpacking an unfinished result, or reading its best, warns with the counts."""
    resume_sample_search(tmp_path, max_evals=3)
    result = resume_sample_search(tmp_path, max_time=1e-9)
    assert not result.finished
    assert result.exit_code == 75
    with pytest.warns(UnfinishedSearchWarning, match="3 of 6 trials have ended"):
        _best_run, _best_model = result
    for name in ("best_run", "best_params", "best_loss", "best_model", "best_trial"):
        with pytest.warns(UnfinishedSearchWarning):
            getattr(result, name)
    assert resume_sample_search(tmp_path).finished


def test_nothing_is_started_after_max_time(tmp_path: Path) -> None:
    """Without time left no trial starts, not even a given point."""
    result = resume_sample_search(
        tmp_path, max_time=1e-9, points_to_evaluate=[{"x": 0.5, "kind": 0, "q": 3.0}]
    )
    assert result.done == 0
    with pytest.raises(SearchError, match="No trial"), pytest.warns(UnfinishedSearchWarning):
        _ = result.best_loss


def test_points_to_evaluate_come_first(tmp_path: Path) -> None:
    """As in plain fmin, given points take no draw of the random state, even if resumed."""
    given = [{"x": 0.5, "kind": 0, "q": 3.0}, {"x": 0.1, "kind": 0, "q": 1.0}]
    expected = hyperopt.fmin.__globals__["generate_trials_to_calculate"](given)
    hyperopt.fmin(
        sample_objective,
        SPACE,
        algo=hyperopt.rand.suggest,
        max_evals=6,
        trials=expected,
        rstate=np.random.default_rng(3),
        verbose=False,
    )
    for call in (1, 3):
        run_in_fork(
            lambda call=call: resume_sample_search(
                tmp_path, killing_objective(sample_objective, call), points_to_evaluate=given
            )
        )
    result = resume_sample_search(tmp_path, points_to_evaluate=given)
    name_all_parameters(expected.trials, ["n", "y"])  # parameters of the option that was not chosen
    assert (
        trial_values(result.trials) == trial_values(expected)[:6]
    )  # max_evals is the total, points included


def test_restart_begins_again_and_keeps_the_old_history(tmp_path: Path) -> None:
    """A restart may have another seed and space; no record is deleted or changed."""
    resume_sample_search(tmp_path, max_evals=3)
    records = {path: path.read_bytes() for path in tmp_path.rglob("record-*")}
    space = {"z": hp.uniform("z", 0, 1)}
    result = resume_sample_search(
        tmp_path, lambda p: p["z"], space=space, seed=9, restart=True, max_evals=4
    )
    assert [doc["tid"] for doc in result.trials.trials] == [0, 1, 2, 3]
    assert result.seed == 9
    assert all(path.read_bytes() == content for path, content in records.items())
    assert (
        resume_sample_search(tmp_path, lambda p: p["z"], space=space, seed=9, max_evals=4).done == 4
    )


def test_restart_of_a_new_search_starts_it(tmp_path: Path) -> None:
    """A cell with `restart=True` works the first time, too."""
    result = resume_sample_search(tmp_path, restart=True)
    assert result.seed == 3
    assert trial_values(result.trials) == trial_values(run_hyperopt("rand", 6))


def test_a_given_up_trial_is_reported_once_and_retried_on_request(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The session that gives a trial up names the argument that runs it again."""
    run_in_fork(
        lambda: resume_sample_search(
            tmp_path, killing_objective(sample_objective, 3), max_attempts=1
        )
    )
    capsys.readouterr()
    assert (
        resume_sample_search(tmp_path, max_attempts=1, max_evals=5).trials.statuses()[2] == "fail"
    )
    assert capsys.readouterr().out == (
        "Trial 2 of search 's' is given up: 1 runtime died while this trial was running. "
        "resume_search(..., retry_failed=True) runs it again.\n"
    )
    assert resume_sample_search(tmp_path, max_attempts=1).done == 6
    assert capsys.readouterr().out == ""
    result = resume_sample_search(tmp_path, retry_failed=True)
    assert trial_values(result.trials) == trial_values(run_hyperopt("rand", 6))


@pytest.mark.parametrize("stuck", [False, True])
def test_a_death_after_which_the_backup_is_further_does_not_count(
    stuck: bool, tmp_path: Path
) -> None:
    """A trial that got further in its last attempt is not given up; one that did not, is."""
    progress = tmp_path / "progress"

    @functools.wraps(sample_objective)
    def killed(point: Any) -> float:
        trial = running_trial()
        assert trial is not None
        if trial.tid == 2:
            if not progress.exists():
                progress.write_bytes(b"")
                assert trial.artifacts is not None
                trial.artifacts.put("fit-000-epoch-00001.backup", progress)
            os.kill(os.getpid(), signal.SIGKILL)
        return sample_objective(point)

    for _ in range(2 if stuck else 1):
        run_in_fork(lambda: resume_sample_search(tmp_path / "store", killed, max_attempts=1))
    result = resume_sample_search(tmp_path / "store", max_attempts=1)
    if stuck:
        assert result.trials.statuses()[2] == "fail"
    else:
        assert trial_values(result.trials) == trial_values(run_hyperopt("rand", 6))


def test_a_changed_space_is_an_error_that_shows_how(tmp_path: Path) -> None:
    """The error shows the changed lines of the space, and no others."""
    resume_sample_search(tmp_path, max_evals=2)
    changed = SPACE | {"x": hp.uniform("x", -2, 3)}
    with pytest.raises(SpaceChangedError) as caught:
        resume_sample_search(tmp_path, space=changed)
    assert "- x: uniform(-2, 2)" in str(caught.value)
    assert "+ x: uniform(-2, 3)" in str(caught.value)
    assert "quniform" not in str(caught.value)


def test_a_bound_may_be_written_as_another_kind_of_number(tmp_path: Path) -> None:
    """The bounds 2, 2.0 and np.int64(2) are equal, as in Python; the options 1 and 1.0 are not."""
    resume_sample_search(tmp_path, max_evals=2)
    same = SPACE | {"x": hp.uniform("x", np.int64(-2), 2.0)}
    assert resume_sample_search(tmp_path, max_evals=3, space=same).done == 3
    whole, decimal = (hp.choice("c", [one, 2]) for one in (1, 1.0))
    assert describe_space(whole) != describe_space(decimal)


def test_the_difference_of_a_long_line_shows_the_changed_part() -> None:
    """Of a long line only the options that differ are shown, even after many equal ones."""
    options = [f"option number {n}" for n in range(100)]
    before = describe_space({"o": hp.choice("o", options), "x": hp.uniform("x", 0, 1)})
    after = describe_space(
        {"o": hp.choice("o", [*options[:98], "new", options[99]]), "y": hp.uniform("y", 0, 1)}
    )
    shown = space_difference(before, after)
    assert "'option number 98'" in shown
    assert "'new'" in shown
    assert "'option number 97'" not in shown
    assert all(len(line) < 130 for line in shown.split("\n"))


def test_the_space_is_described_alike_in_every_process(tmp_path: Path) -> None:
    """Sets, functions, objects and the order of keys do not change the description of a space."""
    script = """
from hyperopt import hp
from hyperopt.hp import choice, uniform
from colab_drive_tuner.search.spec.fingerprints import describe_space
class Layer: pass
print(describe_space({"b": hp.choice("b", [{"x", "y", "z"}, len, Layer(), Layer]), "a": 1}))
"""
    texts = {run_python("-c", script).stdout for _ in range(3)}
    assert len(texts) == 1
    one = describe_space({"a": hp.uniform("a", 0, 1), "b": 2})
    assert one == describe_space({"b": 2, "a": hp.uniform("a", 0, 1)})
    lone = describe_space(hp.uniform("\ud800", 0, 1)).encode()  # as records are
    assert lone.startswith(b"\\ud800: uniform")


def test_comments_and_layout_of_the_objective_may_change(tmp_path: Path) -> None:
    """More trials, a comment or another layout does not warn; a changed expression does."""
    options: dict[str, Any] = {"name": "s", "store": tmp_path, "progress": False, "algo": "rand"}
    resume_search(lambda x: x**2, space=hp.uniform("x", 0, 1), max_evals=2, seed=1, **options)
    resume_search(
        lambda x: (
            x**2  # squared
        ),
        space=hp.uniform("x", 0, 1),
        max_evals=3,
        **options,
    )
    changed = (
        r"source of the model.*:\n  - lambda x: x \*\* 2\n  \+ lambda x: x \*\* 3\nEarlier trials"
    )
    with pytest.warns(SearchChangedWarning, match=changed):
        resume_search(lambda x: x**3, space=hp.uniform("x", 0, 1), max_evals=4, **options)


def test_the_function_in_a_partial_counts(tmp_path: Path) -> None:
    """A changed function in a `functools.partial` warns."""

    def one(shift: float, point: Any) -> float:
        return sample_objective(point) + shift

    def two(shift: float, point: Any) -> float:
        return sample_objective(point) - shift

    resume_sample_search(tmp_path, functools.partial(one, 1.0), max_evals=2)
    resume_sample_search(tmp_path, functools.partial(one, 1.0), max_evals=3)
    with pytest.warns(SearchChangedWarning, match="source of the model"):
        resume_sample_search(tmp_path, functools.partial(two, 1.0), max_evals=4)


def test_a_changed_model_or_data_is_a_warning(tmp_path: Path) -> None:
    """A changed model, data shape or algorithm warns, and the search continues."""
    options: dict[str, Any] = {"name": "t", "seed": 1, "store": tmp_path, "progress": False}
    resume_search(model, data, max_evals=2, **options)
    with pytest.warns(SearchChangedWarning, match=r"shape or type of the data.*\(4,\).*\(9,\)"):
        resume_search(model, (np.zeros(9), np.zeros(9)), max_evals=3, **options)

    def another(point: Any) -> float:
        return sample_objective(point)

    resume_sample_search(tmp_path, max_evals=2)
    with pytest.warns(SearchChangedWarning, match="source of the model"):
        resume_sample_search(tmp_path, another, max_evals=3)
    with pytest.warns(SearchChangedWarning, match="algorithm.*rand before, tpe now"):
        resume_sample_search(tmp_path, another, max_evals=4, algo="tpe")


def test_another_seed_is_an_error(tmp_path: Path) -> None:
    """Another seed is refused, because the recorded trials came from the stored one."""
    resume_sample_search(tmp_path, max_evals=2)
    with pytest.raises(SeedChangedError):
        resume_sample_search(tmp_path, seed=4)
    assert resume_sample_search(tmp_path, seed=None).finished


def test_training_is_seeded_by_seed_and_trial_alone(tmp_path: Path) -> None:
    """Neither the search's name nor a kill changes what a trial draws at random."""
    import random

    def noisy(point: Any) -> float:
        return sample_objective(point) + random.random() + float(np.random.random())

    first = resume_sample_search(tmp_path, noisy, name="a")
    run_in_fork(lambda: resume_sample_search(tmp_path, killing_objective(noisy, 4), name="b"))
    assert trial_values(resume_sample_search(tmp_path, noisy, name="b").trials) == trial_values(
        first.trials
    )
    untouched = resume_sample_search(tmp_path, noisy, name="c", seed_training=False)
    assert trial_values(untouched.trials) != trial_values(first.trials)


def test_a_scheduled_run_ends_by_its_deadline(tmp_path: Path, monkeypatch) -> None:
    """COLAB_DRIVE_TUNER_DEADLINE, which the rerunner sets, limits a run like `max_time`."""
    monkeypatch.setenv("COLAB_DRIVE_TUNER_DEADLINE", str(time.time() - 1))

    def slow(x: float) -> float:
        time.sleep(0.4)
        return x**2

    result = resume_search(
        slow,
        space=hp.uniform("x", -1, 1),
        name="s",
        max_evals=50,
        store=tmp_path,
        progress=False,
    )
    assert not result.finished
    assert result.done < 10


@pytest.mark.parametrize("executor", [lambda _: None, ThreadPoolExecutor])
def test_a_clock_that_is_set_changes_no_duration(
    executor: Callable[[int], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trials last as long as they run, and keep their deadline, though each sets the clock."""
    ahead, left = 0.0, list[float]()
    clock, coarse_clock = time.time, sequential.coarse_utcnow
    monkeypatch.setattr(time, "time", lambda: clock() + ahead)
    monkeypatch.setattr(
        sequential, "coarse_utcnow", lambda: coarse_clock() + timedelta(seconds=ahead)
    )

    def objective(point: dict[str, Any]) -> float:
        nonlocal ahead
        ahead += 3600
        trial = running_trial()
        assert trial is not None
        assert trial.deadline is not None
        left.append(trial.deadline - time.monotonic())
        return float(point["x"])

    options = {"max_evals": 3, "max_time": 1000, "executor": executor(1)}
    result = resume_sample_search(tmp_path, objective, **options)
    assert all(900 < seconds <= 1000 for seconds in left)
    assert all(0 <= row["duration"] < 60 for row in result.rows)


def weighted(x: Any, y: Any) -> dict[str, Any]:
    factor = {{hp.choice([0.5, y])}}
    return {"loss": float(abs(factor * x).sum()), "status": STATUS_OK}


def test_a_template_may_read_what_data_returns(tmp_path: Path) -> None:
    """A template can use the data, which is loaded once; the space stays the same on resume."""
    loaded = []

    def counted() -> tuple[Any, Any]:
        loaded.append(1)
        return np.arange(3.0), 2.0

    options: dict[str, Any] = {
        "name": "s",
        "store": tmp_path,
        "algo": "rand",
        "progress": False,
        "seed": 0,
    }
    for max_evals in (3, 6):
        result = resume_search(weighted, counted, max_evals=max_evals, **options)
    assert {row["factor"] for row in result.rows} == {0.5, 2.0}
    assert len(loaded) == 1
