"""Models that an objective returns: stored in `best/`, not in records, and loaded on demand."""

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hyperopt import hp

from colab_drive_tuner.errors import TrainingWarning
from colab_drive_tuner.search.drive_trials import DriveTrials
from colab_drive_tuner.search.executors import worker
from colab_drive_tuner.search.resume import resume_search
from colab_drive_tuner.search.trials.returned_models import ModelResult, ResultParts

# numpy 2 warns about TensorFlow's tensors
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SPACE = {"units": hp.choice("units", [2, 3, 4]), "bias": hp.uniform("bias", -1, 1)}


def keras_objective(point: dict[str, Any]) -> dict[str, Any]:
    import keras

    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(point["units"])])
    return {"loss": abs(point["bias"]), "status": "ok", "model": model}


def run(store: Path, objective: Any = keras_objective, **options: Any) -> Any:
    options = {"max_evals": 4, "seed": 2, "progress": False, "space": SPACE} | options
    return resume_search(objective, name="s", store=store, algo="rand", **options)


def as_hyperas_does(trials: Any, best_run: dict[str, Any]) -> Any:
    """Return the best model, found as `hyperas.optim.minimize` does."""
    best_model = None
    for trial in trials:
        vals = {label: val[0] for label, val in trial.get("misc").get("vals").items() if val}
        if vals == best_run and "model" in trial.get("result").keys():  # noqa: SIM118
            best_model = trial.get("result").get("model")
    return best_model


def test_the_best_model_is_returned_now_and_later(tmp_path: Path) -> None:
    """The best model is returned in the session that trained it and in a later one."""
    result = run(tmp_path)
    best_run, best_model = result
    units = result.best_params["units"]
    later = DriveTrials("s", store=tmp_path)
    for model in (
        best_model,
        result.best_model,
        as_hyperas_does(result.trials, best_run),
        as_hyperas_does(later, best_run),
        run(tmp_path).best_model,
    ):
        assert model.predict(np.zeros((1, 3)), verbose=0).shape == (1, units)
    assert len(list((tmp_path / "s" / "best").glob("*.keras"))) == 1


def test_a_best_model_that_was_not_stored_is_told(tmp_path: Path) -> None:
    """A kill before the upload loses the model, but not the result: `best_model` warns."""
    result = run(tmp_path)
    (file,) = (tmp_path / "s" / "best").glob("*.keras")
    file.unlink()
    resumed = run(tmp_path)
    with pytest.warns(TrainingWarning, match=f"The best trial, {result.best_trial['tid']}, ret"):
        assert resumed.best_model is None
    with pytest.warns(TrainingWarning, match="returned a model that is not in the store"):
        _, best_model = resumed
    assert best_model is None


def test_a_best_model_that_was_not_to_be_kept_is_none(tmp_path: Path) -> None:
    """Whoever keeps no models needs no warning that there is none."""
    assert run(tmp_path, keep_models=0).best_model is None


def test_a_worker_without_a_temporary_folder_returns_the_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk of a worker costs the model, not the trial; the driver warns."""
    monkeypatch.setattr(worker.tempfile, "tempdir", str(tmp_path / "missing"))
    result = {"loss": 1.0, "status": "ok"}
    parts = worker._serialize_model(ResultParts(result, had_model=True, keras=object()), 2.0)
    assert parts.result == result
    with pytest.raises(RuntimeError, match="No such file"):
        parts.keras.save(tmp_path / "model.keras")


def test_no_record_holds_a_model(tmp_path: Path) -> None:
    """Records, trials.pkl and copies of the Trials hold no model."""
    trials = run(tmp_path).trials
    with (tmp_path / "s" / "trials.pkl").open("rb") as file:
        copies = [pickle.load(file), copy.deepcopy(trials), pickle.loads(pickle.dumps(trials))]
    for plain in copies:
        assert all(type(doc["result"]) is dict for doc in plain.trials)
        assert all("model" not in doc["result"] for doc in plain.trials)
    assert all(path.stat().st_size < 10_000 for path in tmp_path.rglob("*.cdt"))


def test_a_model_that_is_not_keras_is_kept_in_memory_only(tmp_path: Path) -> None:
    """A warning says that the model is not stored; this process can still read the best one."""

    class Forest:
        def __init__(self, bias: float) -> None:
            self.bias = bias

    def objective(point: dict[str, Any]) -> dict[str, Any]:
        return {"loss": abs(point["bias"]), "status": "ok", "model": Forest(point["bias"])}

    with pytest.warns(UserWarning, match="Forest, no Keras model"):
        result = run(tmp_path, objective)
    assert result.best_model.bias == result.best_params["bias"]
    assert DriveTrials("s", store=tmp_path).trials[0]["result"].get("model") is None


def test_delete_all_forgets_a_model_that_is_not_keras(tmp_path: Path) -> None:
    """After `delete_all` no model of the old history is offered as the new one's."""
    trials = DriveTrials("s", store=tmp_path)

    def search(loss: float, **model: Any) -> None:
        trials.fmin(
            lambda _: {"loss": loss, "status": "ok", **model},
            SPACE,
            algo="rand",
            max_evals=1,
            show_progressbar=False,
        )

    with pytest.warns(UserWarning, match="no Keras model"):
        search(1.0, model=object())
    assert trials.models.load() is not None
    trials.delete_all()
    search(2.0)
    assert trials.models.load() is None


def test_a_plain_value_called_model_is_kept(tmp_path: Path) -> None:
    """A text under the key `model` is recorded like any other value."""
    result = run(tmp_path, lambda point: {"loss": 1.0, "status": "ok", "model": "resnet"})
    assert result.trials.trials[0]["result"]["model"] == "resnet"
    assert DriveTrials("s", store=tmp_path).trials[0]["result"]["model"] == "resnet"


def test_a_result_loads_its_model_only_when_read() -> None:
    """Reading the loss does not load the model."""
    loads: list[str] = []
    result = ModelResult({"loss": 1.0, "status": "ok"}, lambda: loads.append("") or "model")
    assert result["loss"] == result.get("loss") == 1.0
    assert "model" in result
    assert list(result) == ["loss", "status", "model"]
    assert loads == []
    assert result["model"] == result.get("model") == dict(result.items())["model"] == "model"
    assert result.get("nothing", 5) == 5
    assert result.copy() == copy.deepcopy(result) == {"loss": 1.0, "status": "ok"}


def test_a_restart_does_not_mistake_old_models_for_its_own(tmp_path: Path) -> None:
    """After a restart, models of the earlier history are kept but not loaded."""
    assert run(tmp_path).best_loss < 0.9

    def worse(point: dict[str, Any]) -> dict[str, Any]:
        result = keras_objective(point)
        return result | {"loss": 1 + result["loss"]}

    again = run(tmp_path, worse, restart=True)
    assert again.load_model().count_params() == again.best_model.count_params()
    assert again.best_model.count_params() == 4 * again.best_params["units"]
    losses = {path.stem.split("-", 3)[-1] for path in (tmp_path / "s" / "best").glob("*.keras")}
    assert len(losses) == 2
    assert f"{again.best_loss:.6g}" in losses
