"""Execution of trials in a worker: load the objective once, then run one attempt per task.

Every failure of a trial is returned as an `Outcome`, so an exception of the executor never comes
from the trial: it describes what happened to the worker.
"""

import contextvars
import ctypes
import pickle
import tempfile
import threading
import time
from dataclasses import dataclass, field, replace
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import Any

import hyperopt
from hyperopt.base import Ctrl, Domain

from colab_drive_tuner.checkpoint.codec.codec import capture
from colab_drive_tuner.checkpoint.document_schema import TrialDocument
from colab_drive_tuner.errors import ExecutorError, SearchError
from colab_drive_tuner.machine import exit_with
from colab_drive_tuner.search.evaluate import Attempt, FastDomain, evaluate
from colab_drive_tuner.search.executors.trial_locations import Location, LocationSender, worker_name
from colab_drive_tuner.search.spec.objectives import TemplatedObjective
from colab_drive_tuner.search.trial_documents import RUNNING, imported_document
from colab_drive_tuner.search.trials.backups import BackupFolder
from colab_drive_tuner.search.trials.returned_models import ResultParts, SavedModel, separate_model
from colab_drive_tuner.text import text_of
from colab_drive_tuner.tracebacks import formatted, keep_frames_of_user
from colab_drive_tuner.training.backup.writer import flush_backups
from colab_drive_tuner.training.memory import KerasMemory
from colab_drive_tuner.training.trial import TrialInterrupted
from colab_drive_tuner.training.trial_backup_files import TrialBackupFiles

_MAX_OBJECTIVES = 4
"""Number of objectives that a worker keeps loaded."""
_BACKUP_SECONDS = 60.0
"""Time that a worker waits for the last backup of a trial to be stored."""

_memory = KerasMemory()
_domains: dict[str, Domain] = {}
"""The objectives that this process has loaded, with their spaces, by the hash of their content."""
_loading = threading.Lock()


class InWorkerError(Exception):
    """Cause of an exception raised in a worker; its text is the worker's traceback."""

    def __str__(self) -> str:
        return f"in the worker:\n\n{self.args[0]}"


class TaskStatus(StrEnum):
    """Result of running a task."""

    DONE = "done"
    RAISED = "raised"
    TIMED_OUT = "timed out"
    INTERRUPTED = "interrupted"
    """The trial raised `TrialInterrupted`; the next run continues it."""
    NOT_LOADED = "not loaded"
    """The objective or its data could not be loaded; the trial has not run."""
    NEEDS_OBJECTIVE = "needs the objective"
    """The worker does not have the objective: resubmit the task with it."""


@dataclass(frozen=True)
class Task:
    """One attempt of a trial, in the form sent to a worker."""

    attempt: Attempt
    trial_timeout: float | None = None
    """Maximum run time in seconds, after which the trial counts as failed."""
    loss_to_beat: float = float("inf")
    """The Keras model is returned only if its loss is not higher than this."""
    backups: BackupFolder | None = None
    free_memory: bool = True
    number: int = 0
    """Number of the task within the run."""
    sender: LocationSender | None = None
    """Reports to the driver that the task has started."""
    driver: int = 0
    """Process id of the driver; processes that it started exit when it has died."""


@dataclass
class Outcome:
    """Result of a task, returned to the driver."""

    status: TaskStatus
    worker: str = ""
    seconds: float = 0.0
    """Run time of the trial, without the start of its worker."""
    parts: ResultParts | None = None
    attachments: dict[str, Any] = field(default_factory=dict)
    error: BaseException | None = None
    error_type: str = ""
    error_text: str = ""
    traceback: str = ""
    traceback_of_user: str = ""
    """The traceback without the frames of this package."""
    backed_up: bool = False
    notices: list[str] = field(default_factory=list)
    """Messages to show to the user once."""

    def exception(self) -> BaseException:
        """Return the error that ends the run, if this one does."""
        if self.status == TaskStatus.NOT_LOADED:
            return ExecutorError(
                f"The objective, or its data, cannot be loaded in worker {self.worker}: "
                f"{self.error_text}. Install there what it imports.\n{self.traceback}"
            )
        error = self.error or ExecutorError(
            f"The objective raised {self.error_type}, which cannot be sent here: {self.error_text}"
        )
        if self.traceback:
            error.__cause__ = InWorkerError(self.traceback_of_user)
        return error


def run_task(sha: str, content: bytes | None, task: Task) -> bytes:
    """Run a task in a worker process and return a pickled `Outcome`.

    `content` is the objective pickled by `payload.pack`, and `sha` its SHA-256; None if the worker
    may have it already.
    """
    exit_with(task.driver)
    try:
        domain = _load_objective(sha, content)
        if domain is None:
            return _pickled(Outcome(TaskStatus.NEEDS_OBJECTIVE, worker_name()))
        for module in task.attempt.training.frameworks:
            import_module(module)  # slow, and must not count as the trial's time
    except Exception as error:  # noqa: BLE001 - the driver raises it
        return _pickled(failed_outcome(TaskStatus.NOT_LOADED, error))
    return _pickled(run_in_process(domain, task))


def _load_objective(sha: str, content: bytes | None) -> Domain | None:
    """Return a search's objective and space, loaded at most once in this process."""
    with _loading:
        if sha not in _domains and content is not None:
            objective, space, pass_ctrl = pickle.loads(content)  # noqa: S301 - from the driver
            domain = FastDomain(objective, space, pass_expr_memo_ctrl=pass_ctrl)
            if isinstance(objective, TemplatedObjective):
                objective.prepare()
            while len(_domains) >= _MAX_OBJECTIVES:
                del _domains[next(iter(_domains))]
            _domains[sha] = domain
        return _domains.get(sha)


def run_in_process(
    domain: Domain, task: Task, artifacts: TrialBackupFiles | None = None
) -> Outcome:
    """Run a task in this process with a loaded objective."""
    if task.backups is not None:
        artifacts = task.backups.open(task.attempt.tid)
    _memory.begin()
    if task.trial_timeout is None:
        return _timed(domain, task, artifacts)
    outcomes: list[Outcome] = []
    context = contextvars.copy_context()
    thread = threading.Thread(
        target=lambda: outcomes.append(context.run(_timed, domain, task, artifacts)),
        name=threading.current_thread().name,
        daemon=True,
    )
    thread.start()
    thread.join(task.trial_timeout)
    if outcomes:
        return outcomes[0]
    # Raised at the thread's next Python instruction; until then the trial keeps running.
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread.ident or 0), ctypes.py_object(SystemExit)
    )
    return Outcome(TaskStatus.TIMED_OUT, worker_name(), task.trial_timeout)


def _timed(domain: Domain, task: Task, artifacts: TrialBackupFiles | None) -> Outcome:
    """Run a task, measure its time and free its memory."""
    started = time.monotonic()
    if task.sender is not None:
        task.sender(Location(task.number, worker_name()))
    try:
        outcome = _run(domain, task, artifacts)
    finally:
        _memory.end(free=task.free_memory)
    outcome.seconds = time.monotonic() - started
    return outcome


def _run(domain: Domain, task: Task, artifacts: TrialBackupFiles | None) -> Outcome:
    """Run the objective; whatever it raises is part of the outcome."""
    notices = list[str]()
    try:
        trials, document = _trials_of(task.attempt)
        ctrl = Ctrl(trials, document)
        result = evaluate(task.attempt, domain, ctrl, artifacts, notices)
        parts = _serialize_model(separate_model(result), task.loss_to_beat)
        capture(parts.result)  # data that cannot be recorded is the objective's error
    except TrialInterrupted as error:
        outcome = failed_outcome(TaskStatus.INTERRUPTED, error)
    except BaseException as error:  # noqa: BLE001 - anything raised here is the objective's error
        outcome = failed_outcome(TaskStatus.RAISED, error)
    else:
        outcome = Outcome(TaskStatus.DONE, worker_name(), parts=parts)
        outcome.attachments = trials.attachments
    if artifacts is not None and artifacts.writer is not None:
        outcome.backed_up = True
        flush_backups([artifacts], _BACKUP_SECONDS)
    outcome.notices = notices
    return outcome


def _trials_of(attempt: Attempt) -> tuple[hyperopt.Trials, TrialDocument]:
    """Return Trials with this trial only, for objectives that ask for `ctrl`, and its document."""
    trials = hyperopt.Trials()
    new = {"status": "new"}
    document = imported_document(attempt.tid, RUNNING, attempt.point, new, owner=None)
    trials.insert_trial_docs([document])
    trials.refresh()
    return trials, trials.trials[0]


def _serialize_model(parts: ResultParts, loss_to_beat: float) -> ResultParts:
    """Replace the Keras model with the bytes of its file, or drop it if its loss is too high."""
    if parts.keras is None:
        return parts
    loss = parts.loss
    if loss is None or not loss <= loss_to_beat:
        return replace(parts, keras=None)
    try:
        with tempfile.TemporaryDirectory(prefix="colab-drive-tuner-") as scratch:
            path = Path(scratch) / "model.keras"
            parts.keras.save(path)
            saved = SavedModel(path.read_bytes())
    except Exception as error:  # noqa: BLE001 - a user's get_config can fail in any way
        saved = SavedModel(b"", text_of(error, repr))
    return replace(parts, keras=saved)


def failed_outcome(status: TaskStatus, error: BaseException) -> Outcome:
    """Return the outcome of a task that raised `error`."""
    whole = formatted(error)
    keep_frames_of_user(error)
    return Outcome(
        status,
        worker_name(),
        error=error,
        error_type=str(type(error)),
        error_text=text_of(error),
        traceback=whole,
        traceback_of_user=formatted(error),
    )


def _pickled(outcome: Outcome) -> bytes:
    """Pickle an outcome; what cannot be pickled becomes an error that says so."""
    import cloudpickle

    try:
        packed: bytes = cloudpickle.dumps(outcome)
        if outcome.error is not None:
            pickle.loads(packed)  # noqa: S301 - own data: some exceptions cannot be unpickled
    except Exception as error:  # noqa: BLE001 - pickling a user's objects can raise anything
        if outcome.error is not None:
            outcome.error = None
            return _pickled(outcome)
        problem = SearchError(
            "What the objective returned cannot be sent back from its worker "
            f"({text_of(error).rstrip('.')}): return plain data, a Keras model, or bytes as "
            "`attachments`."
        )
        return _pickled(
            replace(failed_outcome(TaskStatus.RAISED, problem), seconds=outcome.seconds)
        )
    return packed
