"""The result of a search: values, rows, learning curves, and the machine of each trial."""
# ruff: noqa: F821 - templates use distributions without an import

import copy
import pickle
import shutil
import sys
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
from hyperopt import hp

from colab_drive_tuner.errors import MissingExtraError, ModelError, SearchError, UsageError
from colab_drive_tuner.manage.naming import remove_search
from colab_drive_tuner.search.drive_trials import DriveTrials
from colab_drive_tuner.search.resume import resume_search
from colab_drive_tuner.search.trial_documents import imported_document
from tests.processes import run_python

STATUS_OK = "ok"

RUN = """
import sys

class Nowhere:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in sys.argv[3].split(","):
            raise ImportError(f"no {name} here")

sys.meta_path.insert(0, Nowhere())
import colab_drive_tuner as cdt

def data(factor, offset=0):
    return [factor], offset

def model(x, y):
    loss = {{choice(["mae", "mse"])}}
    rate = {{uniform(0, 1)}}
    return {"loss": rate * x[0] + y, "status": STATUS_OK, "history": {"loss": [2.0, rate]}}

result = cdt.resume_search(model, data, data_args=(3,), name="plain", store=sys.argv[1], seed=4,
                           max_evals=int(sys.argv[2]), progress=False)
assert result.best_model is None
"""


def run(store: Path, max_evals: int, text: str, blocked: str) -> None:
    script = store.parent / "script.py"
    script.write_text(RUN + text)
    run_python("-W", "error", script, store, max_evals, blocked)


def test_results_need_no_tensorflow(tmp_path: Path) -> None:
    """Results need neither TensorFlow nor Keras, and pandas only for `to_dataframe`.

    The frame names the process and machine that ran each trial.
    """
    store = tmp_path / "store"
    run(
        store,
        2,
        """
try:
    result.to_dataframe()
except ImportError as error:
    assert "pip install pandas" in str(error) and ".rows" in str(error)
else:
    raise AssertionError("made a frame of nothing")
""",
        "tensorflow,keras,pandas",
    )
    run(
        store,
        4,
        """
assert not {"tensorflow", "keras", "pandas"} & sys.modules.keys()
assert result.best_params["loss"] in ("mae", "mse") and result.best_run["loss"] in (0, 1)
assert result.history() == {"loss": [2.0, result.best_params["rate"]]}
frame = result.to_dataframe()
assert list(frame.columns) == ["tid", "state", "status", "loss", "duration", "runtime",
                               "params.loss", "rate", "error"]
assert list(frame.tid) == [0, 1, 2, 3] and set(frame.status) == {"ok"}
assert (frame.loss == 3 * frame.rate).all() and frame["params.loss"].isin(["mae", "mse"]).all()
assert (frame.duration >= 0).all()
assert frame.runtime[0] == frame.runtime[1] != frame.runtime[2] == frame.runtime[3]
import os, socket
assert frame.runtime[2].endswith(f", process {os.getpid()} on {socket.gethostname()}")
for tid in range(4):
    assert result.history(tid) == {"loss": [2.0, result.rows[tid]["rate"]]}
""",
        "tensorflow,keras",
    )


def test_a_trial_that_reported_nothing_has_an_empty_history(tmp_path: Path) -> None:
    """A history is a dict, also without a metric."""
    result = resume_search(
        lambda x: x, space=hp.uniform("x", 0, 1), name="s", max_evals=1, store=tmp_path, seed=1
    )
    assert result.history(0) == {}
    assert result.rows[0]["x"] == pytest.approx(result.best_params)


def test_a_result_without_a_loss_is_shown(tmp_path: Path) -> None:
    """The repr of a result works even if every loss is NaN; its best loss is an error."""
    result = resume_search(
        lambda _: float("nan"),
        space=hp.uniform("x", 0, 1),
        name="nan",
        max_evals=2,
        store=tmp_path,
        progress=False,
    )
    assert repr(result) == "Search 'nan': 2 of 2 trials (2 failed)"
    with pytest.raises(SearchError, match="has a loss"):
        _ = result.best_loss


def test_the_result_of_a_removed_search_is_shown(tmp_path: Path) -> None:
    """Its card, page and pickle, which name the folder, still show the trials that were read."""
    result = resume_search(
        lambda x: x, space=hp.uniform("x", 0, 1), name="s", max_evals=2, store=tmp_path / "store"
    )
    remove_search(tmp_path / "store", "s")
    assert "2 of 2" in result._repr_html_()
    result.report(tmp_path / "page.html")
    assert pickle.loads(pickle.dumps(result)).rows == result.rows


def test_a_missing_pandas_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`to_dataframe` without pandas names the package to install."""
    monkeypatch.setitem(sys.modules, "pandas", None)
    result = resume_search(
        lambda x: x, space=hp.uniform("x", 0, 1), name="s", max_evals=1, store=tmp_path
    )
    with pytest.raises(MissingExtraError, match="pip install pandas"):
        result.to_dataframe()


def keras_model(x: Any) -> dict[str, Any]:
    import keras

    units = {{choice([2, 3])}}
    network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(units)])
    network.compile(loss="mse", optimizer="sgd", metrics=["mae"])
    network.fit(x, x[:, :1] * [1.0] * units, epochs=2, verbose=0)
    return {"loss": network.history.history["loss"][-1], "status": STATUS_OK, "model": network}


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_the_history_of_fit_is_kept_with_the_trial(tmp_path: Path) -> None:
    """Each trial has its curves by metric, with or without its model, also in a later session."""
    import numpy as np

    options: dict[str, Any] = {"name": "curves", "store": tmp_path, "seed": 1, "progress": False}
    resume_search(keras_model, np.ones((8, 3)), max_evals=2, **options)
    result = resume_search(keras_model, np.ones((8, 3)), max_evals=2, **options)
    for row in result.rows:
        curves = result.history(row["tid"])
        assert set(curves) == {"loss", "mae"}
        assert curves["loss"] == [pytest.approx(curves["loss"][0]), row["loss"]]
    assert result.history() == result.history(result.best_trial["tid"])
    assert "history" not in result.best_trial["result"]


def test_a_history_object_is_kept_as_its_curves(tmp_path: Path) -> None:
    """A History object that `fit` returned is stored as its curves of numbers."""
    import numpy as np

    class History:  # like Keras's callback, which has its curves in an attribute
        def __init__(self) -> None:
            self.history = {"loss": [np.float32(0.5), 0.25], "vector": [[1, 2], [3, 4]]}

    result = resume_search(
        lambda x: {"loss": x, "status": STATUS_OK, "history": History()},
        space=hp.uniform("x", 0, 1),
        name="s",
        max_evals=1,
        store=tmp_path,
        progress=False,
    )
    assert result.history(0) == {"loss": [0.5, 0.25]}


def test_a_trial_shows_its_parameters_as_the_objective_got_them(tmp_path: Path) -> None:
    """A choice is shown as the option chosen; `best(count)` refuses an invalid count."""
    space = {"kind": hp.choice("kind", ["adam", "sgd"]), "x": hp.uniform("x", 0, 1)}
    options = {"name": "s", "max_evals": 1, "store": tmp_path, "seed": 1, "progress": False}
    found = resume_search(lambda _: 0.5, space=space, **options)
    assert repr(found.best(1)) == f"[Trial 0 of 's': loss 0.5, {found.best_params!r}]"
    assert found.best_params["kind"] in ("adam", "sgd")
    assert len(found.best(np.int64(3))) == 1
    for count in (-1, "3"):
        with pytest.raises(UsageError, match=r"count must be an integer >= 0, got"):
            found.best(count)


@pytest.mark.parametrize("library", [pickle, cloudpickle])
def test_a_pickled_result_shows_what_the_result_shows(library: Any, tmp_path: Path) -> None:
    """An unpickled result needs no store; so do a copy of it, and a single trial."""
    result = resume_search(
        lambda x: {"loss": x, "status": STATUS_OK, "model": "resnet"},
        name="s",
        space=hp.uniform("x", 0, 1),
        max_evals=12,
        seed=1,
        store=tmp_path / "store",
        progress=False,
    )
    once = library.loads(library.dumps(result))
    card, timeline = result._repr_html_(), str(result.plot.timeline())
    shutil.rmtree(tmp_path / "store")
    for again in (once, library.loads(library.dumps(once)), copy.copy(once)):
        assert str(again) == str(result)
        assert again._repr_html_() == card
        assert str(again.best(3)) == str(library.loads(library.dumps(again.best(3))))
        assert str(again.trial(4)) == str(result.trial(4))
        assert again.rows == result.rows
        assert (again.seed, again.exit_code, again.best_model) == (1, 0, None)
        assert str(again.plot.timeline()) == timeline
        again.report(tmp_path / "report.html")
        assert repr(again.trials) == "Trials of 's', pickled without their store: 12 trials"
        assert again.trials.losses() == result.trials.losses()


def test_a_pickled_result_says_where_its_models_are(tmp_path: Path) -> None:
    """A pickle has no models; reading one is an error, not None."""
    with pytest.warns(UserWarning, match="no Keras model"):
        result = resume_search(
            lambda x: {"loss": x, "status": STATUS_OK, "model": object()},
            name="s",
            space=hp.uniform("x", 0, 1),
            max_evals=2,
            store=tmp_path,
            progress=False,
        )
    again = pickle.loads(pickle.dumps(result))
    best, last = (pickle.loads(pickle.dumps(one)) for one in result.best())
    assert result.best_model is not None
    assert again.best_run == result.best_run
    for read in (
        lambda: again.best_model,
        again.load_model,
        lambda: tuple(again),
        lambda: again.trial(1).model,
        lambda: best.model,
        lambda: last.model,
    ):
        with pytest.raises(ModelError, match=f"they stay in the search's folder, {tmp_path}"):
            read()


def test_a_trial_whose_number_is_a_text_is_shown(tmp_path: Path) -> None:
    """A document that the user inserted may have a text as its number."""
    trials = DriveTrials("s", store=tmp_path)
    found = {"status": "ok", "loss": -1.0}
    trials.insert_trial_docs([imported_document("one", 2, {"x": 0.5}, found, owner=None)])
    result = resume_search(
        lambda x: x,
        name="s",
        space=hp.uniform("x", 0, 1),
        algo="rand",
        max_evals=2,
        store=tmp_path,
        progress=False,
    )
    best, other = result.best()
    assert repr(best) == "Trial one of 's': loss -1, 0.5"
    assert [best.tid, other.tid] == [trial.tid for trial in map(result.trial, ("one", 0))]


def test_an_unknown_trial_is_an_error(tmp_path: Path) -> None:
    """So `load_model` does not return None, as for a trial whose model was not kept."""
    result = resume_search(
        lambda x: x,
        name="s",
        space=hp.uniform("x", 0, 1),
        max_evals=3,
        store=tmp_path,
        progress=False,
    )
    for read in (result.load_model, result.trial, result.history):
        with pytest.raises(SearchError, match="'s' has no trial 3"):
            read(3)
    assert result.load_model(2) is None
