"""Sample searches on plain hyperopt and on a store, and helpers to kill them midway."""

import functools
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hyperopt
import numpy as np
from hyperopt import STATUS_OK, hp
from hyperopt.base import Domain
from hyperopt.hp import choice, uniform

from colab_drive_tuner.checkpoint.history import History
from colab_drive_tuner.checkpoint.record_items import read_items
from colab_drive_tuner.journal import open_searches
from colab_drive_tuner.journal.journal import Journal
from colab_drive_tuner.journal.spool.spool import Spool
from colab_drive_tuner.search.drive_trials import DriveTrials
from colab_drive_tuner.search.resume import resume_search
from colab_drive_tuner.search.spec.suggestion_seeds import SeedStream, decode_generator
from colab_drive_tuner.search.trial_documents import as_new
from colab_drive_tuner.store.folder import FolderStore
from tests.journal.faulty_store import FaultyStore

SPACE = {
    "x": hp.uniform("x", -2, 2),
    "kind": hp.choice("kind", [0.0, {"y": hp.normal("y", 0, 1), "n": hp.randint("n", 5)}]),
    "q": hp.quniform("q", 1, 9, 2),
}
ALGORITHMS = {
    "rand": hyperopt.rand.suggest,
    "tpe": hyperopt.tpe.suggest,
    "anneal": hyperopt.anneal.suggest,
}


def sample_objective(point: dict[str, Any]) -> float:
    """Return the loss of a point of SPACE."""
    kind = point["kind"]
    extra = kind if isinstance(kind, float) else kind["y"] ** 2 + kind["n"]
    return float(point["x"] ** 2 + extra + point["q"] / 10)


def run_fmin(
    trials: Any, algo: Any, max_evals: int, objective: Any = sample_objective, **options: Any
) -> Any:
    """Run `hyperopt.fmin` over SPACE, with seed 3 unless `rstate` is given; return `trials`.

    `hyperopt.fmin` does not know the arguments that `DriveTrials.fmin` adds, such as `executor`.
    """
    fmin = trials.fmin if "executor" in options else functools.partial(hyperopt.fmin, trials=trials)
    usual = {"rstate": np.random.default_rng(3), "return_argmin": False, "verbose": False}
    fmin(objective, SPACE, ALGORITHMS.get(algo, algo), max_evals, **usual | options)
    return trials


def run_hyperopt(
    algo: str, max_evals: int, objective: Any = sample_objective, **options: Any
) -> hyperopt.Trials:
    """Return the trials of plain `hyperopt.fmin` with seed 3."""
    return run_fmin(hyperopt.Trials(), algo, max_evals, objective, **options)


def run_in_store(
    store: Path | FolderStore,
    algo: str,
    max_evals: int,
    objective: Any = sample_objective,
    **options: Any,
) -> DriveTrials:
    """Run or resume the search in `store` up to `max_evals` trials in one session, with seed 3."""
    trials = DriveTrials("search", store=store, max_attempts=100, notify=lambda _: None)
    return run_fmin(trials, algo, max_evals, objective, **options)


def open_read_only(store: Path) -> DriveTrials:
    """Open the search for reading."""
    return DriveTrials("search", store=store)


def trial_values(trials: hyperopt.Trials) -> list[tuple[Any, Any, Any]]:
    """Return number, parameters and result of each trial; equal searches give equal values."""
    return [(doc["tid"], doc["misc"]["vals"], repr(doc["result"])) for doc in trials.trials]


def held_journals() -> list[Journal]:
    """Return the journals of the searches that this process holds."""
    return [one.journal for one in open_searches._searches.values() if one.journal is not None]


def killing_objective(objective: Callable[[Any], Any], calls: int, when: str = "end") -> Any:
    """Return `objective` wrapped so that its call number `calls` kills the process.

    With `when="end"` the kill comes after every earlier record is acknowledged; with "once" it
    comes immediately, so that the last records may not even have been sent.
    """
    count = 0

    @functools.wraps(objective)  # the wrapper must count as the same objective
    def deadly(point: Any) -> Any:
        nonlocal count
        count += 1
        result = objective(point)
        if count == calls and when == "end":
            assert all(journal.flush(60) for journal in held_journals())
        if count == calls:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return deadly


def killing_objective_in_outage(
    store: FaultyStore, away: int, calls: int, *, raises: bool = False
) -> Any:
    """Return `sample_objective` with an outage from call `away` and a kill in call `calls`.

    At the kill the store has all records from before the outage, and the spool has the result of
    the previous trial. With `raises`, the last call raises, and the kill follows once the spool has
    that, too.
    """
    count = 0

    def kill(journal: Journal, last: int) -> None:
        while journal.trouble is None or last not in _spooled(journal):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)

    @functools.wraps(sample_objective)
    def deadly(point: Any) -> float:
        nonlocal count
        count += 1
        (journal,) = (one for one in held_journals() if one.store.location == store.location)
        if count == away:
            assert journal.flush(60)
            store.away = True
        if count == calls and raises:
            threading.Thread(target=kill, args=(journal, calls - 1), daemon=True).start()
            raise RuntimeError("the objective failed")
        if count == calls:
            kill(journal, calls - 2)
        return sample_objective(point)

    return deadly


def _spooled(journal: Journal) -> set[Any]:
    """Return the numbers of the trials that have items in the spool."""
    leftovers = Spool(journal.store.location, journal.name).earlier_files()
    items = [item for leftover in leftovers for item, _beside in leftover.items]
    return {one.tid for item in items for one in read_items(item, "a spooled item")}


def run_in_fork(work: Callable[[], Any]) -> int:
    """Run `work` in a forked process; return its exit status, negative for a signal."""
    pid = os.fork()
    if pid == 0:
        status = 1
        # TensorFlow does not survive a fork: the child imports it again.
        for name in ("keras", "tensorflow"):
            sys.modules.pop(name, None)
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def resume_sample_search(store: Path, objective: Any = sample_objective, **options: Any) -> Any:
    """Call `resume_search` for a search of SPACE, as a notebook cell does."""
    options = {"name": "s", "max_evals": 6, "space": SPACE, "seed": 3, "progress": False} | options
    return resume_search(objective, store=store, **{"algo": "rand"} | options)


def data() -> tuple[Any, Any]:
    x = np.arange(4.0)
    return x, 2 * x


def model(x: Any, y: Any) -> dict[str, Any]:
    slope = {{uniform(0, 4)}}
    kind = {{choice(["plain", "squared"])}}
    error = float(((slope * x - y) ** 2).mean())
    return {"loss": error if kind == "plain" else error**2, "status": STATUS_OK}


def uneven(point: dict[str, Any]) -> float:
    """Return the loss of `sample_objective`, more slowly for some points."""
    time.sleep(0.002 + 0.01 * (point["x"] > 0.5))
    return sample_objective(point)


def replayed(history: History, algo: str) -> dict[Any, Any]:
    """Return the points that the algorithm suggests from what it had seen by the record."""
    domain = Domain(sample_objective, SPACE)
    documents = {tid: entry.decoded() for tid, entry in history.trials.items()}
    found = {}
    for tid, entry in history.trials.items():
        seen = hyperopt.Trials()
        for other in range(tid):
            doc = documents[other]
            seen._dynamic_trials.append(as_new(doc) if other in entry.pending else doc)
        seen.refresh()
        assert entry.k is not None
        _, seed = SeedStream(decode_generator(history.settings["rstate"]), entry.k).draw()
        (document,) = ALGORITHMS[algo]([tid], domain, seen, seed)
        found[tid] = document["misc"]["vals"]
    return found
