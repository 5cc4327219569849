"""Small searches for the tests of folders that users moved, copied or damaged."""

from pathlib import Path
from typing import Any

import hyperopt
import numpy as np

from colab_drive_tuner.search.drive_trials import DriveTrials
from colab_drive_tuner.store import open_store

SPACE = {"x": hyperopt.hp.uniform("x", -1, 1)}


def run_search(root: Path | str, name: str, max_evals: int) -> DriveTrials:
    """Run or resume the search up to `max_evals` trials, with a new store object."""
    trials = DriveTrials(name, store=open_store(root), notify=lambda text: None)
    hyperopt.fmin(
        lambda point: point["x"] ** 2,
        SPACE,
        algo=hyperopt.rand.suggest,
        max_evals=max_evals,
        trials=trials,
        rstate=np.random.default_rng(3),
        show_progressbar=False,
        return_argmin=False,
    )
    trials.attachments["large"] = bytes(range(256)) * 512
    trials.close()
    return trials


def trial_points(root: Path | str, name: str) -> list[Any]:
    """Read the search again and return its points."""
    trials = DriveTrials(name, store=open_store(root), notify=lambda text: None)
    if trials.trials:
        assert trials.attachments["large"] == bytes(range(256)) * 512
    return [(doc["tid"], doc["misc"]["vals"]["x"], doc["result"].get("loss")) for doc in trials]


def expected_points(tmp_path: Path, count: int) -> list[Any]:
    """Return the points of a search whose folder nobody changed."""
    run_search(tmp_path / "expected", "untouched", count)
    return trial_points(tmp_path / "expected", "untouched")[:count]
