"""Small searches through every public function, to run on each kind of executor."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hyperopt
import numpy as np

from colab_drive_tuner.hyperas_style import minimize
from colab_drive_tuner.search.drive_trials import DriveTrials
from colab_drive_tuner.search.executors.trial_locations import worker_name
from colab_drive_tuner.search.results.read_search import read_status
from colab_drive_tuner.search.resume import resume_search
from colab_drive_tuner.store import open_store
from colab_drive_tuner.trial import running_trial
from tests.search.searching import SPACE, bowl, data, model, points


def every_form(folder: Path, executor: Any, *, in_process: bool = False) -> None:
    """Plain objective, templates, hyperas's call and fmin: each is the search without workers."""
    _same(folder / "plain", _plain_objective, executor)
    _same(folder / "templates", _templates, executor)
    _same(folder / "hyperas", _hyperas, executor)
    _same(folder / "fmin", _fmin, executor)
    owners = {doc["owner"] for doc in DriveTrials("there", store=folder / "plain").trials}
    assert all((f":{os.getpid()}" in owner) == in_process for owner in owners), owners


def _same(folder: Path, search: Callable[..., Any], executor: Any) -> None:
    here = search(folder, "here", {})
    there = search(folder, "there", {"executor": executor})
    assert points(there) == points(here), search.__name__
    assert [doc["tid"] for doc in there.trials] == list(range(4))


def _plain_objective(folder: Path, name: str, where: dict[str, Any]) -> Any:
    objective = seen_by_status(folder, name) if where else bowl
    result = resume_search(
        objective,
        space=SPACE,
        name=name,
        store=folder,
        max_evals=4,
        seed=3,
        algo="rand",
        progress=False,
        **where,
    )
    return result.trials


def seen_by_status(folder: Path, name: str) -> Callable[[Any], float]:
    """`bowl`, whose first trial goes on until the status of its search says where it runs."""

    def objective(point: Any) -> float:
        here, deadline = (0, worker_name(), 1), time.monotonic() + 60
        first = running_trial().tid == 0  # type: ignore[union-attr]
        while first and here not in _running(folder, name):
            assert time.monotonic() < deadline, "the status never tells the worker"
            time.sleep(0.05)
        return bowl(point)

    return objective


def _running(folder: Path, name: str) -> list[tuple[Any, str, int]]:
    running = read_status(open_store(folder), name).running
    return [(one.tid, one.worker, one.attempt) for one in running]


def _templates(folder: Path, name: str, where: dict[str, Any]) -> Any:
    return resume_search(
        model,
        data,
        name=name,
        store=folder,
        max_evals=4,
        seed=3,
        algo="rand",
        progress=False,
        **where,
    ).trials


def _hyperas(folder: Path, name: str, where: dict[str, Any]) -> Any:
    trials = DriveTrials(name, store=folder, seed=3)
    minimize(model, data, hyperopt.rand.suggest, 4, trials, verbose=False, **where)
    return trials


def _fmin(folder: Path, name: str, where: dict[str, Any]) -> Any:
    trials = DriveTrials(name, store=folder)
    trials.fmin(
        bowl,
        SPACE,
        algo=hyperopt.rand.suggest,
        max_evals=4,
        rstate=np.random.default_rng(3),
        show_progressbar=False,
        return_argmin=False,
        **where,
    )
    return trials
