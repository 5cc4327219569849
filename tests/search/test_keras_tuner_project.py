"""KerasTuner projects read as searches, without changing the project."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

import colab_drive_tuner as cdt
from colab_drive_tuner.errors import UsageError

STORE = {"progress": False}


def trial(
    number: int, values: dict[str, Any], score: float | None, direction: str = "max", **more: Any
) -> dict[str, Any]:
    """Return what KerasTuner writes about a trial."""
    space = [
        {"class_name": "Float", "config": {"name": "lr", "min_value": 1e-4, "max_value": 1.0}},
        {"class_name": "Int", "config": {"name": "units", "min_value": 8, "max_value": 64}},
        {"class_name": "Choice", "config": {"name": "opt", "values": ["adam", "sgd"]}},
        {"class_name": "Boolean", "config": {"name": "norm"}},
        {"class_name": "Fixed", "config": {"name": "fixed", "value": 3}},
    ]
    seen = [{"value": [(score or 0.0) - 0.1], "step": 0}, {"value": [score or 0.0], "step": 1}]
    named = {"val_metric": {"direction": direction, "observations": seen}}
    return {
        "trial_id": str(number),
        "hyperparameters": {"space": space, "values": values},
        "metrics": {"metrics": named},
        "score": score,
        "best_step": 1,
        "status": "COMPLETED" if score is not None else "FAILED",
        "message": None,
    } | more


def project(folder: Path, *trials: dict[str, Any]) -> Path:
    for one in trials:
        (folder / f"trial_{one['trial_id']}").mkdir(parents=True)
        (folder / f"trial_{one['trial_id']}" / "trial.json").write_text(json.dumps(one))
    order = [one["trial_id"] for one in trials]
    (folder / "oracle.json").write_text(json.dumps({"start_order": order}))
    return folder


VALUES = {"lr": 0.1, "units": 32, "opt": "sgd", "norm": True, "fixed": 3}


def test_trials_losses_and_curves(tmp_path: Path) -> None:
    """A maximized score becomes a negative loss and a choice its index; trials keep their order."""
    folder = project(
        tmp_path / "kt",
        trial(10, VALUES, 0.75),
        trial(2, VALUES | {"opt": "adam", "norm": False}, 0.5, "max"),
        trial(3, {"lr": 0.2}, None, message="Traceback\n" + "  File\n" * 999 + "out of memory\n"),
    )
    store = cdt.open_store(tmp_path / "store")
    assert cdt.import_trials(store, "kt", folder) == 3
    found = cdt.DriveTrials("kt", store=store)
    first, second, third = found.trials
    assert first["misc"]["vals"] == {"lr": [0.1], "units": [32], "opt": [1], "norm": [1]}
    assert first["result"]["loss"] == -0.75
    assert first["result"]["history"] == {"val_metric": [0.65, 0.75]}
    assert second["misc"]["vals"]["opt"] == [0]
    assert third["result"]["reason"].endswith("  File\nout of memory")
    assert third["result"] | {"history": {}, "reason": ""} == {
        "status": "fail",
        "reason": "",
        "history": {},
        "keras_tuner": {"trial_id": "3"},
    }
    assert third["misc"]["vals"]["units"] == []


@pytest.mark.parametrize(
    "content",
    [
        *("", "[]", "{", '{"trial_id": "1"}', "[" * 9999),
        *(
            json.dumps(trial(1, {"opt": "rmsprop"}, 1.0)),
            json.dumps(trial(1, {"lr": 10**400}, 1.0)),
        ),
        json.dumps(trial(1, VALUES, 1.0)).replace("[0.9]", "[]"),
    ],
)
def test_an_invalid_trial_file_is_refused_before_anything_is_written(
    content: str, tmp_path: Path
) -> None:
    """An invalid file or trial is refused by name, and no search is created."""
    folder = project(tmp_path / "kt", trial(1, VALUES, 1.0))
    (folder / "trial_1" / "trial.json").write_text(content)
    with pytest.raises(UsageError, match=r"trial\.json|Trial '1'"):
        cdt.import_trials(cdt.open_store(tmp_path / "store"), "kt", folder)
    assert not (tmp_path / "store" / "kt").exists()


@pytest.mark.parametrize("name", ["trial_1/trial.json", "oracle.json"])
@pytest.mark.parametrize("giant", [False, True], ids=["pipe", "giant"])
def test_a_file_that_reading_would_not_end_is_refused(
    name: str, giant: bool, tmp_path: Path
) -> None:
    """A pipe, which has no end, and a giant file are refused by name without being read."""
    folder = project(tmp_path / "kt", trial(1, VALUES, 1.0))
    path = folder / name
    path.unlink(missing_ok=True)
    if giant:
        with path.open("wb") as file:
            file.truncate(1 << 40)
    else:
        os.mkfifo(path)
    says = "it is larger than 64 MiB" if giant else "it is not a file"
    with pytest.raises(UsageError, match=rf"{path.name} cannot be read .*: {says}"):
        cdt.import_trials(cdt.open_store(tmp_path / "store"), "kt", folder)


def test_a_folder_without_a_project_is_refused(tmp_path: Path) -> None:
    """A folder that is not a KerasTuner project and a missing file are refused by name."""
    for path in (tmp_path, tmp_path / "absent.pkl"):
        words = re.escape(f"{str(path)!r} is neither a file nor the folder of a KerasTuner")
        with pytest.raises(UsageError, match=words):
            cdt.import_trials(cdt.open_store(tmp_path / "store"), "kt", path)
    assert not (tmp_path / "store").exists()


@pytest.mark.filterwarnings("ignore:currentThread:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:getName:DeprecationWarning")
def test_a_project_that_keras_tuner_made(tmp_path: Path) -> None:
    """A project of KerasTuner's random search is imported; its best score is the best loss."""
    keras_tuner = pytest.importorskip("keras_tuner")

    class Tuner(keras_tuner.RandomSearch):
        def run_trial(self, trial: Any, *args: Any, **kwargs: Any) -> dict[str, float]:
            point = trial.hyperparameters
            rate = point.Float("lr", 1e-4, 1.0, sampling="log")
            kind = point.Choice("opt", ["adam", "sgd"])
            return {"val_accuracy": 1 - rate / 2 - (kind == "sgd") / 4}

    tuner = Tuner(
        objective=keras_tuner.Objective("val_accuracy", "max"),
        max_trials=6,
        seed=3,
        directory=tmp_path,
        project_name="mine",
    )
    tuner.search(verbose=0)
    store = cdt.open_store(tmp_path / "store")
    assert cdt.import_trials(store, "kt", tmp_path / "mine") == 6
    best = tuner.oracle.get_best_trials(1)[0]
    assert cdt.read_status(store, "kt").best_loss == -best.score
