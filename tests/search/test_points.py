"""Points given by the user: completed as in hyperopt, or refused before anything is written."""

import pickle
import random
from enum import IntEnum
from pathlib import Path
from typing import Any

import hyperopt
import numpy as np
import pytest
from hyperopt import hp
from hyperopt.fmin import generate_trials_to_calculate

from colab_drive_tuner.checkpoint.codec.codec import encode
from colab_drive_tuner.errors import NotPlainDataError, UsageError
from colab_drive_tuner.search.drive_trials import DriveTrials
from colab_drive_tuner.search.results.exchange.import_export import (
    export_trials,
    import_trials,
    insert_into_new,
)
from colab_drive_tuner.search.results.read_search import list_searches, read_history, read_status
from colab_drive_tuner.search.resume import resume_search
from colab_drive_tuner.search.spec.points import ParameterSpace, point_document
from colab_drive_tuner.store import open_store
from colab_drive_tuner.troubleshoot.repair.repair import repair

NET = hp.choice("net", [{"kind": "flat"}, {"kind": "deep", "layers": hp.randint("layers", 4)}])
SHARED = hp.uniform("shared", 0, 1)
SPACES: dict[str, Any] = {
    "uniform": hp.uniform("x", -2, 3),
    "loguniform": hp.loguniform("x", np.log(1e-5), np.log(1e-1)),
    "quniform": hp.quniform("x", 1, 9, 2),
    "qloguniform": hp.qloguniform("x", 0, 3, 2),
    "normal": hp.normal("x", 0, 1),
    "qnormal": hp.qnormal("x", 0, 3, 2),
    "lognormal": hp.lognormal("x", 0, 1),
    "qlognormal": hp.qlognormal("x", 0, 1, 0.5),
    "randint": hp.randint("x", 4),
    "randint from": hp.randint("x", 2, 6),
    "large randint": hp.randint("x", 2**31),
    "uniformint": hp.uniformint("x", 1, 5),
    "choice": hp.choice("x", "abc"),
    "pchoice": hp.pchoice("x", [(0.2, "a"), (0.8, "b")]),
    "within": hp.uniform("x", 0, hp.uniform("y", 1, 2)),
    "net": NET,
}


def loss(point: Any) -> float:
    """Return a pseudorandom loss that depends on the point alone."""
    return random.Random(repr(point)).random()


def given(store: Path, space: Any, points: Any, max_evals: int = 30, **options: Any) -> Any:
    """Make one call that evaluates the points first, with seed 3."""
    options = {"name": "s", "seed": 3, "algo": "tpe", "progress": False} | options
    return resume_search(
        loss,
        space=space,
        store=store,
        max_evals=max_evals,
        points_to_evaluate=points,
        **options,
    )


def plain(space: Any, points: list[dict[str, list[Any]]], max_evals: int = 30) -> hyperopt.Trials:
    """Run plain hyperopt on the same points, which name every parameter, with seed 3.

    The points come first and do not count for its `max_evals`.
    """
    trials = generate_trials_to_calculate([dict.fromkeys(point, 0) for point in points])
    for document, point in zip(trials._dynamic_trials, points, strict=True):
        document["misc"]["vals"] = {label: list(value) for label, value in point.items()}
        document["misc"]["idxs"] = {
            label: [document["tid"]] * len(value) for label, value in point.items()
        }
    hyperopt.fmin(
        loss,
        space,
        algo=hyperopt.tpe.suggest,
        max_evals=max_evals - len(points),
        trials=trials,
        rstate=np.random.default_rng(3),
        verbose=False,
    )
    return trials


def values(trials: Any) -> list[Any]:
    """Return the parameters and the result of each trial."""
    return [(doc["misc"]["vals"], doc["misc"]["idxs"], doc["result"]) for doc in trials.trials]


@pytest.mark.parametrize(
    "points",
    [
        [{"net": 0}],
        [{"net": 1, "layers": 3}, {"net": 0}],
        [{"net": np.int64(1), "layers": 2.0}],
    ],
)
def test_a_point_leaves_out_what_its_options_do_not_use(points: Any, tmp_path: Path) -> None:
    """A point may lack parameters of options that it does not choose; TPE equals hyperopt's."""
    result = given(tmp_path, NET, points)
    expected = plain(NET, [ParameterSpace(NET).complete(point, "p") for point in points])
    assert result.finished
    assert values(result.trials) == values(expected)


def test_the_best_run_of_one_search_begins_another(tmp_path: Path) -> None:
    """`best_run` names only the parameters in use and can be given to another search."""
    for name in "abcdef":
        best = given(tmp_path, NET, [{"net": 0}], max_evals=1, name=name).best_run
        assert best == {"net": 0}
    assert given(tmp_path, NET, [best], name="next").finished


@pytest.mark.parametrize(
    ("space", "point"),
    [
        ("uniform", {"x": -2}),
        ("uniform", {"x": np.float32(3)}),
        ("loguniform", {"x": 1e-5}),
        ("loguniform", {"x": 1e-1}),
        ("quniform", {"x": 0.0}),
        ("quniform", {"x": 9}),
        ("quniform", {"x": 2.5}),
        ("qloguniform", {"x": 20.0}),
        ("normal", {"x": -40}),
        ("qnormal", {"x": 1.5}),
        ("lognormal", {"x": 1e-9}),
        ("qlognormal", {"x": 0.0}),
        ("randint", {"x": 3}),
        ("randint from", {"x": 2}),
        ("uniformint", {"x": 5}),
        ("uniformint", {"x": 5.0}),
        ("choice", {"x": np.int8(2)}),
        ("choice", {"x": 2.0}),
        ("pchoice", {"x": 1}),
    ],
)
def test_possible_values_are_accepted(space: str, point: Any, tmp_path: Path) -> None:
    """Rounded bounds, values off the grid and numpy scalars give the same trials as hyperopt."""
    expected = plain(SPACES[space], [ParameterSpace(SPACES[space]).complete(point, "p")])
    assert values(given(tmp_path, SPACES[space], [point]).trials) == values(expected)


@pytest.mark.parametrize(
    ("space", "point", "words"),
    [
        ("uniform", {"x": 3.1}, "between -2 and 3"),
        ("uniform", {"x": float("nan")}, "not a finite number"),
        ("uniform", {"x": 10**400}, "not a finite number"),
        ("uniform", {"x": np.longdouble(1)}, "not a finite number"),
        ("loguniform", {"x": 0}, "between 1e-05 and 0.1"),
        ("loguniform", {"x": 0.2}, "between 1e-05 and 0.1"),
        ("quniform", {"x": 9.5}, "between 0 and 9"),
        ("qloguniform", {"x": -2}, "between 0 and 20"),
        ("normal", {"x": float("inf")}, "not a finite number"),
        ("normal", {"x": None}, "gives None for x"),
        ("lognormal", {"x": 0}, "a positive number"),
        ("qlognormal", {"x": -0.5}, "a positive number"),
        ("randint", {"x": 4}, "integer from 0 to 3"),
        ("randint", {"x": 1.5}, "whole number"),
        ("randint", {"x": True}, "gives True for x"),
        ("randint", {"x": np.int64(77)}, "gives 77 for x"),
        ("randint from", {"x": 1}, "integer from 2 to 5"),
        ("large randint", {"x": 2**31}, "integer from 0 to 2147483647"),
        ("uniformint", {"x": 2.5}, "whole number"),
        ("choice", {"x": 3}, "integer from 0 to 2"),
        ("choice", {"x": -1}, "integer from 0 to 2"),
        ("choice", {"x": "a"}, "choice is given by its index"),
        ("pchoice", {"x": 2}, "integer from 0 to 1"),
        ("within", {"x": 1.5, "y": 1.25}, "between 0 and 1.25"),
        ("within", {"x": 1.5}, "lacks 'y'"),
        ("net", {}, "lacks 'net'"),
        ("net", {"net": 1}, "lacks 'layers'"),
        ("net", {"net": 0, "layers": 2}, "'layers', which belongs to an option"),
        ("net", {"net": 0, 5: 2}, "names 5, which the space"),
    ],
)
def test_impossible_values_are_refused(space: str, point: Any, words: str, tmp_path: Path) -> None:
    """The error names the point and the parameter, and nothing is written."""
    for points in ([point], [{"net": 0}, point] if space == "net" else [point]):
        with pytest.raises(UsageError, match=words) as refused:
            given(tmp_path, SPACES[space], points)
        assert str(refused.value).startswith(f"points_to_evaluate[{len(points) - 1}] ")
    assert list_searches(open_store(tmp_path)) == []


class Index(IntEnum):
    """An integer of a kind of its own."""

    SECOND = 1


def test_a_number_of_a_users_kind_becomes_a_plain_one(tmp_path: Path) -> None:
    """A subclass of int cannot be recorded; it ended the run after the search was created."""
    result = given(tmp_path, hp.choice("x", "abc"), [{"x": Index.SECOND}], max_evals=1)
    assert repr(result.trials.vals["x"]) == "[1]"


def test_a_range_may_depend_on_another_parameter(tmp_path: Path) -> None:
    """Random search accepts a point for a range that depends on another parameter.

    TPE, which would fail after its 20 random trials, refuses the range before anything is written.
    """
    point = {"x": 1.5, "y": 1.75}
    with pytest.raises(UsageError, match=r"algo='tpe' fails on the range of 'x'.*algo='rand'"):
        given(tmp_path, SPACES["within"], [point])
    assert list_searches(open_store(tmp_path)) == []
    result = given(tmp_path, SPACES["within"], [point], algo="rand", max_evals=3)
    assert result.trials.trials[0]["misc"]["vals"] == {"x": [1.5], "y": [1.75]}


def random_space(rng: random.Random, label: str, depth: int = 0) -> Any:
    """Return a random space of several parameters, nested up to three levels."""
    kinds = [
        lambda name: hp.uniform(name, -1, 2),
        lambda name: hp.quniform(name, 0, 10, 3),
        lambda name: hp.loguniform(name, -5, 1),
        lambda name: hp.qloguniform(name, 0, 4, 2),
        lambda name: hp.normal(name, 1, 2),
        lambda name: hp.qnormal(name, 0, 5, 2),
        lambda name: hp.lognormal(name, 0, 1),
        lambda name: hp.qlognormal(name, 0, 2, 1),
        lambda name: hp.randint(name, 5),
        lambda name: hp.randint(name, 3, 9),
        lambda name: hp.uniformint(name, 1, 7),
    ]
    if depth < 3 and rng.random() < 0.5:
        options = [
            random_space(rng, f"{label}{index}", depth + 1) for index in range(rng.randint(2, 3))
        ]
        if rng.random() < 0.3:
            return hp.pchoice(label, [(1 / len(options), option) for option in options])
        return hp.choice(label, [*options, SHARED] if rng.random() < 0.5 else options)
    if depth == 0:
        return {f"p{n}": random_space(rng, f"{label}{n}", 1) for n in range(3)} | {"s": SHARED}
    return rng.choice(kinds)(label)


def damaged(rng: random.Random, point: dict[str, Any], labels: list[str]) -> dict[str, Any]:
    """Return the point with one fault, or by chance with none."""
    point, label = dict(point), rng.choice(labels)
    wrong = rng.choice(["leave out", "add", "far", "half", "nan"])
    if wrong == "leave out":
        point.pop(label, None)
    elif wrong == "add":
        point.setdefault(label, 1)
    elif label in point:
        point[label] = {"far": 50, "half": point[label] + 0.5, "nan": float("nan")}[wrong]
    return point


@pytest.mark.parametrize("seed", range(40))
def test_random_points_are_completed_or_refused(seed: int, tmp_path: Path) -> None:
    """Accepted points give hyperopt's trials with TPE; refused ones write nothing.

    A point that hyperopt drew is always accepted.
    """
    rng = random.Random(seed)
    space = random_space(rng, "h")
    parameters = ParameterSpace(space)
    drawn = hyperopt.Trials()
    hyperopt.fmin(
        loss, space, hyperopt.rand.suggest, 4, trials=drawn, verbose=False,
        rstate=np.random.default_rng(seed),
    )  # fmt: skip
    points = [
        {label: value[0] for label, value in doc["misc"]["vals"].items() if value}
        for doc in drawn.trials
    ]
    completed = [parameters.complete(point, "drawn") for point in points]
    assert completed == [doc["misc"]["vals"] for doc in drawn.trials]
    points[-1] = damaged(rng, points[-1], sorted(parameters.labels))
    refused = None
    try:
        result = given(tmp_path, space, points)
    except UsageError as error:
        refused = str(error)
    if refused is None:
        completed = [parameters.complete(point, "taken") for point in points]
        assert values(result.trials) == values(plain(space, completed))
    else:
        assert refused.startswith("points_to_evaluate[3] ")
        assert list_searches(open_store(tmp_path)) == []


def pickled(path: Path, points: list[dict[str, Any]]) -> Path:
    """Write the pickle of the trials that hyperopt makes of given points."""
    path.write_bytes(pickle.dumps(generate_trials_to_calculate(points)))
    return path


def go_on(store: Path, **options: Any) -> Any:
    """Make one call without points."""
    return given(store, NET, None, **{"algo": "tpe"} | options)


def test_imported_points_are_completed(tmp_path: Path) -> None:
    """A pickle has no space, so missing parameters are filled in when the search is resumed."""
    path = pickled(tmp_path / "points.pkl", [{"net": 0}, {"net": 1, "layers": 2}, {"net": 0}])
    store = open_store(tmp_path / "store")
    assert import_trials(store, "s", path) == 3
    assert read_history(store, "s").trials[0].document == encode(
        point_document(0, {"net": [0], "layers": []})
    )
    pickled(path, [{"net": 0}])
    assert import_trials(store, "alone", path) == 1
    for name in ("s", "alone"):
        result = go_on(tmp_path / "store", name=name)
        assert all(doc["misc"]["vals"].keys() == {"net", "layers"} for doc in result.trials)
        assert result.done == 30


@pytest.mark.parametrize(
    ("point", "words"),
    [
        ({"net": 1}, "lacks 'layers'"),
        ({"net": 0, "layers": 1}, "belongs to an option"),
        ({"net": 1, "layers": 9}, "integer from 0 to 3"),
        ({"net": 1, "layers": 0.5}, "whole number"),
        ({"net": 0, "depth": 0.5}, "names depth"),
    ],
)
def test_imported_and_inserted_points_are_checked_against_the_space(
    point: dict[str, Any], words: str, tmp_path: Path
) -> None:
    """An impossible point is refused when the search is resumed, before anything is written."""
    store = open_store(tmp_path / "store")
    import_trials(store, "imported", pickled(tmp_path / "p.pkl", [{"net": 0}, point]))
    inserted = DriveTrials("inserted", store=store)
    inserted.insert_trial_docs([point_document(1, {k: [v] for k, v in point.items()})])
    inserted.refresh()
    inserted.close()
    for name in ("imported", "inserted"):
        before = read_status(store, name)
        with pytest.raises(
            UsageError, match=f"Trial 1 of search '{name}', .* {words}.*restart=True"
        ):
            go_on(tmp_path / "store", name=name)
        assert read_status(store, name) == before


NO_DOCUMENT = r"points.pkl .*trial 1 is not a trial document: its value of 'layers' is "
NO_POINT = r"Trial 1 of .*points.pkl is still to be run"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        *((value, NO_POINT) for value in (float("nan"), True)),
        *((value, NO_DOCUMENT) for value in ("deep", None, [1, 2])),
    ],
)
def test_a_pickle_with_an_impossible_point_is_not_imported(
    value: Any, words: str, tmp_path: Path
) -> None:
    """A value that no parameter can have is refused without knowing the space."""
    path = pickled(tmp_path / "points.pkl", [{"net": 0}, {"net": 1, "layers": value}])
    with pytest.raises(UsageError, match=words):
        import_trials(open_store(tmp_path / "store"), "s", path)
    assert not (tmp_path / "store").exists()


def test_an_import_that_failed_can_be_repeated(tmp_path: Path) -> None:
    """An attachment that cannot be recorded leaves no trials that refuse the next import."""
    store, documents = open_store(tmp_path), [point_document(0, {"x": [0.5]})]
    with pytest.raises(NotPlainDataError):
        insert_into_new(store, "s", documents, {"a": 1, "b": object()})
    insert_into_new(store, "s", documents, {"a": 2, "b": 3})
    history = read_history(store, "s")
    assert (len(history.trials), set(history.attachments)) == (1, {"a", "b"})


def stuck(store: Path) -> None:
    """Create a search whose first trial lacks a parameter that it did not use."""
    documents = plain(NET, [{"net": [0], "layers": []}], max_evals=21)._dynamic_trials
    for part in ("vals", "idxs"):
        del documents[0]["misc"][part]["layers"]
    trials = DriveTrials("s", store=store, seed=3)
    trials.insert_trial_docs(documents)
    trials.close()


def test_a_search_with_an_incomplete_trial_can_be_resumed(tmp_path: Path) -> None:
    """A missing parameter is filled in from the space, so that TPE does not fail."""
    stuck(tmp_path)
    assert go_on(tmp_path).done == 30


def test_repair_completes_the_recorded_trials(tmp_path: Path) -> None:
    """Repair fills in missing parameters once, so that exported trials work in hyperopt, too."""
    stuck(tmp_path)
    store = open_store(tmp_path)
    done = repair(store, "s")
    assert "1 of its trials do not name every parameter" in done.reason
    assert not repair(store, "s").reason
    export_trials(store, "s", tmp_path / "out.pkl")
    trials = pickle.loads((tmp_path / "out.pkl").read_bytes())
    assert trials.trials[0]["misc"]["vals"] == {"net": [0], "layers": []}
    hyperopt.fmin(
        loss, NET, hyperopt.tpe.suggest, 25, trials=trials, verbose=False,
        rstate=np.random.default_rng(3),
    )  # fmt: skip
    assert len(trials) == 25
    assert go_on(tmp_path).done == 30


def test_a_recorded_index_that_no_option_has_is_named(tmp_path: Path) -> None:
    """An impossible index is refused by name; TPE would raise an IndexError."""
    documents = plain(NET, [{"net": [0], "layers": []}], max_evals=3)._dynamic_trials
    documents[0]["misc"]["vals"]["layers"] = [7]
    documents[0]["misc"]["idxs"]["layers"] = [0]
    trials = DriveTrials("s", store=tmp_path)
    trials.insert_trial_docs(documents)
    trials.close()
    with pytest.raises(UsageError, match=r"Trial 0 of search 's', .* gives 7 for layers"):
        go_on(tmp_path)
