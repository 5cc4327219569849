"""Small searches through every public function, to run on each kind of executor."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hyperopt

from colab_drive_tuner.hyperas_style import minimize
from colab_drive_tuner.search.drive_trials import DriveTrials
from colab_drive_tuner.search.executors.trial_locations import worker_name
from colab_drive_tuner.search.results.read_search import read_status
from colab_drive_tuner.store import open_store
from colab_drive_tuner.training.trial import running_trial
from tests.processes import wait_until
from tests.search.sample_searches import (
    data,
    model,
    resume_sample_search,
    run_fmin,
    sample_objective,
    trial_values,
)


def check_every_kind_of_search(folder: Path, executor: Any, *, in_process: bool = False) -> None:
    """Check that each kind of search on the executor equals the same search without workers."""
    _same(folder / "plain", _plain_objective, executor)
    _same(folder / "templates", _templates, executor)
    _same(folder / "hyperas", _hyperas, executor)
    _same(folder / "fmin", _fmin, executor)
    owners = {doc["owner"] for doc in DriveTrials("there", store=folder / "plain").trials}
    assert all((f":{os.getpid()}" in owner) == in_process for owner in owners), owners


def _same(folder: Path, search: Callable[..., Any], executor: Any) -> None:
    here = search(folder, "here", {})
    there = search(folder, "there", {"executor": executor})
    assert trial_values(there) == trial_values(here), search.__name__
    assert [doc["tid"] for doc in there.trials] == list(range(4))


def _plain_objective(folder: Path, name: str, where: dict[str, Any]) -> Any:
    objective = objective_waiting_for_status(folder, name) if where else sample_objective
    return resume_sample_search(folder, objective, name=name, max_evals=4, **where).trials


def objective_waiting_for_status(folder: Path, name: str) -> Callable[[Any], float]:
    """`sample_objective`; its first trial waits until the status names the worker that runs it."""

    def objective(point: Any) -> float:
        here = (0, worker_name(), 1)
        if running_trial().tid == 0:  # type: ignore[union-attr]
            wait_until(lambda: here in _running(folder, name))
        return sample_objective(point)

    return objective


def _running(folder: Path, name: str) -> list[tuple[Any, str, int]]:
    running = read_status(open_store(folder), name).running
    return [(one.tid, one.worker, one.attempt) for one in running]


def _templates(folder: Path, name: str, where: dict[str, Any]) -> Any:
    options = {"data": data, "space": None, "max_evals": 4}
    return resume_sample_search(folder, model, name=name, **options, **where).trials


def _hyperas(folder: Path, name: str, where: dict[str, Any]) -> Any:
    trials = DriveTrials(name, store=folder, seed=3)
    minimize(model, data, hyperopt.rand.suggest, 4, trials, verbose=False, **where)
    return trials


def _fmin(folder: Path, name: str, where: dict[str, Any]) -> Any:
    return run_fmin(DriveTrials(name, store=folder), "rand", 4, **where)
