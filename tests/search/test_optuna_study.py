"""Conversion between searches and Optuna studies: equal fields, and no silent loss."""

import json
import math
from datetime import UTC
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hyperopt import hp
from hyperopt.pyll import scope

import colab_drive_tuner as cdt
from colab_drive_tuner.errors import UsageError

optuna = pytest.importorskip("optuna")

from optuna.distributions import (  # noqa: E402 - optuna is optional
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import TrialState  # noqa: E402

from colab_drive_tuner.search.results.exchange.to_optuna import to_study  # noqa: E402

optuna.logging.set_verbosity(optuna.logging.ERROR)
pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")

SPACE = {
    "rate": hp.loguniform("rate", -7, 0),
    "step": hp.quniform("step", 5, 40, 3),
    "wide": hp.qlognormal("wide", 1, 1, 2),
    "normal": hp.normal("normal", 0, 1),
    "depth": hp.randint("depth", 2, 6),
    "size": hp.uniformint("size", 1, 9),
    "half": scope.int(hp.quniform("half", 0, 5, 1)),
    "kind": hp.choice("kind", ["adam", "sgd", None, {"momentum": hp.uniform("momentum", 0, 1)}]),
    "weighted": hp.pchoice("weighted", [(0.2, "a"), (0.8, "b")]),
}


def objective(point: dict[str, Any]) -> dict[str, Any]:
    """Return a loss; for some points raise, or return a failure or a NaN loss."""
    loss = point["rate"] + point["normal"] ** 2
    if point["depth"] == 4:
        raise ValueError("too deep")
    if point["depth"] == 2:
        return {"status": "fail"}
    if point["depth"] == 3:
        loss = math.nan
    return {"status": "ok", "loss": loss, "history": {"val_loss": [loss + 1, loss]}, "extra": b"\0"}


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> cdt.SearchResult:
    """Run a search with conditional parameters, failures, errors and NaN losses."""
    return cdt.resume_search(
        objective,
        space=SPACE,
        name="s",
        max_evals=40,
        seed=2,
        algo="rand",
        store=tmp_path_factory.mktemp("store"),
        progress=False,
        catch_eval_exceptions=True,
    )


def test_a_search_as_a_study(result: cdt.SearchResult, caplog: pytest.LogCaptureFixture) -> None:
    """The study has the search's states, losses, times, curves and active parameters.

    The conversion logs nothing.
    """
    optuna.logging.set_verbosity(optuna.logging.INFO)
    optuna.logging.enable_propagation()
    try:
        study = result.to_optuna()
        assert optuna.logging.get_verbosity() == optuna.logging.INFO
    finally:
        optuna.logging.disable_propagation()
        optuna.logging.set_verbosity(optuna.logging.ERROR)
    assert not caplog.records  # otherwise each plot would log that a study was created
    assert len(study.trials) == 40
    for trial, document in zip(study.trials, result.trials._dynamic_trials, strict=True):
        loss = document["result"].get("loss")
        if loss is None or math.isnan(loss):
            assert trial.state == TrialState.FAIL
        else:
            assert (trial.state, trial.value) == (TrialState.COMPLETE, loss)
        for optuna_time, key in (
            (trial.datetime_start, "book_time"),
            (trial.datetime_complete, "refresh_time"),
        ):
            assert optuna_time.timestamp() == document[key].replace(tzinfo=UTC).timestamp()
        history = document["result"].get("history", {"val_loss": []})
        np.testing.assert_equal(list(trial.intermediate_values.values()), history["val_loss"])
        active = {label for label, values in document["misc"]["vals"].items() if len(values)}
        assert trial.params.keys() == active
        assert ("momentum" in active) == (document["misc"]["vals"]["kind"] == [3])
    assert {document["state"] for document in result.trials._dynamic_trials} == {2, 3}
    assert study.best_value == result.best_loss
    assert {trial.params["kind"] for trial in study.trials} == {"adam", "sgd", None, "3: dict"}
    assert {trial.params["weighted"] for trial in study.trials} == {"a", "b"}


def test_options_without_parameters_are_named_by_their_values(tmp_path: Path) -> None:
    """Figures show the sizes of layers, and not hyperopt's words for a tuple or a dict."""
    options = [(64,), (64, 32), {"kind": "sgd"}, {"rate": hp.uniform("rate", 0, 1)}]
    result = cdt.resume_search(
        lambda _: 0.0,
        space=hp.choice("layers", options),
        name="s",
        max_evals=1,
        store=tmp_path,
        progress=False,
    )
    choices = result.to_optuna().trials[0].distributions["layers"].choices
    assert choices == ("(64,)", "(64, 32)", "{'kind': 'sgd'}", "3: dict")


def test_a_search_converted_to_a_study_and_back_is_equal(
    result: cdt.SearchResult, tmp_path: Path
) -> None:
    """All fields of every document, including bytes and NaN, survive both conversions."""
    with pytest.warns(cdt.errors.ConversionWarning, match="trials lack"):
        cdt.from_optuna(result.to_optuna(), name="back", store=tmp_path)
    back = cdt.resume_search(
        objective, space=SPACE, name="back", max_evals=40, store=tmp_path, progress=False
    )
    for ours, theirs in zip(
        result.trials._dynamic_trials, back.trials._dynamic_trials, strict=True
    ):
        assert without_indices(ours) == without_indices(theirs)


def without_indices(document: dict[str, Any]) -> str:
    """Return a document as text without `idxs`, which repeat its number."""
    misc = {key: value for key, value in document["misc"].items() if key != "idxs"}
    return repr(document | {"misc": misc})


@pytest.mark.filterwarnings("ignore::UserWarning:optuna")
def test_all_of_optunas_figures_are_drawn(result: cdt.SearchResult) -> None:
    """Optuna's plots work with conditional parameters and failures; timeline and slices are SVG."""
    pytest.importorskip("plotly")
    for figure in (
        result.plot.history(),
        result.plot.importance(),
        result.plot.parallel(),
        result.plot.slice(),
        result.plot.contour("rate", "normal"),
        result.plot.learning_curves(),
    ):
        assert figure.data
    with pytest.raises(ValueError, match="Parameter other does not exist"):
        result.plot.contour("rate", "other")
    assert result.plot.timeline().svg.startswith("<svg")
    assert result.plot.slices().svg.startswith("<svg")


@pytest.fixture
def study() -> Any:
    """Return a study of Optuna's own that is maximized."""
    made = optuna.create_study(study_name="theirs", direction="maximize")

    def tried(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", 1e-3, 10, log=True)
        n = trial.suggest_int("n", 1, 9)
        even = trial.suggest_int("even", 2, 8, step=2)
        kind = trial.suggest_categorical("kind", ["a", None, 7])
        trial.report(x, 0)
        if trial.number == 2:
            raise optuna.TrialPruned
        if trial.number == 3:
            raise ValueError
        return x + n + even + (kind == "a")

    made.optimize(tried, n_trials=12, catch=(ValueError,))
    made.enqueue_trial({"x": 0.5})
    return made


def test_a_study_becomes_a_search_that_can_be_resumed(study: Any, tmp_path: Path) -> None:
    """Losses are negated, a pruned trial has its last value, and TPE continues the search."""
    with pytest.warns(cdt.errors.ConversionWarning, match="Waiting trials 12 have values for some"):
        space = cdt.from_optuna(study, name="s", store=tmp_path)
    assert sorted(space) == ["even", "kind", "n", "x"]

    def again(point: dict[str, Any]) -> float:
        return -(point["x"] + point["n"] + point["even"] + (point["kind"] == "a"))

    found = cdt.resume_search(
        again, space=space, name="s", max_evals=20, store=tmp_path, progress=False
    )
    documents = found.trials._dynamic_trials
    assert len(documents) == 20
    for trial, document in zip(study.trials[:12], documents, strict=False):
        if trial.state == TrialState.COMPLETE:
            assert document["result"]["loss"] == -trial.value
        elif trial.state == optuna.trial.TrialState.PRUNED:
            assert document["result"]["loss"] == -trial.intermediate_values[0]
        else:
            assert document["result"]["status"] == "fail"
        assert document["misc"]["vals"]["x"] == [trial.params["x"]]
    assert documents[2]["result"]["pruned"] is True
    assert found.best_loss <= -study.best_value


@pytest.mark.parametrize(
    ("suggest", "suggested"),
    [
        (lambda trial: trial.suggest_float("x", 2.5, 2.5), {2.5}),
        (lambda trial: trial.suggest_int("x", 7, 7, log=True), {7}),
        (lambda trial: trial.suggest_int("x", 1, 10, step=3), {1, 4, 7, 10}),
        (lambda trial: trial.suggest_float("x", 0.5, 4.5, step=2), {0.5, 2.5, 4.5}),
        (
            lambda trial: trial.suggest_float("x", 0.05, 0.35, step=0.1),
            {0.05, 0.15000000000000002, 0.25, 0.35},
        ),
        (lambda trial: trial.suggest_int("x", 16, 64, step=16), {16, 32, 48, 64}),
        (lambda trial: trial.suggest_int("x", 2, 2 + trial.number), set(range(2, 12))),
        (
            lambda trial: trial.suggest_categorical("x", [None, True, 64, 0.5]),
            {None, True, 64, 0.5},
        ),
        (lambda trial: trial.suggest_int("x", 1, 8, log=True), set(range(1, 9))),
    ],
)
def test_a_search_suggests_what_the_study_would(
    suggest: Any, suggested: set[Any], tmp_path: Path
) -> None:
    """Suggested values have the study's range and type; as a study again they are the same."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(lambda trial: float(suggest(trial) or 0), n_trials=10)
    space = cdt.from_optuna(study, name="s", store=tmp_path)
    seen: list[Any] = []

    def noted(point: dict[str, Any]) -> float:
        seen.append(point["x"])
        return 1.0

    options = {"algo": "rand", "seed": 1, "store": tmp_path, "progress": False}
    found = cdt.resume_search(noted, space=space, name="s", max_evals=40, **options)
    assert set(seen) <= suggested
    assert len(set(seen)) > 1 or len(suggested) == 1
    assert {type(value) for value in seen} <= {type(value) for value in suggested}
    values = [trial.params["x"] for trial in found.to_optuna().trials]
    assert values == [trial.params["x"] for trial in study.trials] + seen
    assert [row["x"] for row in found.rows] == values


@pytest.mark.parametrize(
    ("parameter", "choices"),
    [
        (hp.randint("x", 5, 6), None),
        (scope.int(hp.quniform("x", 0, 8, 0.5)), None),
        (scope.int(hp.quniform("x", 3, 9, 3)), None),
        (hp.choice("x", list(np.array([16, 32]))), (16, 32)),
    ],
)
def test_a_search_made_from_a_searchs_study_can_be_resumed(
    parameter: Any, choices: Any, tmp_path: Path
) -> None:
    """The trials of the search lie in the space that is made from its study."""
    options = {"store": tmp_path, "seed": 1, "progress": False}
    begun = cdt.resume_search(lambda x: x / 2, space=parameter, name="a", max_evals=5, **options)
    study = begun.to_optuna()
    assert getattr(study.trials[0].distributions["x"], "choices", None) == choices
    space = cdt.from_optuna(study, name="b", store=tmp_path)
    on = {"space": space, "name": "b", "max_evals": 25}
    found = cdt.resume_search(lambda point: float(point["x"]), **on, **options)
    assert found.finished
    assert found.trials.vals["x"][:5] == begun.trials.vals["x"]


@pytest.mark.parametrize(
    ("ranges", "kind"),
    [
        ([FloatDistribution(0, 1), IntDistribution(0, 5)], float),
        ([IntDistribution(0, 5), FloatDistribution(0, 1)], float),
        ([CategoricalDistribution([0, "a"]), CategoricalDistribution(["b", 1, 0])], None),
    ],
)
def test_trials_that_disagree_about_a_parameter(ranges: Any, kind: Any, tmp_path: Path) -> None:
    """If trials give a parameter different ranges, the space has the values of all of them.

    A parameter that is a choice in some trials and a range in others is refused.
    """
    study = optuna.create_study()
    for number, shape in enumerate(ranges):
        given = {"params": {"x": number}, "distributions": {"x": shape}}
        study.add_trial(optuna.trial.create_trial(value=1.0, **given))
    space = cdt.from_optuna(study, name="s", store=tmp_path)
    options = {"max_evals": 22, "store": tmp_path, "seed": 1, "progress": False}
    found = cdt.resume_search(lambda _: 1.0, space=space, name="s", **options)
    values = [row["x"] for row in found.rows]
    assert values[:2] == [0, 1]
    assert {type(value) for value in values} == {float} if kind else set(values) == {0, "a", "b", 1}
    mixed = {"params": {"x": "a"}, "distributions": {"x": CategoricalDistribution(["a"])}}
    study.add_trial(optuna.trial.create_trial(value=1.0, **mixed))
    if kind:
        with pytest.raises(UsageError, match="'x' is a choice in some trials and a range in"):
            cdt.from_optuna(study, name="t", store=tmp_path)


def test_what_hyperopt_does_not_support_warns(tmp_path: Path) -> None:
    """Steps that are too many for a choice, and attributes of the study, are named in warnings."""
    study = optuna.create_study()
    study.set_user_attr("team", "north")
    study.optimize(
        lambda trial: (
            trial.suggest_int("odd", 1, 100_001, step=2) + trial.suggest_int("seed", 0, 2**32 - 1)
        ),
        n_trials=2,
    )
    with pytest.warns(cdt.errors.ConversionWarning) as warned:
        space = cdt.from_optuna(study, name="s", store=tmp_path)
    assert [str(one.message).partition(":")[0] for one in warned] == [
        "hyperopt does not support the steps of odd",
        "A search cannot hold the attributes of a study",
    ]
    found = cdt.resume_search(
        lambda point: point["odd"], space=space, name="s", max_evals=25, store=tmp_path, seed=1
    )
    assert all(isinstance(row["seed"], int) for row in found.rows)


def test_conditional_parameters_are_named_and_can_stay_conditional(tmp_path: Path) -> None:
    """The returned space draws them in each trial; a space of one's own keeps the condition."""

    def tried(trial: Any) -> float:
        if trial.suggest_categorical("kind", ["adam", "sgd"]) == "adam":
            return float(trial.suggest_float("rate", 1e-4, 1, log=True))
        return float(trial.suggest_int("steps", 1, 9))

    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(1))
    study.optimize(tried, n_trials=12)
    with pytest.warns(cdt.errors.ConversionWarning, match=r"trials lack (rate, steps|steps, rate)"):
        space = cdt.from_optuna(study, name="s", store=tmp_path)
    assert sorted(space) == ["kind", "rate", "steps"]
    adam = {"kind": "adam", "rate": hp.loguniform("rate", math.log(1e-4), 0)}
    own = hp.choice("kind", [adam, {"kind": "sgd", "steps": hp.randint("steps", 1, 10)}])
    found = cdt.resume_search(
        lambda point: point.get("rate") or point["steps"],
        space=own,
        name="s",
        max_evals=35,
        store=tmp_path,
        seed=1,
        progress=False,
    )
    assert found.best_params["kind"] == "adam"
    for trial in study.trials:
        assert found.trial(trial.number).params == trial.params


def test_enqueued_trials_are_run(tmp_path: Path) -> None:
    """Enqueued trials run with their values; those with a value missing or out of range do not."""
    study = optuna.create_study()
    study.optimize(
        lambda trial: (
            trial.suggest_float("x", 0, 1) + len(trial.suggest_categorical("c", ["", "a"]))
        ),
        n_trials=2,
    )
    for given in (
        {"x": 0.25, "c": "a"},
        {"x": 2, "c": "a"},
        {"x": 0.5, "c": "b"},
        {"x": 1, "y": 0},
    ):
        study.enqueue_trial(given)
    with pytest.warns(cdt.errors.ConversionWarning, match="Waiting trials 3, 4, 5 have values"):
        space = cdt.from_optuna(study, name="s", store=tmp_path)
    options = {"max_evals": 3, "store": tmp_path, "seed": 1, "progress": False}
    found = cdt.resume_search(lambda point: point["x"], space=space, name="s", **options)
    assert found.trial(2).params == {"x": 0.25, "c": "a"}


def test_trials_with_equal_numbers_are_all_kept(tmp_path: Path) -> None:
    """In a study merged from searches, the second trial of a number gets an unused number."""
    options = {"max_evals": 3, "store": tmp_path, "progress": False}
    study = optuna.create_study()
    for seed in (1, 2):
        found = cdt.resume_search(
            lambda x: x, space=hp.uniform("x", 0, 1), name=f"{seed}", seed=seed, **options
        )
        study.add_trials(found.to_optuna().trials)
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)
    cdt.from_optuna(study, name="s", store=tmp_path)
    documents = cdt.DriveTrials("s", store=tmp_path).trials
    assert [document["tid"] for document in documents] == [0, 1, 2, 3, 4, 5, 6, 7]
    values = [document["misc"]["vals"]["x"][0] for document in documents]
    assert values == [trial.params["x"] for trial in study.trials]


def test_a_study_that_is_running_is_converted(tmp_path: Path) -> None:
    """A trial that another thread adds meanwhile, with another parameter, is left out."""

    class Growing(optuna.Study):
        @property
        def trials(self) -> list[optuna.trial.FrozenTrial]:
            found = super().trials
            self.optimize(lambda trial: trial.suggest_float(f"x{trial.number}", 0, 1), n_trials=1)
            return found

    study = optuna.create_study()
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)
    study.__class__ = Growing
    assert list(cdt.from_optuna(study, name="s", store=tmp_path)) == ["x"]
    assert len(cdt.DriveTrials("s", store=tmp_path).trials) == 2


def test_infeasible_trials_have_no_loss_in_a_search(tmp_path: Path) -> None:
    """A trial that violates a constraint becomes a failed one, so that it is never the best.

    This includes a trial that was pruned after its constraint was set.
    """
    study = optuna.create_study()
    for cost in (0.0, 0.5, 0.75):
        trial = study.ask()
        trial.set_constraint("cost", cost)
        loss = 1 - trial.suggest_float("x", cost, cost)
        trial.report(loss, 0)
        if cost > 0.5:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            study.tell(trial, loss)
    cdt.from_optuna(study, name="s", store=tmp_path)
    _, *infeasible = cdt.DriveTrials("s", store=tmp_path).trials
    assert [trial["result"]["status"] for trial in infeasible] == ["fail", "fail"]
    assert [trial["result"]["reason"] for trial in infeasible] == [
        "infeasible, cost = 0.5; loss 0.5",
        "infeasible, cost = 0.75; loss 0.25",
    ]
    assert cdt.read_status(cdt.open_store(tmp_path), "s").best_tid == 0


def test_attributes_that_are_not_json_are_kept(tmp_path: Path) -> None:
    """A numpy number is stored as a number, and another object as its repr."""
    study = optuna.create_study()
    circle: list[Any] = []
    circle.append(circle)
    param = {"params": {"x": 1.0}, "distributions": {"x": FloatDistribution(0, 1)}}
    for given in (
        {"share": np.float64(0.5), "path": Path("x")},
        {"by": {(1, 2): 3}},
        {"circle": circle},
    ):
        study.add_trial(optuna.trial.create_trial(value=1.0, user_attrs=given, **param))
    cdt.from_optuna(study, name="s", store=tmp_path)
    documents = cdt.DriveTrials("s", store=tmp_path).trials
    kept = [json.loads(document["result"]["optuna"]["user_attrs"]) for document in documents]
    assert kept[0] == {"share": 0.5, "path": repr(Path("x"))}
    assert kept[1:] == [{"by": "{(1, 2): 3}"}, {"circle": "[[...]]"}]


def test_a_study_that_cannot_become_a_search_is_refused(tmp_path: Path) -> None:
    """Another object, several objectives, a forged document and a name in use are refused."""
    with pytest.raises(UsageError, match="takes an Optuna study, got 'study'"):
        cdt.from_optuna("study", name="s", store=tmp_path)
    several = optuna.create_study(study_name="two", directions=["minimize", "maximize"])
    with pytest.raises(UsageError, match="'two' has 2 objectives"):
        cdt.from_optuna(several, name="s", store=tmp_path)
    forged = optuna.create_study()
    forged.ask({"x": FloatDistribution(0, 1)})
    forged.add_trial(
        optuna.trial.create_trial(value=1.0, user_attrs={"colab_drive_tuner:document": "AAAA"})
    )
    with pytest.raises(UsageError, match="Trial 1 has an attribute"):
        cdt.from_optuna(forged, name="s", store=tmp_path)
    plain = optuna.create_study(study_name="plain")
    plain.add_trial(optuna.trial.create_trial(value=1.0))
    with pytest.raises(UsageError, match="No trial of study 'plain' has parameters"):
        cdt.from_optuna(plain, name="s", store=tmp_path)
    plain.ask({"x": FloatDistribution(0, 1)})
    assert not list(tmp_path.iterdir())
    cdt.from_optuna(plain, name="s", store=tmp_path)
    with pytest.raises(UsageError, match="There is a search 's' already"):
        cdt.from_optuna(plain, name="s", store=tmp_path)


@pytest.mark.parametrize(
    ("bounds", "low"), [((0, 2 + hp.randint("y", 3)), 0), ((2 + hp.randint("y", 3),), 0)]
)
def test_a_range_with_a_computed_bound_covers_the_values(
    bounds: Any, low: int, tmp_path: Path
) -> None:
    """A `randint` whose bound depends on another parameter covers the values of the trials."""
    options = {"algo": "rand", "seed": 1, "store": tmp_path, "progress": False}
    space = hp.randint("x", *bounds)
    found = cdt.resume_search(lambda x: x / 2, space=space, name="s", max_evals=9, **options)
    distribution = found.to_optuna().trials[0].distributions["x"]
    assert (distribution.low, distribution.high) == (low, max(found.trials.vals["x"]))


def test_without_the_space_distributions_span_the_observed_values(result: cdt.SearchResult) -> None:
    """Without the space, as on the command line, a choice is its index and a range is observed."""
    study = to_study("s", result.trials._dynamic_trials, None)
    assert {trial.params["kind"] for trial in study.trials} == {0, 1, 2, 3}
    rates = [trial.params["rate"] for trial in study.trials]
    shape = study.trials[0].distributions["rate"]
    assert (shape.low, shape.high) == (min(rates), max(rates))
