"""The table of a search as pandas users expect it: conditional spaces, failures, odd names."""

import csv
import errno
import io
import json
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hyperopt import hp
from hyperopt.pyll import scope

from colab_drive_tuner import export_trials, open_store, resume_search
from colab_drive_tuner.checkpoint.codec.codec import encode
from colab_drive_tuner.cli.common import json_value
from colab_drive_tuner.errors import NotPlainDataError, SearchError, UsageError
from colab_drive_tuner.search.results.exchange.import_export import import_trials, write_file
from colab_drive_tuner.search.results.report_page import report_page
from colab_drive_tuner.search.results.result import SearchResult, TrialResult
from colab_drive_tuner.search.results.search_data import search_data
from colab_drive_tuner.search.results.table import Table

FIXED = ["tid", "state", "status", "loss", "duration", "runtime"]


def document(tid: int, point: dict[str, Any], result: dict[str, Any] | None = None) -> Any:
    return {
        "tid": tid,
        "state": 2,
        "owner": "here",
        "book_time": None,
        "refresh_time": None,
        "result": result or {"status": "ok", "loss": 1.0},
        "misc": {"vals": {label: [value] for label, value in point.items()}},
    }


CONDITIONAL = {
    "lr": hp.uniform("rate", 0, 1),
    "layers": {"units": hp.choice("units", [None, 32, 64]), "depth": hp.randint("depth", 4)},
    "model": hp.choice(
        "model",
        [
            {"kind": "svm", "C": hp.uniform("C", 0, 1), "shrink": hp.choice("s", [False, True])},
            {"kind": "forest", "trees": scope.int(hp.quniform("trees", 1, 9, 1))},
        ],
    ),
}
SVM = {"rate": 0.5, "units": 0, "depth": 2, "model": 0, "C": 0.25, "s": 1}
FOREST = {"rate": 0.25, "units": 1, "depth": 3, "model": 1, "trees": 4.0}


def test_a_column_for_each_parameter_by_its_path() -> None:
    """Entries of nested dicts have a column each, named as by `pandas.json_normalize`."""
    table = Table([document(0, SVM), document(1, FOREST)], CONDITIONAL)
    frame = table.to_dataframe()
    assert set(frame.columns[6:-1]) == {
        "lr", "layers.units", "layers.depth", "model", "model.kind", "model.C", "model.shrink",
        "model.trees",
    }  # fmt: skip
    assert list(frame["model"]) == [0, 1]
    assert list(frame["model.kind"]) == ["svm", "forest"]
    assert table.rows[0]["layers.depth"] == 2
    assert "model.trees" not in table.rows[0]
    assert table.rows[1]["model.trees"] == 4


def test_parameters_are_found_without_hyperopts_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table does not evaluate the space's graph, which took 20 s for 10,000 trials."""
    monkeypatch.setattr("hyperopt.space_eval", pytest.fail)
    svm, forest = Table([document(0, SVM), document(1, FOREST)], CONDITIONAL).rows
    assert (svm["lr"], svm["model.C"], svm["model.shrink"]) == (0.5, 0.25, True)
    assert (forest["layers.units"], forest["model.trees"]) == (32, 4)
    assert type(forest["model.trees"]) is int


def test_no_two_columns_of_the_command_line_have_one_name() -> None:
    """Names that collide with the command line's own columns get a prefix."""
    trial = document(0, {"trial": 1}, {"status": "ok", "loss": 1.0, "seconds": 60, "trial": "a"})
    data = search_data("s", [trial])
    names, rows = data.table(data.trials)
    assert names[4:] == ["params.trial", "result.seconds", "result.trial", "error"]
    assert rows[0][4:] == [1, 60, "a", ""]


def test_a_clock_that_was_set_back_gives_no_negative_duration() -> None:
    """The duration of a trial that ended before it began is unknown; that of others is known."""
    began = datetime(2026, 11, 30, 12)
    trials = [
        document(tid, {"x": 1}) | {"book_time": began, "refresh_time": began + took}
        for tid, took in enumerate([timedelta(milliseconds=11), timedelta(days=-365)])
    ]
    assert [trial.seconds for trial in search_data("s", trials).trials] == [0.011, None]
    assert [row["duration"] for row in Table(trials, {"x": hp.uniform("x", 0, 1)}).rows] == [
        0.011,
        None,
    ]


@scope.define
def _tenth_of_a_share(whole: int) -> float:
    """Return a part of the space that fails for the value 0."""
    return 0.1 / whole


def test_a_space_that_fails_for_a_trial_fails_for_it_alone(tmp_path: Path) -> None:
    """The row has the error, and `repr` the values drawn; a loss that is no number is left out."""
    space = {"x": scope._tenth_of_a_share(hp.randint("x", 2))}
    found = resume_search(
        lambda point: {"status": "fail", "loss": "n/a"},
        space=space,
        name="s",
        max_evals=2,
        store=tmp_path,
        progress=False,
        points_to_evaluate=[{"x": 0}, {"x": 1}],
        catch_eval_exceptions=True,
    )
    failed, ended = found.rows
    assert "x" not in failed
    assert failed["error"].startswith("ZeroDivisionError: ")
    assert (ended["x"], ended["loss"]) == (0.1, None)
    assert repr(found.trial(0)) == "Trial 0 of 's': no loss, {'x': 0}"
    with pytest.raises(SearchError, match=r"evaluated for trial 0 of search 's' \(ZeroDivision"):
        _ = found.trial(0).params
    assert list(found.to_dataframe()["loss"].isna()) == [True, True]


def test_numbers_of_numpy_are_those_of_python() -> None:
    """Numpy numbers become Python's; an index without an option is a missing parameter."""
    point = {label: np.float64(v) if v % 1 else np.int64(v) for label, v in FOREST.items()}
    (row,) = Table([document(0, point, {"status": "ok", "auc": np.float32(0.5)})], CONDITIONAL).rows
    assert (type(row["layers.depth"]), type(row["model"]), type(row["auc"])) == (int, int, float)
    (row,) = Table([document(0, FOREST | {"units": 7, "model": -1})], CONDITIONAL).rows
    assert not {"layers.units", "model", "model.kind"} & row.keys()


def test_none_is_a_value_and_an_inactive_parameter_is_na() -> None:
    """None is a value, an inactive parameter is NA, and no type depends on the trials."""
    both = Table([document(0, SVM), document(1, FOREST)], CONDITIONAL).to_dataframe()
    assert both["layers.units"][0] is None
    assert both["layers.units"][1] == 32
    assert both["model.trees"][0] is pd.NA
    types = {"lr": "Float64", "layers.depth": "Int64", "model.C": "Float64", "model": "Int64",
             "model.shrink": "boolean", "model.trees": "Int64", "tid": "int64"}  # fmt: skip
    assert {name: str(both[name].dtype) for name in types} == types
    for trials in ([document(0, SVM)], [document(1, FOREST)], []):
        alone = Table(trials, CONDITIONAL).to_dataframe()
        assert list(alone.dtypes.items()) == list(both.dtypes.items())


def test_a_file_says_none_where_none_was_chosen() -> None:
    """A chosen None is the text None; a parameter that the trial lacks is an empty cell."""
    returned = {"status": "ok", "loss": 1.0, "note": None}
    trials = [document(0, SVM, returned), document(1, FOREST)]
    table = Table(trials, CONDITIONAL)
    svm, forest = csv.DictReader(table.to_csv().decode().splitlines())
    assert (svm["layers.units"], forest["layers.units"]) == ("None", "32")
    assert (svm["model.trees"], forest["model.trees"]) == ("", "4")
    assert (svm["note"], forest["note"], svm["runtime"], svm["error"]) == ("None", "", "here", "")
    names, rows = (data := search_data("s", trials, CONDITIONAL)).table(data.trials)
    assert [row[names.index("layers.units")] for row in rows] == ["None", 32]
    assert [row[names.index("model.trees")] for row in rows] == [None, 4]


def test_a_file_runs_nothing_in_a_spreadsheet() -> None:
    """A text that a spreadsheet would run as a formula gets an apostrophe; a number does not."""
    returned = {"status": "ok", "loss": -1.0, "@note": "+1", "dash": "\t=1", "kept": "a=b"}
    trial = document(0, {"=1+1": 0}, returned)
    space = {"=1+1": hp.choice("=1+1", ["=HYPERLINK(0)"])}
    (row,) = csv.DictReader(io.StringIO(Table([trial], space).to_csv().decode(), newline=""))
    assert (row["loss"], row["kept"], row["dash"]) == ("-1.0", "a=b", "'\t=1")
    assert (row["'=1+1"], row["'@note"]) == ("'=HYPERLINK(0)", "'+1")


class Nameless:
    """An option whose repr fails."""

    def __repr__(self) -> str:
        raise RuntimeError("no name")


@pytest.mark.parametrize("beside", [0.5, 1, "b"])
@pytest.mark.parametrize(
    "odd", [10**400, -(10**400), 10**5000, Nameless(), "\ud800", 1j, float("inf"), b"x", {1}],
    ids=["large", "small", "endless", "nameless", "half", "complex", "infinite", "bytes", "set"],
)  # fmt: skip
def test_any_value_can_be_in_a_table(odd: Any, beside: Any, tmp_path: Path) -> None:
    """Frames, files and pages work for any option of a choice and any returned value."""
    space = {"x": hp.choice("x", [odd, beside]), "y": hp.uniform("y", 0, 1)}
    results = [{"status": "ok", "loss": n / 9, "n": odd if n % 2 else beside} for n in range(12)]
    trials = [document(n, {"x": n % 2, "y": n / 20}, results[n]) for n in range(12)]
    table, data = Table(trials, space), search_data("s", trials, space)
    assert list(table.to_dataframe()["x"]) == [odd, beside] * 6
    assert len(table.to_csv().splitlines()) == 13
    parquet = tmp_path / "x.parquet"
    parquet.write_bytes(table.to_parquet())
    assert len(pd.read_parquet(parquet)) == 12
    assert set(data.importance()) == {"x", "y"}
    assert "Importance" in report_page(data, "", {})
    owner: Any = SimpleNamespace(name="s")
    assert repr(TrialResult(owner, trials[0], space)).startswith("Trial 0 of 's': loss 0, ")
    assert json.loads(json.dumps([json_value(odd), json_value(beside)]))[1] == beside


def test_a_key_that_is_not_unicode_has_a_column() -> None:
    """A lone surrogate in a key, as in the name of a file, is escaped: pandas refuses it."""
    trial = document(0, {"x": 1}, {"status": "ok", "loss": 1.0, "a\udcff": 3})
    assert Table([trial]).to_dataframe()["a\\udcff"].tolist() == [3]


def test_a_key_without_a_text_does_not_break_a_table() -> None:
    """A key that Python cannot write out is shown by its type, also in an error."""
    result = {"status": "ok", "loss": 1.0, 10**5000: {10**5000: 2}}
    table = Table([document(0, {"y": 0.5}, result)], {"y": hp.uniform("y", 0, 1)})
    assert "<int that cannot be shown>" in table.to_csv().decode()
    with pytest.raises(NotPlainDataError, match="that cannot be shown"):
        encode({10**5000: object()})


@pytest.mark.parametrize(
    ("space", "point", "columns"),
    [
        ([hp.uniform("a", 0, 1), hp.choice("b", ["x", None])], {"a": 0.5, "b": 1},
         {"a": 0.5, "b": None}),
        ((hp.uniform("a", 0, 1),), {"a": 0.5}, {"a": 0.5}),
        (hp.uniform("x", 0, 1), {"x": 0.5}, {"x": 0.5}),
        (scope.int(hp.quniform("x", 0, 9, 1)), {"x": 2.0}, {"x": 2}),
        ({"a": [hp.uniform("b", 0, 1), 7, {"c": hp.uniform("d", 0, 1)}]}, {"b": 0.5, "d": 1.0},
         {"a.b": 0.5, "a.1": 7, "a.2.c": 1.0}),
        ({"units": hp.choice("units", [[64, 32], [8]])}, {"units": 0}, {"units": (64, 32)}),
        ({"o": hp.choice("o", ["sgd", {"name": "adam", "b": hp.uniform("b", 0, 1)}])},
         {"o": 1, "b": 0.5}, {"o.name": "adam", "o.b": 0.5}),
        ({"o": hp.choice("o", ["sgd", {"name": "adam", "b": hp.uniform("b", 0, 1)}])},
         {"o": 0}, {"o": "sgd"}),
        ({"t": hp.choice("t", [np.dtype("f4"), 1])}, {"t": 0}, {"t": np.dtype("f4")}),
        ({"p": hp.pchoice("p", [(0.5, "x"), (0.5, "y")])}, {"p": 1}, {"p": "y"}),
        ({"loss": hp.uniform("loss", 0, 1)}, {"loss": 0.5}, {"params.loss": 0.5}),
        ({"a.b": hp.uniform("x", 0, 1), "a": {"b": hp.uniform("y", 0, 1)}}, {"x": 0.5, "y": 1.0},
         {"a.b": 0.5, "params.a.b": 1.0}),
        ({"params.loss": 1, "loss": hp.uniform("loss", 0, 1)}, {"loss": 0.5},
         {"params.loss": 1, "params.params.loss": 0.5}),
    ],
)  # fmt: skip
def test_spaces_of_any_shape(space: Any, point: dict[str, Any], columns: dict[str, Any]) -> None:
    """Items of lists are named by their labels; names that collide get a prefix."""
    (row,) = Table([document(0, point)], space).rows
    assert {name: row[name] for name in row if name not in (*FIXED, "error")} == columns


def test_what_the_objective_returned_has_columns() -> None:
    """Each scalar has a column, nested ones by their path; history and attachments have none."""
    result = {
        "status": "ok", "loss": float("nan"), "accuracy": 0.5, "epochs": 3, "note": None,
        "rate": 9, "tid": "mine", "metrics": {"auc": 0.75}, "curve": [1, 2], "history": {"x": [1]},
        "attachments": {"a": b""}, "converged": True,
    }  # fmt: skip
    space = {"rate": hp.uniform("rate", 0, 1)}
    table = Table([document(0, {"rate": 0.5}, result), document(1, {"rate": 0.5})], space)
    assert list(table.columns) == [
        *FIXED, "rate", "accuracy", "epochs", "note", "result.rate", "result.tid", "metrics.auc",
        "converged", "error",
    ]  # fmt: skip
    frame = table.to_dataframe()
    assert frame["note"][0] is None
    assert frame["note"][1] is pd.NA
    assert frame["epochs"][0] == 3
    assert frame["epochs"].dtype == "Int64"
    assert frame["loss"][0] != frame["loss"][0]  # NaN was returned and is not missing
    assert frame["loss"][1] == 1.0


def test_anything_can_be_a_reason_an_error_or_an_owner() -> None:
    """An array as the reason of a failure, or a huge number as an error, is shown as a text."""
    failed = {"status": "fail", "reason": np.array([1, 2])}
    trials = [document(tid, {"x": 1}, dict(failed)) for tid in range(2)]
    trials[0]["owner"] = np.array([3, 4])
    trials[1]["misc"]["error"] = (10**5000, np.array([5, 6]))
    data = search_data("s", trials)
    assert [(one.where, one.error) for one in data.trials] == [
        ("[3 4]", "[1 2]"),
        (data.trials[1].where, "<int that cannot be shown>: [5 6]"),
    ]


def test_a_failed_trial_shows_its_error(tmp_path: Path) -> None:
    """The error is on one line without control characters, state and status agree, no loss."""

    def objective(point: Any) -> Any:
        if point["x"] > 0.5:
            raise ValueError("out of\ntune \x1b[31m")
        return {"loss": point["x"], "status": "ok", "accuracy": 1 - point["x"]}

    result = resume_search(
        objective, space={"x": hp.uniform("x", 0, 1)}, name="s", max_evals=8, store=tmp_path,
        seed=1, catch_eval_exceptions=True, progress=False,
    )  # fmt: skip
    frame = result.to_dataframe()
    failed = frame[frame.x > 0.5]
    assert 0 < len(failed) < 8
    assert set(zip(failed.state, failed.status, failed.error, strict=True)) == {
        ("error", "fail", r"ValueError: out of\ntune \x1b[31m")
    }
    assert failed.loss.isna().all()
    fine = frame[frame.x <= 0.5]
    assert set(zip(fine.state, fine.status, strict=True)) == {("done", "ok")}
    assert fine.error.isna().all()
    assert list(fine.accuracy) == [1 - x for x in fine.x]
    assert frame.loss.min() == result.best_loss


def test_a_pickle_in_the_home_folder_is_exported_and_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`~` means the home folder in both directions."""
    monkeypatch.setenv("HOME", str(tmp_path))
    store = open_store("memory:home")
    space = {"x": hp.uniform("x", 0, 1)}
    resume_search(lambda p: p["x"], space=space, name="a", max_evals=2, store=store, progress=False)
    export_trials(store, "a", "~/a.pkl")
    assert import_trials(store, "b", "~/a.pkl") == 2


def test_an_export_into_a_folder_that_may_not_be_entered_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Python then does not even say whether the path is a folder."""

    def refuse(path: Path, **_: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "stat", refuse)
    with pytest.raises(UsageError, match="cannot be written: Permission denied"):
        write_file("/private/a.csv", b"")


def test_a_trial_that_lacks_a_parameter_is_a_row(tmp_path: Path) -> None:
    """A parameter of a wider space that old trials do not have is missing in their rows."""
    store = open_store(tmp_path / "store")
    narrow = {"x": hp.uniform("x", 0, 1)}
    options: dict[str, Any] = {"store": store, "progress": False}
    resume_search(lambda p: p["x"], space=narrow, name="narrow", max_evals=3, seed=1, **options)
    export_trials(store, "narrow", tmp_path / "x.pkl")
    import_trials(store, "wide", tmp_path / "x.pkl")
    wide = {"x": hp.uniform("x", 0, 1), "drop": hp.choice("drop", [None, 0.5])}
    trials = resume_search(
        lambda p: p["x"], space=narrow, name="narrow", max_evals=3, seed=1, **options
    ).trials
    result = SearchResult(trials, done=3, max_evals=3, space=wide)
    frame = result.to_dataframe()
    assert frame["drop"].isna().all()
    assert frame["x"].notna().all()
    with pytest.raises(SearchError, match="no option of drop is chosen"):
        _ = result.best_params
    assert set(result.best_run) == {"x"}


def test_export_writes_what_the_name_promises(tmp_path: Path) -> None:
    """`.csv` is a table; another kind of file is refused by name, and nothing is written."""
    store = open_store(tmp_path / "store")
    resume_search(
        lambda p: {"loss": p["x"], "status": "ok", "note": "a, b"},
        space={"x": hp.uniform("x", 0, 1), "c": hp.choice("c", ["p", "q"])},
        name="s", max_evals=2, store=store, progress=False,
    )  # fmt: skip
    assert export_trials(store, "s", tmp_path / "x.CSV") == 2
    with (tmp_path / "x.CSV").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["tid"] for row in rows] == ["0", "1"]
    assert {row["c"] for row in rows} <= {"0", "1"}
    assert float(rows[0]["x"]) == float(rows[0]["loss"])
    assert rows[0]["note"] == "a, b"
    for name in ("x.json", "x.xlsx", "x.parquet", "x.pkl.gz"):
        with pytest.raises(UsageError, match=r"pickle .* or a table"):
            export_trials(store, "s", tmp_path / name)
        assert not (tmp_path / name).exists()
