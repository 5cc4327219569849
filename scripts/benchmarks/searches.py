"""Workloads of whole searches, ours and plain hyperopt's, with their times."""

import contextlib
import gc
import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hyperopt
import numpy as np
from clock import Clock, waited_for_core
from hyperopt import hp

from colab_drive_tuner.journal import maintenance, writer
from colab_drive_tuner.search.drive_trials import DriveTrials
from colab_drive_tuner.store.drive import DriveStore

SPACE = {f"x{n}": hp.uniform(f"x{n}", -1, 1) for n in range(5)}
ALGORITHMS = {"rand": hyperopt.rand.suggest, "tpe": hyperopt.tpe.suggest}


def bowl(point: dict[str, float]) -> float:
    """The trivial objective."""
    return sum(value * value for value in point.values())


def busy(seconds: float, history: int) -> Callable[[dict[str, float]], Any]:
    """Return an objective that sleeps, and returns a history of `history` numbers."""

    def objective(point: dict[str, float]) -> Any:
        time.sleep(seconds)
        loss = bowl(point)
        return {"loss": loss, "status": "ok", "history": [loss + n for n in range(history)]}

    return objective


def time_lapse(factor: float) -> None:
    """Shorten the background's intervals: by 10, trials of 0.1 s represent trials of 1 s."""
    writer.LINGER_SECONDS /= factor
    writer.PAIR_SECONDS /= factor
    writer.COLLECTOR_SHARE *= factor
    writer.SENDER_SHARE *= factor
    maintenance.SNAPSHOT_SHARE *= factor
    maintenance.EXPORT_SECONDS /= factor
    maintenance.BEAT_SECONDS /= factor
    maintenance.DUPLICATE_CHECKS = tuple(look / factor for look in maintenance.DUPLICATE_CHECKS)


def _fmin(
    trials: hyperopt.Trials,
    objective: Any,
    algo: str | Callable[..., Any],
    count: int,
    **options: Any,
) -> None:
    hyperopt.fmin(
        objective,
        SPACE,
        algo=algo if callable(algo) else ALGORITHMS[algo],
        max_evals=count,
        trials=trials,
        rstate=np.random.default_rng(7),
        show_progressbar=False,
        return_argmin=False,
        **options,
    )


def _points(trials: hyperopt.Trials) -> str:
    points = [(doc["tid"], doc["misc"]["vals"], doc["result"]["loss"]) for doc in trials.trials]
    return hashlib.sha256(repr(points).encode()).hexdigest()


def search(
    *,
    count: int,
    seconds: float | None = None,
    history: int = 0,
    store: str | None = None,
    lapse: float = 1.0,
    snapshots: int | None = None,
    linger: float | None = None,
    die: bool = False,
    plain: bool = False,
) -> dict[str, Any]:
    """Run one random search up to `count` trials; return its times.

    `die`: end without a release. `plain`: use hyperopt alone, with Trials in memory.
    """
    time_lapse(lapse)
    maintenance.SNAPSHOT_RECORDS = snapshots or maintenance.SNAPSHOT_RECORDS
    if linger is not None:  # a record for each trial
        time_lapse(1e6)
        writer.LINGER_SECONDS = writer.PAIR_SECONDS = linger
    objective = bowl if seconds is None else busy(seconds, history)
    with Clock(awake=seconds is not None).watching() as clock:
        trials = hyperopt.Trials() if plain else DriveTrials("bench", store=store, notify=_ignore)
        if die:
            trials.close = lambda *_: trials.log.journal.flush(60)
        _fmin(trials, clock.objective(objective), clock.algorithm(ALGORITHMS["rand"]), count)
    answer = clock.report()
    if die:
        answer["records"] = trials.log.journal._reader.head.pos
        sys.stdout.write(f"\n@{json.dumps(answer)}")
        sys.stdout.flush()
        os._exit(0)
    return answer


def race(
    *,
    count: int,
    algo: str,
    ours_first: bool,
    drive: bool,
    name: str,
    saving: bool = False,
) -> dict[str, Any]:
    """Run the same search by plain hyperopt and in a store; return the seconds of both loops."""

    def plain() -> tuple[float, str]:
        with Clock().watching() as clock, tempfile.TemporaryDirectory() as folder:
            trials = hyperopt.Trials()
            file = {"trials_save_file": str(Path(folder) / "trials.pkl")} if saving else {}
            _fmin(trials, bowl, algo, count, **file)
        return clock.looped - clock.opened, _points(trials)

    def ours() -> tuple[float, str]:
        nonlocal rest
        with Clock().watching() as clock, tempfile.TemporaryDirectory() as folder:
            trials = DriveTrials(name, store=None if drive else folder, notify=_ignore)
            _fmin(trials, bowl, algo, count)
        rest = clock.opened - clock.began + clock.ended - clock.looped
        return clock.looped - clock.opened, _points(trials)

    if drive:
        # Load its modules first: they slow down the garbage collector in both loops.
        DriveStore.connect()
    rest = 0.0
    runs = {}
    for who, run in sorted({"ours": ours, "plain": plain}.items(), reverse=not ours_first):
        gc.collect()
        runs[who] = run()
    return {
        "ratio": runs["ours"][0] / runs["plain"][0],
        "ours": runs["ours"][0],
        "plain": runs["plain"][0],
        "opening_closing": rest,
        "same_points": runs["ours"][1] == runs["plain"][1],
    }


def stall(*, count: int, seconds: float, ours: bool) -> dict[str, float]:
    """Return the longest stall of a training that only computes, in or between trials.

    The search has recorded trials; snapshots and trials.pkl are written every few seconds.
    `longest` leaves out the time in which the system had given the core to another process.
    """
    maintenance.EXPORT_SECONDS, maintenance.SNAPSHOT_RECORDS = 3.0, 16
    gaps, all_gaps = [0.0], [0.0]

    def computing(point: dict[str, float]) -> float:
        waited = waited_for_core()
        last = begun = time.perf_counter()
        while last - begun < seconds:
            now = time.perf_counter()
            if now - last > max(gaps):
                all_gaps.append(now - last)
                gaps.append(now - last - (waited_for_core() - waited))
                now = time.perf_counter()
            last = now
        return bowl(point)

    trials: Any = DriveTrials("bench", notify=_ignore) if ours else hyperopt.Trials()
    if not ours:
        _fmin(trials, bowl, "rand", count)
    more = round(8 / seconds) if count > 1000 else 20
    clock = Clock(awake=True)
    with clock.watching():
        algo = clock.algorithm(ALGORITHMS["rand"])
        _fmin(trials, clock.objective(computing), algo, count + more)
    held = clock.held_awake or [0.0]
    return {"longest": max(*gaps, *held), "with_waits": max(*all_gaps, *clock.held, 0.0)}


def reopen(*, log: str) -> dict[str, float]:
    """Seconds until the search is read, and until its next trial runs; the log is cleared first."""
    from urllib.request import Request, urlopen

    class FirstTrialError(Exception):
        """The next trial began."""

    def objective(_point: Any) -> float:
        ends.append((time.perf_counter(), time.time()))
        raise FirstTrialError

    ends: list[tuple[float, float]] = []
    urlopen(Request(log, method="DELETE")).close()
    begun = time.perf_counter()
    trials = DriveTrials("bench", notify=_ignore, on_busy="takeover")
    read, read_at = time.perf_counter(), time.time()
    with contextlib.suppress(FirstTrialError):
        _fmin(trials, objective, "rand", len(trials.trials) + 100)
    first, first_at = ends[0]
    return {
        "read": read - begun,
        "read_at": read_at,
        "first": first - begun,
        "first_at": first_at,
        "trials": len(trials.trials),
    }


def _ignore(_message: str) -> None:
    """Ignore messages to the user."""
