"""The worker's side: the objective is loaded once, then each task is one attempt of a trial.

Everything that may fail in a trial comes back as an `Outcome`. What an engine raises by itself is
thus never the trial's error: it says what became of the worker.
"""

import contextvars
import ctypes
import pickle
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import hyperopt
from hyperopt.base import Ctrl, Domain

from colab_drive_tuner.checkpoint.codec.capture import take
from colab_drive_tuner.errors import SearchError
from colab_drive_tuner.search.evaluate import Attempt, CompiledDomain, evaluate
from colab_drive_tuner.search.executors.trial_locations import Location, LocationSender, worker_name
from colab_drive_tuner.search.trial_documents import RUNNING
from colab_drive_tuner.search.trials.backups import BackupFolder
from colab_drive_tuner.search.trials.models import Parts, SavedModel, take_apart
from colab_drive_tuner.training.backup.writer import flush_backups, has_backups
from colab_drive_tuner.training.memory import KerasSettings, free_memory, keras_grew, keras_settings
from colab_drive_tuner.trial import Artifacts, TrialInterrupted

_KEPT = 4
"""How many objectives a worker remembers."""
_BACKUP_SECONDS = 60.0
"""How long a worker waits for the last backup of a trial to be stored."""


class Ended(StrEnum):
    """How a task came back."""

    DONE = "done"
    RAISED = "raised"
    TIMED_OUT = "timed out"
    INTERRUPTED = "interrupted"
    """Before the deadline, to be gone on with."""
    NOT_LOADED = "not loaded"
    """The objective or its data could not be loaded; the trial has not run."""
    UNKNOWN = "unknown"
    """The worker does not have the objective: send it."""


@dataclass(frozen=True)
class Task:
    """One attempt of a trial, as it is sent to a worker."""

    attempt: Attempt
    ends_at: float | None = None
    """The run's deadline, in seconds since 1970: clocks since boot differ between machines."""
    timeout: float | None = None
    loss_to_beat: float = float("inf")
    """A Keras model comes back only where the loss is not higher."""
    backups: BackupFolder | None = None
    free_memory: bool = True
    number: int = 0
    """Among the tasks of the run."""
    sender: LocationSender | None = None
    """Tells the driver that the task has begun."""


@dataclass
class Outcome:
    """What became of a task."""

    ended: Ended
    worker: str = ""
    seconds: float = 0.0
    """How long the trial ran, without the time in which its worker started."""
    parts: Parts | None = None
    attachments: dict[str, Any] = field(default_factory=dict)
    error: BaseException | None = None
    error_type: str = ""
    error_text: str = ""
    traceback: str = ""
    backed_up: bool = False
    notices: list[str] = field(default_factory=list)
    """What the user is to be told once."""


def run_task(sha: str, content: bytes | None, task: Task) -> bytes:
    """Run a task in a worker process; the answer is a pickled `Outcome`.

    Args:
        sha: Which objective.
        content: The objective, as `payload.pack` made it; None: the worker may have it.
        task: The attempt.
    """
    try:
        domain = _domain(sha, content)
        if domain is None:
            return _pickled(Outcome(Ended.UNKNOWN, worker_name()))
        if task.attempt.training.keras_wanted:
            import keras  # noqa: F401 - it takes long, which is not the trial's time
    except Exception as error:  # noqa: BLE001 - it is told by the driver
        return _pickled(failed(Ended.NOT_LOADED, error))
    return _pickled(run_here(domain, task))


def run_here(domain: Domain, task: Task, artifacts: Artifacts | None = None) -> Outcome:
    """Run a task in this process, with an objective that is loaded."""
    if task.backups is not None:
        artifacts = task.backups.open(task.attempt.tid)
    _processes.begin()
    if task.timeout is None:
        return _timed(domain, task, artifacts)
    outcomes: list[Outcome] = []
    context = contextvars.copy_context()
    thread = threading.Thread(
        target=lambda: outcomes.append(context.run(_timed, domain, task, artifacts)),
        name=threading.current_thread().name,
        daemon=True,
    )
    thread.start()
    thread.join(task.timeout)
    if outcomes:
        return outcomes[0]
    # It goes on until it looks: Python's own code does at the next instruction.
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread.ident or 0), ctypes.py_object(SystemExit)
    )
    return Outcome(Ended.TIMED_OUT, worker_name(), task.timeout)


def _timed(domain: Domain, task: Task, artifacts: Artifacts | None) -> Outcome:
    """Run a task, and free the memory that it took."""
    began = time.monotonic()
    if task.sender is not None:
        task.sender(Location(task.number, worker_name()))
    try:
        outcome = _run(domain, task, artifacts)
    finally:
        _processes.end(free=task.free_memory)
    outcome.seconds = time.monotonic() - began
    return outcome


def _run(domain: Domain, task: Task, artifacts: Artifacts | None) -> Outcome:
    notices = list[str]()
    try:
        trials, document = _only(task.attempt)
        ctrl = Ctrl(trials, document)
        result = evaluate(_until(task), domain, ctrl, artifacts, notices)
        parts = _portable(take_apart(result), task.loss_to_beat)
        take(parts.result)  # what is no plain data is an error of the objective
    except TrialInterrupted as error:
        outcome = failed(Ended.INTERRUPTED, error)
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is the objective's
        outcome = failed(Ended.RAISED, error)
    else:
        outcome = Outcome(Ended.DONE, worker_name(), parts=parts)
        outcome.attachments = trials.attachments
    if artifacts is not None and has_backups(artifacts):
        outcome.backed_up = True
        flush_backups([artifacts], _BACKUP_SECONDS)
    outcome.notices = notices
    return outcome


def _only(attempt: Attempt) -> tuple[hyperopt.Trials, dict[str, Any]]:
    """What an objective that asks for `ctrl` gets to see of the search: its own trial."""
    values = {label: [value] for label, value in attempt.point.items()}
    misc = {"tid": attempt.tid, "cmd": None, "workdir": None, "vals": values}
    misc["idxs"] = {label: [attempt.tid] for label in values}
    trials = hyperopt.Trials()
    (document,) = trials.new_trial_docs([attempt.tid], [None], [{"status": "new"}], [misc])
    document["state"] = RUNNING
    trials.insert_trial_docs([document])
    trials.refresh()
    return trials, trials.trials[0]


def _until(task: Task) -> Attempt:
    """The attempt, with its deadline by this machine's clock."""
    attempt = task.attempt
    left = None if task.ends_at is None else time.monotonic() + task.ends_at - time.time()
    return replace(attempt, training=replace(attempt.training, deadline=left))


def _portable(parts: Parts, loss_to_beat: float) -> Parts:
    """The parts with their Keras model as the bytes of a file, if that may be kept."""
    if parts.keras is None:
        return parts
    loss = parts.loss
    if loss is None or not loss <= loss_to_beat:
        return replace(parts, keras=None)
    with tempfile.TemporaryDirectory(prefix="colab-drive-tuner-") as scratch:
        path = Path(scratch) / "model.keras"
        try:
            parts.keras.save(path)
            saved = SavedModel(path.read_bytes())
        except Exception as error:  # noqa: BLE001 - a user's get_config can fail in any way
            saved = SavedModel(b"", repr(error))
    return replace(parts, keras=saved)


def failed(ended: Ended, error: BaseException) -> Outcome:
    """The outcome of a task that raised."""
    return Outcome(
        ended,
        worker_name(),
        error=error,
        error_type=str(type(error)),
        error_text=str(error),
        traceback="".join(traceback.format_exception(error)),
    )


def _pickled(outcome: Outcome) -> bytes:
    import cloudpickle

    try:
        packed: bytes = cloudpickle.dumps(outcome)
        if outcome.error is not None:
            pickle.loads(packed)  # noqa: S301 - made here: some exceptions cannot be made anew
    except Exception:  # noqa: BLE001 - anything may be in an exception or a model
        if outcome.error is not None:
            outcome.error = None
            return _pickled(outcome)
        problem = SearchError(
            f"What the objective returned cannot be sent back from its worker: "
            f"{sys.exc_info()[1]}. Return plain data, a Keras model, or bytes as `attachments`."
        )
        return _pickled(replace(failed(Ended.RAISED, problem), seconds=outcome.seconds))
    return packed


class _Processes:
    """The trials that run in this process, by turns or at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running = 0
        self._keras: KerasSettings | None = None

    def begin(self) -> None:
        """A trial begins."""
        with self._lock:
            self._running += 1
            if self._keras is None and "keras" in sys.modules:
                self._keras = keras_settings()

    def end(self, *, free: bool) -> None:
        """A trial has ended; what Keras held goes, unless another trial is training here."""
        with self._lock:
            self._running -= 1
            alone = self._running == 0
            if free and alone and "keras" in sys.modules and keras_grew(self._keras):
                free_memory(self._keras)


_processes = _Processes()
_domains: dict[str, Domain] = {}
_loading = threading.Lock()


def _domain(sha: str, content: bytes | None) -> Domain | None:
    """The objective and space of a search, loaded at most once in this process."""
    with _loading:
        if sha not in _domains and content is not None:
            objective, space, pass_ctrl = pickle.loads(content)  # noqa: S301 - the driver's own
            domain = CompiledDomain(objective, space, pass_expr_memo_ctrl=pass_ctrl)
            prepare: Callable[[], Any] | None = getattr(objective, "prepare", None)
            if prepare is not None:
                prepare()
            while len(_domains) >= _KEPT:
                del _domains[next(iter(_domains))]
            _domains[sha] = domain
        return _domains.get(sha)
