"""Program under test: one session of a search, through the public API, in its own process.

Sessions are started from a server that has imported everything (`multiprocessing`'s fork server),
so that hundreds of them start quickly.
"""

import contextlib
import dataclasses
import functools
import json
import math
import os
import pickle
import re
import signal
import sys
import time
import traceback
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hyperopt
import numpy as np

from colab_drive_tuner.errors import ColabDriveTunerError, NotFoundError, SearchChangedWarning
from colab_drive_tuner.journal import claim_and_takeover, journal, lease, maintenance, writer
from colab_drive_tuner.journal.chain import chain
from colab_drive_tuner.journal.folder.lookup import find_folder
from colab_drive_tuner.search.drive_trials import DriveTrials
from colab_drive_tuner.search.resume import resume_search
from colab_drive_tuner.store import open_store
from colab_drive_tuner.training.trial import running_trial
from tests.search.sample_searches import ALGORITHMS, SPACE, sample_objective, trial_values
from tests.torture.phases import PhaseLog, instrument

CONSTANTS = {
    "STALE_SECONDS": (lease, claim_and_takeover),
    "BEAT_SECONDS": (maintenance,),
    "SNAPSHOT_RECORDS": (maintenance,),
    "EXPORT_SECONDS": (maintenance,),
    "ID_BLOCK": (writer, claim_and_takeover),
    "ID_RESERVE": (writer,),
    "DUPLICATE_CHECKS": (maintenance,),
    "SENDER_SHARE": (writer,),
    "CLAIM_TIMEOUT": (claim_and_takeover, journal),
}
"""The package's constants that a session may set, and the modules that hold them."""
VISIBLE = re.compile(
    r"records|best|runs|trials\.pkl|(record|snapshot)-\d{6}\.cdt|Colab Drive Tuner"
)


@dataclass(frozen=True)
class Session:
    """The task of one process, and the folder for its report."""

    name: str
    place: dict[str, str]
    """Environment variables that name the store."""
    machine: str
    """The state folder; processes that share it simulate one machine."""
    log: str
    """An existing folder for the session's files."""
    algo: str = "rand"
    max_evals: int = 8
    seed: int = 3
    by: str = "resume_search"
    """The public function that runs the search; or "fmin"."""
    nap: float = 0.0
    """Duration of a trial in seconds."""
    gate: tuple[int, str] | None = None
    """Trials from this number on wait until this file exists."""
    constants: dict[str, Any] = field(default_factory=dict)
    closing_patience: float | None = None
    plan: tuple[str, str, int, float] | None = None
    """The point where the session kills itself; see PhaseLog."""
    poison: tuple[int, ...] = ()
    """Trials that kill their runtime immediately."""
    options: dict[str, Any] = field(default_factory=dict)


def run(session: Session) -> None:
    """Run the session in this process; write `outcome.json`, and its messages to `output`."""
    _settle_in(session)
    log = PhaseLog(Path(session.log), session.plan)
    instrument(log)
    outcome: dict[str, Any] = {"error": None}
    status = 0
    try:
        _search(session, _objective(session, log))
    except ColabDriveTunerError as error:
        Path(session.log, "traceback").write_text(traceback.format_exc())
        outcome, status = {"error": type(error).__name__, "says": str(error)}, 3
    except KeyboardInterrupt as error:
        outcome, status = {"error": type(error).__name__, "says": str(error)}, 130
    Path(session.log, "outcome.json").write_text(json.dumps(outcome))
    sys.exit(status)


def check(session: Session) -> None:
    """Read the search as another process does; write the result to `found.pkl`."""
    _settle_in(session)
    store = open_store()
    records: set[tuple[int, str]] = set()
    folder = find_folder(store, session.name)
    # The records of a duplicate folder, whose creator lost, are in that folder.
    for one in (folder, *folder.duplicates) if folder else ():
        chain.read_on(
            store,
            chain.Head(0, "", (one.first,)),
            lambda record: records.add((record.pos, record.sha)),
            session.name,
        )
    searches = set()
    with contextlib.suppress(NotFoundError):  # killed before the store was made
        searches = {one.name for one in store.list(store.root) if "cdt_kind" in one.properties}
    read = DriveTrials(session.name)
    entries = read.log.history.trials
    found = {
        "points": trial_values(read),
        "tids": [doc["tid"] for doc in read._dynamic_trials],
        "results": [doc["result"] for doc in read._dynamic_trials],
        "ends": {tid: entry.end for tid, entry in entries.items()},
        "records": records,
        "holder": read.log.journal.holder() is not None,
        "in the way": [
            name
            # A folder store uses a name once: after a kill in between, the next folder has a
            # suffix.
            for name in (re.sub(r"~[0-9a-f]{8}", "", name) for name in _visible(store, store.root))
            if not VISIBLE.fullmatch(name) and name not in searches
        ],
        "copy": _copy(store, folder),
    }
    Path(session.log, "found.pkl").write_bytes(pickle.dumps(found))


def plain(algo: str, max_evals: int, seed: int) -> list[Any]:
    """Return the points of plain `hyperopt.fmin`."""
    found = hyperopt.Trials()
    hyperopt.fmin(
        sample_objective,
        SPACE,
        algo=ALGORITHMS[algo],
        max_evals=max_evals,
        trials=found,
        rstate=np.random.default_rng(seed),
        verbose=False,
        return_argmin=False,
    )
    return trial_values(found)


def _settle_in(session: Session) -> None:
    output = os.open(Path(session.log, "output"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(output, stream)
    sys.stdout, sys.stderr = (open(n, "w", buffering=1, closefd=False) for n in (1, 2))  # noqa: SIM115
    os.chdir(session.log)
    for variable in ("COLAB_DRIVE_TUNER_STORE", "DRIVE_EMULATOR_HOST"):
        os.environ.pop(variable, None)
    os.environ |= session.place | {"XDG_STATE_HOME": session.machine, "NO_GCE_CHECK": "true"}
    if session.closing_patience is not None:
        DriveTrials.close.__defaults__ = (session.closing_patience,)
    for name, value in session.constants.items():
        for module in CONSTANTS[name]:
            assert hasattr(module, name), f"{module.__name__} has no {name} any more"
            setattr(module, name, value)
    warnings.simplefilter("error", SearchChangedWarning)


def _objective(session: Session, log: PhaseLog) -> Any:
    @functools.wraps(sample_objective)  # the wrapper must count as the same objective everywhere
    def objective(point: Any) -> float:
        with log.within("train"):
            trial = running_trial()
            assert trial is not None
            if trial.tid in session.poison:
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(session.nap)
            first, gate = session.gate or (math.inf, "")
            while trial.tid >= first and not Path(gate).exists():
                time.sleep(0.01)
            return sample_objective(point)

    return objective


def _search(session: Session, objective: Any) -> None:
    if session.by == "resume_search":
        resume_search(
            objective,
            name=session.name,
            max_evals=session.max_evals,
            space=SPACE,
            algo=session.algo,
            seed=session.seed,
            progress=False,
            **session.options,
        )
        return
    hyperopt.fmin(
        objective,
        SPACE,
        algo=ALGORITHMS[session.algo],
        max_evals=session.max_evals,
        trials=DriveTrials(session.name, **session.options),
        rstate=np.random.default_rng(session.seed),
        show_progressbar=False,
        return_argmin=False,
    )


def _visible(store: Any, folder: str) -> list[str]:
    names: list[str] = []
    entries = []
    with contextlib.suppress(NotFoundError):  # killed before the store was made
        entries = store.list(folder)
    for entry in entries:
        names.append(entry.name)
        if entry.is_folder:
            names += _visible(store, entry.id)
    if folder == store.root and "COLAB_DRIVE_TUNER_STORE" in os.environ:
        root = Path(os.environ["COLAB_DRIVE_TUNER_STORE"])
        hidden = {".store", ".trash", "index"}
        names += [
            path.name for path in root.rglob("*") if not hidden & set(path.relative_to(root).parts)
        ]
    return names


def _copy(store: Any, folder: Any) -> Any:
    """Load `trials.pkl` with plain pickle; the search is this test's own."""
    with contextlib.suppress(ColabDriveTunerError, AttributeError):
        return trial_values(pickle.loads(store.read(folder.export)))
    return None


def changed(session: Session, **values: Any) -> Session:
    """Return a copy of the session with some values changed."""
    return dataclasses.replace(session, **values)
