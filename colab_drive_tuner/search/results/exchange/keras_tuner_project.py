"""Conversion of a KerasTuner project's trials to hyperopt documents, without running any code.

KerasTuner keeps each trial in `trial_<id>/trial.json`, and the order of starts in `oracle.json`.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from colab_drive_tuner.checkpoint.document_schema import TrialDocument
from colab_drive_tuner.errors import UsageError
from colab_drive_tuner.local_files import read_file
from colab_drive_tuner.search.trial_documents import FINISHED, imported_document

_LARGEST = 64 << 20
"""Largest file that is read, in bytes; JSON takes ten times as much in memory."""


def is_project(path: Path) -> bool:
    """Return whether this is the folder of a KerasTuner project."""
    return path.is_dir() and any(path.glob("trial_*/trial.json"))


def read_project(path: Path) -> list[TrialDocument]:
    """Return the trials in the order in which they started; raise `UsageError` for invalid ones."""
    found = [_read(file) for file in sorted(path.glob("trial_*/trial.json"))]
    oracle = path / "oracle.json"
    order = _read(oracle).get("start_order") if oracle.exists() else None
    started = list(map(str, order)) if isinstance(order, list) else []
    positions = {trial: position for position, trial in enumerate(started)}
    found.sort(key=lambda trial: positions.get(str(trial.get("trial_id")), len(positions)))
    documents: list[TrialDocument] = []
    for trial in found:
        try:
            documents.append(_document(len(documents), trial))
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise UsageError(
                f"Trial {trial.get('trial_id')!r:.40} in {path} is not a KerasTuner trial: "
                f"{error!r:.200}."
            ) from error
    return documents


def _read(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(read_file(file, _LARGEST))
        if not isinstance(content, dict):
            raise ValueError("it holds no JSON object")
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{file} cannot be read as a file of KerasTuner: {reason}.") from error
    return content


def _document(tid: int, trial: Mapping[str, Any]) -> TrialDocument:
    values = trial["hyperparameters"]["values"]
    point = {}
    for part in trial["hyperparameters"]["space"]:
        kind, name = part["class_name"], part["config"]["name"]
        if kind != "Fixed" and name in values:
            point[name] = _hyperopt_value(kind, part["config"], values[name])
    return imported_document(tid, FINISHED, point, _result(trial), owner="KerasTuner")


def _hyperopt_value(kind: str, config: Mapping[str, Any], value: Any) -> float | int:
    """Return a parameter's value in hyperopt's representation: a choice as its index."""
    if kind == "Choice":
        return list(config["values"]).index(value)
    if kind == "Float":
        return float(value)
    if kind in ("Boolean", "Int"):
        return int(value)
    raise ValueError(f"parameter {config['name']!r} is of the unknown kind {kind!r}")


def _result(trial: Mapping[str, Any]) -> dict[str, Any]:
    metrics = trial["metrics"]["metrics"]
    curves = {
        str(name): [sum(one["value"]) / len(one["value"]) for one in metric["observations"]]
        for name, metric in metrics.items()
    }
    kept = {"history": curves, "keras_tuner": {"trial_id": str(trial["trial_id"])}}
    score = trial["score"]
    if trial["status"] != "COMPLETED" or score is None or math.isnan(score):
        reason = trial.get("message") or f"KerasTuner says {trial['status']}"
        # A failed trial's message is a traceback, which ends with the exception.
        return {"status": "fail", "reason": str(reason).strip()[-1000:]} | kept
    best = {"max": max, "min": min}
    # The file does not say which metric is the objective: those whose best value is the score.
    directions = {
        metric["direction"]
        for metric, curve in zip(metrics.values(), curves.values(), strict=True)
        if curve and metric["direction"] and math.isclose(best[metric["direction"]](curve), score)
    }
    return {"status": "ok", "loss": -score if directions == {"max"} else score} | kept
