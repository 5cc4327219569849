"""`resume_search`: the same call starts a search, goes on with it, and returns what it found."""

import functools
import os
import pickle
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import hyperopt
import numpy as np
import pytest
from hyperopt import hp
from hyperopt.hp import choice, uniform

from colab_drive_tuner.errors import (
    ObjectiveError,
    SearchChangedWarning,
    SearchError,
    SearchNameError,
    SeedChangedError,
    SpaceChangedError,
    TemplateError,
    UnfinishedSearchWarning,
    UsageError,
)
from colab_drive_tuner.search.arguments import parse_duration
from colab_drive_tuner.search.export import export_trials, import_trials
from colab_drive_tuner.search.resume import resume_search
from colab_drive_tuner.search.status import list_searches, read_status
from colab_drive_tuner.store import open_store
from colab_drive_tuner.trial import running_trial
from tests.search.searching import SPACE, bowl, in_child, killing, plain, points

STATUS_OK = "ok"


def go(store: Path, objective: Any = bowl, **options: Any) -> Any:
    """One call, as a cell has it."""
    options = {"name": "s", "max_evals": 6, "space": SPACE, "seed": 3, "progress": False} | options
    return resume_search(objective, store=store, **{"algo": "rand"} | options)


def data() -> tuple[Any, Any]:
    x = np.arange(4.0)
    return x, 2 * x


def model(x: Any, y: Any) -> dict[str, Any]:
    slope = {{uniform(0, 4)}}
    kind = {{choice(["plain", "squared"])}}
    error = float(((slope * x - y) ** 2).mean())
    return {"loss": error if kind == "plain" else error**2, "status": STATUS_OK}


def test_a_search_goes_on_and_ends_as_plain_fmin(tmp_path: Path) -> None:
    """Killed in its third trial, run again, run again: finished, and equal to plain hyperopt."""
    in_child(lambda: go(tmp_path, killing(bowl, 3)))
    result = go(tmp_path)
    expected = plain("rand", 6)
    assert points(result.trials) == points(expected)
    assert result.finished
    assert result.exit_code == 0
    assert result.best_run == expected.argmin
    assert result.best_loss == expected.best_trial["result"]["loss"]
    assert result.best_params == hyperopt.space_eval(SPACE, expected.argmin)
    assert "6 of 6 trials, best loss" in repr(result)
    assert result.seed == 3


def test_a_finished_search_returns_at_once(tmp_path: Path) -> None:
    """Neither objective nor data function is called, nothing is written."""
    go(tmp_path)
    before = sorted(tmp_path.rglob("*"))

    def untouchable(_point: Any) -> float:
        raise AssertionError

    assert go(tmp_path, untouchable).finished
    assert go(tmp_path, max_evals=4).finished
    assert sorted(tmp_path.rglob("*")) == before


def test_templates_with_a_data_function(tmp_path: Path) -> None:
    """hyperas-style model and data functions; parameters come back as values and as indices."""
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


def test_an_unfinished_result_warns_with_counts(tmp_path: Path) -> None:
    """Unpacked, or asked for its best, before all trials are done."""
    go(tmp_path, max_evals=3)
    result = go(tmp_path, max_time=1e-9)
    assert not result.finished
    assert result.exit_code == 75
    with pytest.warns(UnfinishedSearchWarning, match="3 of 6 trials have ended"):
        _best_run, _best_model = result
    for name in ("best_run", "best_params", "best_loss", "best_model", "best_trial"):
        with pytest.warns(UnfinishedSearchWarning):
            getattr(result, name)
    assert go(tmp_path).finished


def test_nothing_is_started_after_max_time(tmp_path: Path) -> None:
    """Not even inherited trials; a first session that has no time makes a search without trials."""
    result = go(tmp_path, max_time=1e-9, points_to_evaluate=[{"x": 0.5, "kind": 0, "q": 3.0}])
    assert result.done == 0
    with pytest.raises(SearchError, match="No trial"), pytest.warns(UnfinishedSearchWarning):
        _ = result.best_loss


def test_points_to_evaluate_come_first(tmp_path: Path) -> None:
    """As plain fmin evaluates them: they take no draw of the random state, also when resumed."""
    given = [{"x": 0.5, "kind": 0, "q": 3.0}, {"x": 0.1, "kind": 0, "q": 1.0}]
    expected = hyperopt.fmin.__globals__["generate_trials_to_calculate"](given)
    hyperopt.fmin(
        bowl,
        SPACE,
        algo=hyperopt.rand.suggest,
        max_evals=6,
        trials=expected,
        rstate=np.random.default_rng(3),
        verbose=False,
    )
    for call in (1, 3):
        in_child(lambda call=call: go(tmp_path, killing(bowl, call), points_to_evaluate=given))
    result = go(tmp_path, points_to_evaluate=given)
    assert points(result.trials) == points(expected)[:6]  # max_evals is the total, points included


def test_restart_begins_again_and_keeps_the_old_history(tmp_path: Path) -> None:
    """With another seed and another space, if so wished; no record is deleted."""
    go(tmp_path, max_evals=3)
    records = {path: path.read_bytes() for path in tmp_path.rglob("record-*")}
    space = {"z": hp.uniform("z", 0, 1)}
    result = go(tmp_path, lambda p: p["z"], space=space, seed=9, restart=True, max_evals=4)
    assert [doc["tid"] for doc in result.trials.trials] == [0, 1, 2, 3]
    assert result.seed == 9
    assert all(path.read_bytes() == content for path, content in records.items())
    assert go(tmp_path, lambda p: p["z"], space=space, seed=9, max_evals=4).done == 4


def test_restart_of_a_search_that_has_no_trials_yet_is_a_beginning(tmp_path: Path) -> None:
    """A cell that always says `restart=True` works the first time, too."""
    result = go(tmp_path, restart=True)
    assert result.seed == 3
    assert points(result.trials) == points(plain("rand", 6))


def test_retry_failed_tries_given_up_trials_again(tmp_path: Path) -> None:
    """A trial that was given up for killing runtimes gets another chance, on request."""

    @functools.wraps(bowl)
    def deadly(point: Any) -> float:
        if running_trial().tid == 2:  # type: ignore[union-attr]
            os.kill(os.getpid(), signal.SIGKILL)
        return bowl(point)

    while in_child(lambda: go(tmp_path, deadly, max_attempts=1)):
        pass
    assert go(tmp_path).trials.statuses()[2] == "fail"
    result = go(tmp_path, retry_failed=True)
    assert points(result.trials) == points(plain("rand", 6))


def test_a_changed_space_is_an_error_that_shows_how(tmp_path: Path) -> None:
    """Line by line, before anything runs."""
    go(tmp_path, max_evals=2)
    changed = SPACE | {"x": hp.uniform("x", -2, 3)}
    with pytest.raises(SpaceChangedError) as caught:
        go(tmp_path, space=changed)
    assert "- x: uniform(-2, 2)" in str(caught.value)
    assert "+ x: uniform(-2, 3)" in str(caught.value)
    assert "quniform" not in str(caught.value)


def test_the_space_is_described_alike_in_every_process(tmp_path: Path) -> None:
    """Sets, functions and objects without a stable repr included; dict order does not matter."""
    from colab_drive_tuner.search.fingerprints import describe_space

    script = """
import sys; sys.path.insert(0, sys.argv[1])
from hyperopt import hp
from hyperopt.hp import choice, uniform
from colab_drive_tuner.search.fingerprints import describe_space
class Layer: pass
print(describe_space({"b": hp.choice("b", [{"x", "y", "z"}, len, Layer(), Layer]), "a": 1}))
"""
    texts = {
        subprocess.run(
            [sys.executable, "-c", script, str(Path.cwd())],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for _ in range(3)
    }
    assert len(texts) == 1
    one = describe_space({"a": hp.uniform("a", 0, 1), "b": 2})
    assert one == describe_space({"b": 2, "a": hp.uniform("a", 0, 1)})


def test_what_stands_around_the_objective_may_change(tmp_path: Path) -> None:
    """More trials, a comment, another layout: the objective is the same, and nothing is said."""
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
    with pytest.warns(SearchChangedWarning, match="source of the model"):
        resume_search(lambda x: x**3, space=hp.uniform("x", 0, 1), max_evals=4, **options)


def test_the_function_in_a_partial_counts(tmp_path: Path) -> None:
    """The usual way to hand data to an objective."""

    def one(shift: float, point: Any) -> float:
        return bowl(point) + shift

    def two(shift: float, point: Any) -> float:
        return bowl(point) - shift

    go(tmp_path, functools.partial(one, 1.0), max_evals=2)
    go(tmp_path, functools.partial(one, 1.0), max_evals=3)
    with pytest.warns(SearchChangedWarning, match="source of the model"):
        go(tmp_path, functools.partial(two, 1.0), max_evals=4)


def test_a_changed_model_or_data_is_a_warning(tmp_path: Path) -> None:
    """The search goes on, told that earlier losses may not compare."""
    options: dict[str, Any] = {"name": "t", "seed": 1, "store": tmp_path, "progress": False}
    resume_search(model, data, max_evals=2, **options)
    with pytest.warns(SearchChangedWarning, match=r"shape or type of the data.*\(4,\).*\(9,\)"):
        resume_search(model, (np.zeros(9), np.zeros(9)), max_evals=3, **options)

    def another(point: Any) -> float:
        return bowl(point)

    go(tmp_path, max_evals=2)
    with pytest.warns(SearchChangedWarning, match="source of the model"):
        go(tmp_path, another, max_evals=3)
    with pytest.warns(SearchChangedWarning, match="algorithm.*rand before, tpe now"):
        go(tmp_path, another, max_evals=4, algo="tpe")


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"max_evals": 0}, UsageError, "max_evals=0"),
        ({"max_evals": 2.5}, UsageError, "max_evals=2.5"),
        ({"max_evals": True}, UsageError, "max_evals=True"),
        ({"max_evals": 10**30}, UsageError, "too large"),
        ({"name": "a/b"}, SearchNameError, "slash"),
        ({"name": "a\nb"}, SearchNameError, "control"),
        ({"name": "ü" * 61}, SearchNameError, "120 bytes"),
        ({"name": ""}, SearchNameError, "empty"),
        ({"name": 5}, SearchNameError, "no text"),
        ({"name": "\ud800"}, SearchNameError, "surrogate"),
        ({"name": "\u202egnp.exe"}, SearchNameError, "control"),
        ({"algo": "grid"}, UsageError, "'grid'"),
        ({"seed": -3}, UsageError, "seed=-3"),
        ({"seed": 2**64}, UsageError, "too large"),
        ({"restart": True, "seed": "3"}, UsageError, "seed='3'"),
        ({"max_time": "soon"}, UsageError, "'soon'"),
        ({"max_time": 10**400}, UsageError, "max_time=10"),
        ({"max_time": "9" * 5000 + "h"}, UsageError, "max_time='99"),
        ({"on_busy": "maybe"}, UsageError, "on_busy"),
        ({"data": data}, UsageError, "data="),
        ({"points_to_evaluate": [{"zz": 1}]}, UsageError, "zz"),
        ({"points_to_evaluate": {"x": 1}}, UsageError, "no list of points"),
        ({"points_to_evaluate": 5}, UsageError, "no list of points"),
        ({"points_to_evaluate": [{"kind": "plain"}]}, UsageError, "choice is given by its index"),
        ({"loss_threshold": "low"}, UsageError, "loss_threshold='low'"),
        ({"early_stop_fn": 5}, UsageError, "early_stop_fn=5"),
        ({"space": None}, TemplateError, "bowl"),
        ({"space": {}}, UsageError, "nothing in it to choose"),
        ({"space": 5}, UsageError, "nothing in it to choose"),
        ({"space": hp.uniform("x", 1, 0)}, UsageError, "at 'x'"),
        ({"space": hp.choice("c", [1, hp.choice("d", [])])}, UsageError, "at 'd'"),
        ({"space": [hp.uniform("x", 0, 1), hp.uniform("x", 0, 2)]}, UsageError, "two .* 'x'"),
        ({"objective": 5}, ObjectiveError, "5 is no function"),
        ({"objective": lambda x, kind: x}, ObjectiveError, r"\(x, kind\) .*'kind'"),
        ({"objective": Path.cwd}, ObjectiveError, r"cwd\(\) .* only argument"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(
    options: dict[str, Any],
    error: type[Exception],
    words: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """By name, by one kind of error for each, and nothing else is printed."""
    with pytest.raises(error, match=words):
        go(tmp_path, **options)
    assert list_searches(open_store(tmp_path)) == []
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    "name",
    [
        'it\'s "quoted"',
        "back\\slash",
        "emoji 🎛️",
        "👩\u200d💻",
        "\U0001fae9",
        "ü" * 60,
        "全\u3000角",
    ],
)
def test_unusual_names_are_fine(name: str, tmp_path: Path) -> None:
    """Quotes, backslashes, emoji (joined ones, and those newer than this Python), wide spaces."""
    assert go(tmp_path, name=name, max_evals=1).finished
    assert [status.name for status in list_searches(open_store(tmp_path))] == [name]


def test_numpy_integers_are_integers(tmp_path: Path) -> None:
    """`max_evals` and `seed` that were computed with numpy."""
    result = go(tmp_path, max_evals=np.int64(4), seed=np.uint8(3))
    assert points(result.trials) == points(plain("rand", 4))
    assert result.finished


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (None, "NoneType"),
        (1j, "complex"),
        ({"status": "ok"}, "'loss'"),
        ({"status": "ok", "loss": None}, "'loss'"),
        ({"status": "ok", "loss": "low"}, "'low', which is no number"),
        ({"status": "ok", "loss": [1.0]}, "no number"),
        ({"status": "great", "loss": 1.0}, "the status 'great'"),
        ({"loss": 1.0}, "'status'"),
    ],
)
def test_a_result_without_loss_or_status_says_so(result: Any, words: str, tmp_path: Path) -> None:
    """In the words of the function that returned it."""
    with pytest.raises(ObjectiveError, match=words):
        go(tmp_path, lambda _point: result)


def returns_nothing(x: Any, y: Any) -> Any:
    slope = {{uniform(0, 4)}}
    if slope > 9:
        return
    return None


def returns_no_status(x: Any, y: Any) -> Any:
    slope = {{uniform(0, 4)}}
    return {"loss": slope}


def returns_no_loss(x: Any, y: Any) -> Any:
    slope = {{uniform(0, 4)}}

    def loss() -> Any:
        return {"loss": slope, "status": "ok"}

    return {"status": STATUS_OK, "model": loss}


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (returns_nothing, "returns None"),
        (returns_no_status, "without 'status'"),
        (returns_no_loss, "without 'loss'"),
    ],
)
def test_a_model_that_can_return_no_result_is_refused(
    function: Any, words: str, tmp_path: Path
) -> None:
    """Where its text alone shows it: by name and line, before anything is written."""
    with pytest.raises(ObjectiveError, match=rf"{function.__name__}\(\), line \d+ of .*{words}"):
        resume_search(function, data, name="t", max_evals=2, store=tmp_path)
    with pytest.raises(ObjectiveError, match="returns a tuple"):
        go(tmp_path, lambda point: (point, 1))
    assert list_searches(open_store(tmp_path)) == []


def test_a_model_that_may_return_a_result_is_tried(tmp_path: Path) -> None:
    """A failure needs no loss, a key may be computed, and one right return is enough."""

    def fails(point: Any) -> Any:
        return {"status": "fail", "why": "too wide"}

    def adds(point: Any) -> Any:
        more = {"loss": 1.0, "status": "ok"}
        return {"note": "added to", **more}

    def may(point: Any) -> Any:
        if point["x"] > 9:
            return None
        return bowl(point)

    assert [go(tmp_path, f, name=f.__name__).done for f in (fails, adds, may)] == [6, 6, 6]


def test_data_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    """Before the search is created."""
    with pytest.raises(ObjectiveError, match="3 values"):
        resume_search(model, lambda: (1, 2, 3), name="t", max_evals=2, store=tmp_path)
    assert list_searches(open_store(tmp_path)) == []


def test_another_seed_is_an_error(tmp_path: Path) -> None:
    """It could not be honoured: the trials so far came from the stored one."""
    go(tmp_path, max_evals=2)
    with pytest.raises(SeedChangedError):
        go(tmp_path, seed=4)
    assert go(tmp_path, seed=None).finished


def test_training_is_seeded_by_seed_and_trial_alone(tmp_path: Path) -> None:
    """Neither the name of the search nor a kill changes what a trial draws at random."""
    import random

    def noisy(point: Any) -> float:
        return bowl(point) + random.random() + float(np.random.random())

    first = go(tmp_path, noisy, name="a")
    in_child(lambda: go(tmp_path, killing(noisy, 4), name="b"))
    assert points(go(tmp_path, noisy, name="b").trials) == points(first.trials)
    untouched = go(tmp_path, noisy, name="c", seed_training=False)
    assert points(untouched.trials) != points(first.trials)


def test_status_tells_how_far(tmp_path: Path) -> None:
    """From the store alone, also after a death."""
    in_child(lambda: go(tmp_path, killing(bowl, 4)))
    store = open_store(tmp_path)
    status = read_status(store, "s")
    assert status.max_evals == 6
    assert status.dead_here
    assert not status.finished
    go(tmp_path)
    status = read_status(store, "s")
    assert (status.done, status.finished, status.holder, status.recovered) == (6, True, None, 1)
    assert status.best_loss == min(plain("rand", 6).losses())
    assert str(status).startswith("s: 6 of 6 trials, best loss ")


def test_reading_a_status_needs_no_hyperopt(tmp_path: Path) -> None:
    """So that `status` answers in a moment."""
    go(tmp_path, max_evals=1)
    script = """
import sys; sys.path.insert(0, sys.argv[1])
from colab_drive_tuner.search.status import list_searches
from colab_drive_tuner.store import open_store
assert [s.done for s in list_searches(open_store(sys.argv[2]))] == [1]
assert "hyperopt" not in sys.modules and "scipy" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script, str(Path.cwd()), str(tmp_path)], check=True)


def test_export_and_import(tmp_path: Path) -> None:
    """A plain pickle of plain Trials, and back into a search that goes on."""
    result = go(tmp_path / "one", max_evals=4)
    one, two = open_store(tmp_path / "one"), open_store(tmp_path / "two")
    assert export_trials(one, "s", tmp_path / "out.pkl") == 4
    for path in (tmp_path / "out.pkl", tmp_path / "one" / "s" / "trials.pkl"):
        with path.open("rb") as file:
            trials = pickle.load(file)
        assert type(trials) is hyperopt.Trials
        assert points(trials) == points(result.trials)
    assert import_trials(two, "s", tmp_path / "out.pkl") == 4
    assert read_status(two, "s").done == 4
    assert go(tmp_path / "two", seed=None, max_evals=6).finished
    with pytest.raises(UsageError, match="already"):
        import_trials(two, "s", tmp_path / "out.pkl")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("11h30m", 41400.0),
        ("90s", 90.0),
        ("1d 2h", 93600.0),
        (5, 5.0),
        (timedelta(minutes=2), 120.0),
        (None, None),
    ],
)
def test_durations(text: Any, seconds: float | None) -> None:
    """As people write them."""
    assert parse_duration(text) == seconds


def test_a_scheduled_run_ends_by_its_deadline(tmp_path: Path, monkeypatch) -> None:
    """COLAB_DRIVE_TUNER_DEADLINE, which the rerunner sets, limits a run like max_time."""
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
