"""Searches to be measured: ours and plain hyperopt's, each told where its time went."""

import contextlib
import gc
import hashlib
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hyperopt
import numpy as np
from hyperopt import hp
from hyperopt.fmin import FMinIter

from colab_drive_tuner.journal import upkeep, writer
from colab_drive_tuner.search import loop
from colab_drive_tuner.search.trials import DriveTrials
from colab_drive_tuner.store.drive import DriveStore

SPACE = {f"x{n}": hp.uniform(f"x{n}", -1, 1) for n in range(5)}
ALGORITHMS = {"rand": hyperopt.rand.suggest, "tpe": hyperopt.tpe.suggest}


def bowl(point: dict[str, float]) -> float:
    """The trivial objective."""
    return sum(value * value for value in point.values())


def busy(seconds: float, history: int) -> Callable[[dict[str, float]], Any]:
    """An objective that takes a while and returns a history of so many numbers."""

    def objective(point: dict[str, float]) -> Any:
        time.sleep(seconds)
        loss = bowl(point)
        return {"loss": loss, "status": "ok", "history": [loss + n for n in range(history)]}

    return objective


class Clock:
    """When the loop began and ended, and how long the training thread was held in each trial."""

    def __init__(self, *, awake: bool = False) -> None:
        self.held: list[float] = []
        self.held_awake: list[float] = []
        """The same without waits for a core, where `awake` asks for it."""
        self.waited = _waited_for_core if awake else float
        self.writer_seconds = 0.0

    @contextlib.contextmanager
    def watching(self) -> Iterator["Clock"]:
        """Time the loop, and whatever of ours the training thread goes through in a trial.

        That is all of `_run_trial` but the objective, and the `_settle` that follows it.
        """
        self.began = time.perf_counter()
        exhaust, run_trial, settle = (
            FMinIter.exhaust,
            loop.TrialLoop._run_trial,
            loop.TrialLoop._settle,
        )

        def timed_exhaust(self_: Any) -> Any:
            self.opened = time.perf_counter()
            try:
                return exhaust(self_)
            finally:
                self.looped = time.perf_counter()
                self.writer_seconds = _writer_seconds()

        def timed_run_trial(self_: Any, document: Any, evaluate: Any) -> Any:
            trained = waited_there = 0.0

            def training() -> Any:
                nonlocal trained, waited_there
                start, waited = time.perf_counter(), self.waited()
                try:
                    return evaluate()
                finally:
                    waited_there = self.waited() - waited
                    trained = time.perf_counter() - start

            waited, start = self.waited(), time.perf_counter()
            self.inside = True
            try:
                return run_trial(self_, document, training)
            finally:
                self.inside = False
                held = time.perf_counter() - start - trained
                self.held.append(held)
                self.held_awake.append(held - (self.waited() - waited - waited_there))

        def timed_settle(self_: Any) -> None:
            if self.inside:
                settle(self_)
                return
            waited, start = self.waited(), time.perf_counter()
            settle(self_)
            if self.held:
                held = time.perf_counter() - start
                self.held[-1] += held
                self.held_awake[-1] += held - (self.waited() - waited)

        self.inside = False
        FMinIter.exhaust = timed_exhaust
        loop.TrialLoop._run_trial, loop.TrialLoop._settle = timed_run_trial, timed_settle
        try:
            yield self
        finally:
            FMinIter.exhaust = exhaust
            loop.TrialLoop._run_trial, loop.TrialLoop._settle = run_trial, settle
            self.ended = time.perf_counter()

    def report(self) -> dict[str, float]:
        held = self.held_awake
        answer = {
            "opening": self.opened - self.began,
            "loop": self.looped - self.opened,
            "closing": self.ended - self.looped,
            "writer_share": self.writer_seconds / (self.looped - self.opened),
        }
        for name, part in (("first", slice(1000)), ("last", slice(-1000, None))):
            if held:
                answer[f"{name}_p50"] = float(np.percentile(held[part], 50))
                answer[f"{name}_p99"] = float(np.percentile(held[part], 99))
                answer[f"{name}_with_waits"] = float(np.percentile(self.held[part], 99))
        return answer


def _writer_seconds() -> float:
    """CPU seconds of our background threads so far."""
    return sum(
        time.clock_gettime(time.pthread_getcpuclockid(thread.ident))
        for thread in threading.enumerate()
        if thread.name.startswith("cdt-") and thread.ident
    )


def time_lapse(factor: float) -> None:
    """Let the background run so many times faster: trials of 0.1 s then stand for trials of 1 s."""
    writer.LINGER_SECONDS /= factor
    writer.PAIR_SECONDS /= factor
    writer.COLLECTOR_SHARE *= factor
    writer.SENDER_SHARE *= factor
    upkeep.SNAPSHOT_SHARE *= factor
    upkeep.EXPORT_SECONDS /= factor
    upkeep.BEAT_SECONDS /= factor
    upkeep.RIVAL_LOOKS = tuple(look / factor for look in upkeep.RIVAL_LOOKS)


def _fmin(trials: hyperopt.Trials, objective: Any, algo: str, count: int, **options: Any) -> None:
    hyperopt.fmin(
        objective,
        SPACE,
        algo=ALGORITHMS[algo],
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
    algo: str = "rand",
    seconds: float | None = None,
    history: int = 0,
    store: str | None = None,
    name: str = "bench",
    lapse: float = 1.0,
    snapshots: int | None = None,
    linger: float | None = None,
    die: bool = False,
) -> dict[str, float]:
    """Run one search up to `count` trials; where its time went. `die`: without releasing it."""
    time_lapse(lapse)
    upkeep.SNAPSHOT_RECORDS = snapshots or upkeep.SNAPSHOT_RECORDS
    if linger is not None:  # a record for each trial
        time_lapse(1e6)
        writer.LINGER_SECONDS = writer.PAIR_SECONDS = linger
    objective = bowl if seconds is None else busy(seconds, history)
    with Clock(awake=seconds is not None).watching() as clock:
        trials = DriveTrials(name, store=store, notify=_say)
        if die:
            trials.close = lambda *_: trials.log.journal.flush(60)  # type: ignore[method-assign]
        _fmin(trials, objective, algo, count)
    answer = clock.report()
    if die:
        answer["records"] = trials.log.journal._reader.head.pos
        sys.stdout.write(f"\n@{_json(answer)}")
        sys.stdout.flush()
        os._exit(0)
    return answer


def race(
    *,
    count: int,
    algo: str,
    ours_first: bool,
    drive: bool = False,
    saving: bool = False,
    name: str = "bench",
) -> dict[str, Any]:
    """The same search plainly and through a store, one after the other, in seconds of the loop."""

    def plain() -> tuple[float, str]:
        with Clock().watching() as clock, tempfile.TemporaryDirectory() as folder:
            trials = hyperopt.Trials()
            file = {"trials_save_file": str(Path(folder) / "trials.pkl")} if saving else {}
            _fmin(trials, bowl, algo, count, **file)
        return clock.looped - clock.opened, _points(trials)

    def ours() -> tuple[float, str]:
        nonlocal rest
        with Clock().watching() as clock, tempfile.TemporaryDirectory() as folder:
            trials = DriveTrials(name, store=None if drive else folder, notify=_say)
            _fmin(trials, bowl, algo, count)
        rest = clock.opened - clock.began + clock.ended - clock.looped
        return clock.looped - clock.opened, _points(trials)

    if drive:
        DriveStore.connect()  # loaded before either: Python's collector goes through it, too
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


def stall(*, count: int, seconds: float, ours: bool, export: float = 3.0) -> dict[str, float]:
    """The longest time for which a training that only computes was held, in or between trials.

    The search has trials already; snapshots and trials.pkl are made every few seconds. `longest`
    leaves out what the thread waited for a core that the system had given to somebody else.
    """
    upkeep.EXPORT_SECONDS, upkeep.SNAPSHOT_RECORDS = export, 16
    gaps, all_gaps = [0.0], [0.0]

    def computing(point: dict[str, float]) -> float:
        waited = _waited_for_core()
        last = begun = time.perf_counter()
        while last - begun < seconds:
            now = time.perf_counter()
            if now - last > max(gaps):
                all_gaps.append(now - last)
                gaps.append(now - last - (_waited_for_core() - waited))
                now = time.perf_counter()
            last = now
        return bowl(point)

    trials: Any = DriveTrials("bench", notify=_say) if ours else hyperopt.Trials()
    if not ours:
        _fmin(trials, bowl, "rand", count)
    more = round(8 / seconds) if count > 1000 else 20
    with Clock(awake=True).watching() as clock:
        _fmin(trials, computing, "rand", count + more)
    held = clock.held_awake or [0.0]
    return {"longest": max(*gaps, *held), "with_waits": max(*all_gaps, *clock.held, 0.0)}


def _waited_for_core() -> float:
    """Seconds for which this thread was ready to run and had no core; 0 where Linux is not."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    except OSError:
        return 0.0


def reopen(*, name: str = "bench", log: str) -> dict[str, float]:
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
    trials = DriveTrials(name, notify=_say, on_busy="takeover")
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


def _say(_message: str) -> None:
    """What a user is told is nothing that this measures."""


def _json(answer: Any) -> str:
    import json

    return json.dumps(answer)
