"""Workloads with parallel trials: the bare executor, a search on it, and other tools."""

import multiprocessing
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from datetime import datetime
from functools import partial
from queue import SimpleQueue
from typing import Any

import hyperopt
from hyperopt.base import Domain, spec_from_misc
from searches import ALGORITHMS, SPACE, bowl
from uploads import optuna_journal

from colab_drive_tuner.errors import SearchChangedWarning
from colab_drive_tuner.search.algorithms.fast_algorithm import fast_algorithm
from colab_drive_tuner.search.drive_trials import DriveTrials


def throughput(
    *,
    count: int,
    width: int,
    seconds: float,
    algo: str,
    ours: bool,
    pool: str = "threads",
    recorded: int = 0,
) -> dict[str, float]:
    """Return the rate of `count` trials that sleep for `seconds`, from the first to the last.

    `ours`: in a search that has `recorded` trials; otherwise on the bare executor.
    """
    with _pool(pool, width) as workers:
        if not ours:
            return _bare(workers, count, width, seconds) | _asked(workers, count, width, seconds)
        trials = DriveTrials("wide", notify=lambda _: None)
        run = partial(trials.fmin, space=SPACE, show_progressbar=False, return_argmin=False)
        if recorded:
            warnings.simplefilter("ignore", SearchChangedWarning)  # the algorithm changes
            run(bowl, algo=hyperopt.rand.suggest, max_evals=recorded)
        run = partial(run, partial(_trial, seconds), algo=ALGORITHMS[algo], executor=workers)
        run(max_evals=recorded + width, width=width)
        begun = time.perf_counter()
        run(max_evals=recorded + width + count, width=width)
        whole = time.perf_counter() - begun
        measured = trials.trials[recorded + width :]
        took = _span((one["book_time"], one["refresh_time"]) for one in measured)
        return {"rate": count / took, "rate_whole": count / whole}


def _bare(workers: Executor, count: int, width: int, seconds: float) -> dict[str, float]:
    """Submit all tasks at once, so that no worker waits for the next one."""
    point = dict.fromkeys(SPACE, 0.5)
    wait([workers.submit(_trial, seconds, point) for _ in range(width)])  # starts the workers
    begun = time.perf_counter()
    wait([workers.submit(_trial, seconds, point) for _ in range(count)])
    return {"rate": count / (time.perf_counter() - begun)}


def _asked(workers: Executor, count: int, width: int, seconds: float) -> dict[str, float]:
    """Submit each task with a random point when one has ended; record nothing."""
    domain = Domain(bowl, SPACE)
    suggest = fast_algorithm(hyperopt.rand.suggest, domain)
    trials, ended = hyperopt.Trials(), SimpleQueue[Future[float]]()
    begun = time.perf_counter()
    for tid in range(count):
        if tid >= width:
            ended.get().result()
        (document,) = suggest([tid], domain, trials, tid)
        point = spec_from_misc(document["misc"])
        workers.submit(_trial, seconds, point).add_done_callback(ended.put)
    for _ in range(min(width, count)):
        ended.get().result()
    return {"asked": count / (time.perf_counter() - begun)}


def other_tool(*, tool: str, count: int, width: int, seconds: float) -> dict[str, float]:
    """Return the rate of the same search by TPE with another tool, `width` trials at once."""
    tools: dict[str, Callable[[int, int, float], float]] = {
        "Optuna n_jobs": _optuna_threads,
        "Optuna JournalStorage": _optuna_processes,
        "Ray Tune": _ray_tune,
    }
    return {"rate": count / tools[tool](count, width, seconds)}


def _trial(seconds: float, point: dict[str, float]) -> float:
    time.sleep(seconds)
    return bowl(point)


def _pool(kind: str, width: int) -> Executor:
    if kind == "threads":
        return ThreadPoolExecutor(width)
    # Forks share imported modules; dozens of fresh processes may exceed the memory.
    return ProcessPoolExecutor(width, mp_context=multiprocessing.get_context("fork"))


def _span(times: Iterable[tuple[datetime, datetime]]) -> float:
    """Return the seconds from the first start to the last end."""
    begun, ended = zip(*times, strict=True)
    return float((max(ended) - min(begun)).total_seconds())


def _study(storage: Any) -> Any:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(
        study_name="wide", storage=storage, sampler=optuna.samplers.TPESampler(seed=7)
    )


def _suggested(seconds: float, trial: Any) -> float:
    """The objective as Optuna's users write it."""
    return _trial(seconds, {name: trial.suggest_float(name, -1, 1) for name in SPACE})


def _optuna_threads(count: int, width: int, seconds: float) -> float:
    study = _study(None)
    study.optimize(partial(_suggested, seconds), n_trials=count, n_jobs=width)
    return _span((one.datetime_start, one.datetime_complete) for one in study.trials)


def _optuna_processes(count: int, width: int, seconds: float) -> float:
    with tempfile.TemporaryDirectory() as folder:
        study = _study(optuna_journal(folder))
        context = multiprocessing.get_context("fork")
        workers = [
            context.Process(target=_optuna_worker, args=(folder, count // width, number, seconds))
            for number in range(width)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return _span((one.datetime_start, one.datetime_complete) for one in study.trials)


def _optuna_worker(folder: str, count: int, number: int, seconds: float) -> None:
    import optuna

    sampler = optuna.samplers.TPESampler(seed=number)
    storage = optuna_journal(folder)
    study = optuna.load_study(study_name="wide", storage=storage, sampler=sampler)
    study.optimize(partial(_suggested, seconds), n_trials=count)


def _ray_tune(count: int, width: int, seconds: float) -> float:
    os.environ |= {"RAY_AIR_NEW_OUTPUT": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    import ray
    from ray import tune
    from ray.tune.search import ConcurrencyLimiter
    from ray.tune.search.hyperopt import HyperOptSearch

    def trainable(point: dict[str, float]) -> None:
        begun = time.time()
        time.sleep(seconds)  # not `_trial`: Ray's workers cannot import this module
        loss = sum(value * value for value in point.values())
        tune.report({"loss": loss, "begun": begun, "ended": time.time()})

    ray.init(num_cpus=width, include_dashboard=False, log_to_driver=False, logging_level="error")
    try:
        search = HyperOptSearch(space=SPACE, metric="loss", mode="min", random_state_seed=7)
        with tempfile.TemporaryDirectory() as folder:
            results = tune.Tuner(
                tune.with_resources(trainable, {"cpu": 1}),
                tune_config=tune.TuneConfig(
                    search_alg=ConcurrencyLimiter(search, width),
                    num_samples=count,
                    reuse_actors=True,
                ),
                run_config=tune.RunConfig(storage_path=folder, verbose=0),
            ).fit()
        spans = [(one.metrics["begun"], one.metrics["ended"]) for one in results if one.metrics]
    finally:
        ray.shutdown()
    if len(spans) != count:
        raise RuntimeError(f"Ray Tune ended {len(spans)} of {count} trials")
    begun, ended = zip(*spans, strict=True)
    return float(max(ended) - min(begun))
