"""Workloads with several trials at once: how close a search comes to the bare executor."""

import time
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import hyperopt
from hyperopt import hp
from searches import bowl

from colab_drive_tuner.search.drive_trials import DriveTrials

SPACE = {f"x{n}": hp.uniform(f"x{n}", -1, 1) for n in range(5)}


def throughput(
    *, count: int, width: int, seconds: float, algo: str, ours: bool
) -> dict[str, float]:
    """Trials a second of `count` trials that wait for `seconds`, on `width` threads."""

    def trial(point: dict[str, float]) -> float:
        time.sleep(seconds)
        return bowl(point)

    with ThreadPoolExecutor(width) as pool:
        if ours:
            trials = DriveTrials("wide", notify=lambda _: None)
            options: dict[str, Any] = {"algo": getattr(hyperopt, algo).suggest}
            options |= {"show_progressbar": False, "executor": pool, "width": width}
            trials.fmin(trial, SPACE, max_evals=width, **options)  # opens; starts the threads
            begun = time.perf_counter()
            trials.fmin(trial, SPACE, max_evals=width + count, **options)
        else:
            point = {f"x{n}": 0.5 for n in range(5)}
            wait([pool.submit(trial, point) for _ in range(width)])
            begun = time.perf_counter()
            wait([pool.submit(trial, point) for _ in range(count)])
        took = time.perf_counter() - begun
    return {"rate": count / took, "took": took}
