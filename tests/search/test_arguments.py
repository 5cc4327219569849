"""Invalid arguments of a search and invalid results of its objective are refused by name."""

import functools
from datetime import timedelta
from pathlib import Path
from typing import Any

import hyperopt
import numpy as np
import optuna
import pytest
from hyperopt import hp
from hyperopt.hp import uniform
from scipy.stats import norm

from colab_drive_tuner.errors import (
    ObjectiveError,
    SearchNameError,
    TemplateError,
    UsageError,
)
from colab_drive_tuner.search.results.read_search import list_searches
from colab_drive_tuner.search.resume import resume_search
from colab_drive_tuner.search.spec.arguments import check_ranges, find_algorithm, parse_duration
from colab_drive_tuner.store import open_store
from tests.search.sample_searches import (
    data,
    model,
    resume_sample_search,
    run_hyperopt,
    sample_objective,
    trial_values,
)

STATUS_OK = "ok"


async def waiting(_point: Any) -> float:
    """An async objective; calling it gives a coroutine instead of a result."""
    return 0.0


def yielding(x: float) -> Any:
    yield x


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"max_evals": 0}, UsageError, "max_evals must be an integer >= 1, got 0"),
        ({"max_evals": 2.5}, UsageError, "max_evals .* got 2.5"),
        ({"max_evals": True}, UsageError, "max_evals .* got True"),
        ({"max_evals": 10**30}, UsageError, "max_evals must be at most"),
        ({"name": "a/b"}, SearchNameError, "slash"),
        ({"name": "a\nb"}, SearchNameError, "control"),
        ({"name": "ü" * 61}, SearchNameError, "120 bytes"),
        ({"name": ""}, SearchNameError, "empty"),
        ({"name": 5}, SearchNameError, "not text"),
        ({"name": "\ud800"}, SearchNameError, "surrogate"),
        ({"name": "\u202egnp.exe"}, SearchNameError, "control"),
        ({"algo": "grid"}, UsageError, "'grid'"),
        ({"seed": -3}, UsageError, "seed must be an integer >= 0, got -3"),
        ({"seed": 2**64}, UsageError, "seed must be at most"),
        ({"restart": True, "seed": "3"}, UsageError, "seed .* got '3'"),
        ({"max_time": "soon"}, UsageError, "'soon'"),
        ({"max_time": 10**400}, UsageError, "max_time .* got 10"),
        ({"max_time": "9" * 5000 + "h"}, UsageError, "max_time .* got '99"),
        ({"on_busy": "maybe"}, UsageError, "'wait', 'takeover', 'error', got 'maybe'"),
        ({"data": data}, UsageError, "data="),
        ({"data": uniform("x", 0, 1), "space": None}, TemplateError, "pass space="),
        ({"data": {"x": uniform("x", 0, 1)}, "space": None}, TemplateError, "pass space="),
        ({"points_to_evaluate": [{"zz": 1}]}, UsageError, "zz"),
        ({"points_to_evaluate": {"x": 1}}, UsageError, "must be a list of points"),
        ({"points_to_evaluate": 5}, UsageError, "must be a list of points"),
        ({"points_to_evaluate": [{"kind": "plain"}]}, UsageError, "choice is given by its index"),
        (
            {"loss_threshold": "low"},
            UsageError,
            "loss_threshold must be a number or None, got 'low'",
        ),
        ({"space": {"c": [1, 2]}}, UsageError, r"hp.choice\('x', \[1, 2\]\)"),
        ({"space": {"rate": {"min": 0, "max": 1}}}, UsageError, "has no parameter: lists, ranges"),
        (
            {"space": {"x": uniform("x", 0, 1), "d": {"rate": norm(0, 1)}}},
            UsageError,
            r"'rate' in space= is .*hp.normal\('rate', mean, deviation\)",
        ),
        (
            {"space": [uniform("x", 0, 1), optuna.distributions.FloatDistribution(0, 1)]},
            UsageError,
            r"'1' in space= is FloatDistribution\(.*\), which hyperopt takes for a constant",
        ),
        ({"space": {"x": uniform("x", 0, 1), "n": iter([1, 2])}}, UsageError, "'n' in space= is"),
        (
            {"space": hp.choice("model", [{"kind": "svm", "c": norm(0, 1)}, 2])},
            UsageError,
            "'c' in space= is",
        ),
        ({"early_stop_fn": 5}, UsageError, "early_stop_fn must be a function or None, got 5"),
        ({"space": None}, TemplateError, "sample_objective"),
        ({"space": {}}, UsageError, "nothing in it to choose"),
        ({"space": 5}, UsageError, "nothing in it to choose"),
        ({"space": hp.uniform("x", 1, 0)}, UsageError, "at 'x'"),
        (
            {"space": hp.choice("c", [1, hp.choice("d", [])])},
            UsageError,
            r"^space= .*\(at 'd'\): there is nothing in it to choose",
        ),
        ({"space": hp.randint("x", 5, 5)}, UsageError, "at 'x'.*nothing in it to choose"),
        ({"space": hp.normal("x", 0, 0)}, UsageError, "at 'x'.*sigma must be > 0, got 0"),
        (
            {"space": hp.qloguniform("x", 1, np.int64(1000), 1)},
            UsageError,
            r"at 'x'.*logarithms, and exp\(1000\) is too large",
        ),
        ({"space": hp.quniform("x", 1, 9, 0)}, UsageError, "at 'x'.*draws nan"),
        ({"space": hp.randint("x", 3.5)}, UsageError, "at 'x'.*randint takes integers, not 3.5"),
        ({"space": [hp.randint("x", 0, 4.0)]}, UsageError, "takes integers, not 4.0"),
        ({"space": [hp.uniform("x", 0, 1), hp.uniform("x", 0, 2)]}, UsageError, "two .* 'x'"),
        ({"objective": 5}, ObjectiveError, "must be a function, got 5"),
        ({"objective": lambda x, kind: x}, ObjectiveError, r"\(x, kind\) .*'kind'"),
        ({"objective": waiting}, ObjectiveError, r"waiting\(\) is async"),
        ({"objective": waiting, "space": None}, ObjectiveError, r"waiting\(\) is async"),
        ({"objective": yielding}, ObjectiveError, r"yielding\(\) is .*a generator"),
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
    """Each invalid argument raises one error that names it; nothing is written or printed."""
    with pytest.raises(error, match=words):
        resume_sample_search(tmp_path, **options)
    assert list_searches(open_store(tmp_path)) == []
    assert capsys.readouterr() == ("", "")


def test_a_list_is_a_constant_and_a_distribution_can_be_an_option(tmp_path: Path) -> None:
    """Both are plausible as values for the objective, unlike a distribution under a key."""
    prior = norm(0, 1)
    space = {"x": uniform("x", 0, 1), "sizes": [1, 2], "prior": hp.choice("prior", [prior])}
    resume_sample_search(tmp_path, space=space, objective=lambda point: point["prior"].mean())


@pytest.mark.parametrize("algo", ["tpe", "anneal"])
@pytest.mark.parametrize(
    "space",
    [
        hp.randint("x", 2**31),
        hp.randint("x", -(2**30), 2**30),
        hp.randint("x", low=-(2**30), high=2**30),
    ],
)
def test_a_range_whose_integers_fill_the_memory_is_refused(algo: str, space: Any) -> None:
    """TPE and annealing count each integer of a `randint`; the runtime died in each later run."""
    with pytest.raises(UsageError, match="needs 17 GB of memory for the range of 'x'"):
        check_ranges(space, find_algorithm(algo), 99)
    check_ranges(space, find_algorithm("rand"), 99)
    check_ranges(hp.uniformint("x", 0, 2**31), find_algorithm(algo), 99)
    check_ranges(hp.randint("x", 10**6), find_algorithm(algo), 99)


FEW_RANDOM = functools.partial(hyperopt.tpe.suggest, n_startup_jobs=5)
SUM = hp.uniform("x", 0, 1 + hp.uniform("y", 1, 2))
INDEX = hp.randint("x", hp.randint("y", 2, 5))


@pytest.mark.parametrize(
    ("algo", "space", "fails_from"),
    [
        ("tpe", SUM, 21),
        ("tpe", hp.normal("x", hp.choice("y", [1, 2]), 1), 21),
        (FEW_RANDOM, SUM, 6),
        ("anneal", INDEX, 2),
        ("anneal", SUM, None),
        ("rand", INDEX, None),
        ("tpe", hp.pchoice("kind", [(0.5, SUM), (0.5, 2)]), 21),
        ("tpe", hp.pchoice("x", [(0.5, 1), (0.5, hp.uniform("y", 1, 2))]), None),
    ],
)
def test_a_range_on_which_the_algorithm_fails_is_refused(
    algo: Any, space: Any, fails_from: int | None
) -> None:
    """A range made of other parameters is refused if hyperopt fails on it within `max_evals`."""
    suggest = find_algorithm(algo)

    def run(max_evals: int) -> None:
        hyperopt.fmin(
            lambda point: float(isinstance(point, int)),
            space,
            suggest,
            max_evals,
            rstate=np.random.default_rng(0),
            show_progressbar=False,
        )

    if fails_from is None:
        check_ranges(space, suggest, 99)
        run(22)
        return
    check_ranges(space, suggest, fails_from - 1)
    run(fails_from - 1)
    with pytest.raises(UsageError, match="fails on the range of 'x'"):
        check_ranges(space, suggest, fails_from)
    with pytest.raises(TypeError):
        run(fails_from)


@pytest.mark.parametrize(
    "name",
    [
        'it\'s "quoted"',
        "back\\slash",
        "a%2Fb",
        "emoji 🎛️",
        "👩\u200d💻",
        "\U0001fae9",
        "ü" * 60,
        "全\u3000角",
    ],
)
def test_unusual_names_are_fine(name: str, tmp_path: Path) -> None:
    """Names with quotes, backslashes, percent signs, joined emoji and wide spaces are accepted."""
    assert resume_sample_search(tmp_path, name=name, max_evals=1).finished
    assert [status.name for status in list_searches(open_store(tmp_path))] == [name]


def test_numpy_integers_are_integers(tmp_path: Path) -> None:
    """`max_evals` and `seed` may be numpy integers."""
    result = resume_sample_search(tmp_path, max_evals=np.int64(4), seed=np.uint8(3))
    assert trial_values(result.trials) == trial_values(run_hyperopt("rand", 4))
    assert result.finished


class TorchVector:
    """Like a tensor of PyTorch with two elements."""

    def __float__(self) -> float:
        raise RuntimeError("a Tensor with 2 elements cannot be converted to Scalar")


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (None, "NoneType"),
        (1j, "complex"),
        ({"status": "ok"}, "'loss'"),
        ({"status": "ok", "loss": None}, "'loss'"),
        ({"status": "ok", "loss": "low"}, "'low', which is not a number"),
        ({"status": "ok", "loss": [1.0]}, "not a number"),
        ({"status": "ok", "loss": TorchVector()}, "TorchVector.*not a number"),
        ({"status": "ok", "loss": 10**400}, "too large"),
        (10**400, "too large"),
        ({"status": "great", "loss": 1.0}, "the status 'great'"),
        ({"loss": 1.0}, "'status'"),
    ],
)
def test_an_invalid_result_is_refused_by_name(result: Any, words: str, tmp_path: Path) -> None:
    """The error about an invalid result names the value or the key that is wrong."""
    with pytest.raises(ObjectiveError, match=words):
        resume_sample_search(tmp_path, lambda _point: result)


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
    """A model whose source shows an invalid return is refused before anything is written.

    The error names the function and, for a template, its line.
    """
    with pytest.raises(ObjectiveError, match=rf"{function.__name__}\(\), line \d+ of .*{words}"):
        resume_search(function, data, name="t", max_evals=2, store=tmp_path)
    with pytest.raises(ObjectiveError, match="returns a tuple"):
        resume_sample_search(tmp_path, lambda point: (point, 1))
    assert list_searches(open_store(tmp_path)) == []


def test_a_model_that_may_return_a_result_is_tried(tmp_path: Path) -> None:
    """A failure without a loss, computed keys and one valid return among several are accepted."""

    def fails(point: Any) -> Any:
        return {"status": "fail", "why": "too wide"}

    def adds(point: Any) -> Any:
        more = {"loss": 1.0, "status": "ok"}
        return {"note": "added to", **more}

    def may(point: Any) -> Any:
        if point["x"] > 9:
            return None
        return sample_objective(point)

    assert [
        resume_sample_search(tmp_path, f, name=f.__name__).done for f in (fails, adds, may)
    ] == [6, 6, 6]


def test_data_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    """A data function that returns too many values is refused before the search is created."""
    with pytest.raises(ObjectiveError, match="3 values"):
        resume_search(model, lambda: (1, 2, 3), name="t", max_evals=2, store=tmp_path)
    assert list_searches(open_store(tmp_path)) == []


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("11h30m", 41400.0),
        ("90s", 90.0),
        ("90", 90.0),
        ("1d 2h", 93600.0),
        (5, 5.0),
        (np.int64(5), 5.0),
        (timedelta(minutes=2), 120.0),
        (None, None),
    ],
)
def test_durations(text: Any, seconds: float | None) -> None:
    """Durations may be given as text such as "11h30m", as seconds or as a timedelta."""
    assert parse_duration(text) == seconds
