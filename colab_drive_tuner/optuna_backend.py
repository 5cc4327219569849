"""Optuna storage on the same chain of records as searches, so that studies survive any kill.

`JournalStorage` is Optuna's own; its backend here appends to a search's journal. Optuna's journal
snapshots are not supported, because Optuna unpickles them.
"""

import itertools
import json
import math
import secrets
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any, NoReturn
from weakref import WeakValueDictionary

from colab_drive_tuner.checkpoint.history import History
from colab_drive_tuner.checkpoint.record_items import (
    LARGEST_LINE,
    ItemKind,
    claim_payload,
    read_items,
)
from colab_drive_tuner.checkpoint.replay_filter import wanted
from colab_drive_tuner.checkpoint.trials_and_sessions import line_item
from colab_drive_tuner.errors import (
    SearchBusyError,
    SearchTakenOverError,
    UsageError,
    optional_import,
)
from colab_drive_tuner.journal import Journal, PayloadRules
from colab_drive_tuner.search.results.exchange.to_optuna import LogInMemory
from colab_drive_tuner.search.results.optuna_studies import (
    ATTEMPTS,
    State,
    attempts_of,
    translate_replay_errors,
)
from colab_drive_tuner.search.results.read_search import status_of_studies
from colab_drive_tuner.search.spec.arguments import whole_number
from colab_drive_tuner.search.trials.poison_trials import CarefulStart
from colab_drive_tuner.store import open_store
from colab_drive_tuner.store.protocol import Store

with optional_import("Optuna is not installed: pip install 'colab-drive-tuner[optuna]'."):
    from optuna.storages import JournalStorage
    from optuna.storages.journal import BaseJournalBackend
    from optuna.trial import FrozenTrial, TrialState, create_trial

RETRY_OF = "colab_drive_tuner:again"
"""System attribute of a trial that retries another one's parameters: the number of that trial."""

_RUNG = "completed_rung_"
"""Start of the attributes in which halving pruners keep reported values; a retry reports anew."""
_LASTING = (bool, int, float, str, type(None))
"""Types of parameters that JSON keeps; it makes a list of a tuple, which is no choice then."""
_CREATE_TRIAL, _SET_STATE = 4, 6
"""Operations of Optuna's journal that create a trial and set its state."""
_SHARED = (
    "For workers in other processes, run Optuna's gRPC proxy in the process that holds the study: "
    "optuna.storages.run_grpc_proxy_server(storage)."
)
_DISK_SECONDS = 5.0
"""Time that the end of a trial waits for the local disk; a disk that hangs must not block it."""

_open: WeakValueDictionary[str, "ChainBackend"] = WeakValueDictionary()
"""Open backends of this process by a random key, by which a pickled storage finds its backend."""


class ChainBackend(BaseJournalBackend):
    """Journal backend with Optuna's log lines in a chain, owned by one process at a time."""

    def __init__(self, store: Store, name: str, on_busy: str) -> None:
        self._displaced: dict[tuple[str, int], bytes] = {}
        self.journal = Journal.open(store, name, PayloadRules(History, History.load, self._wanted))
        history: History = self.journal.state
        if history.trials:
            raise UsageError(
                f"{name!r} is a hyperopt search with {len(history.trials)} trials: give the study "
                "another name, or continue the search with resume_search."
            )
        self.key = secrets.token_hex(16)
        self._lock = threading.Lock()
        self._lines: list[bytes] = history.study.lines
        self.journal.report = lambda: status_of_studies(list(self._lines), name=name)
        try:
            claim = self.journal.claim(
                lambda history: claim_payload({} if history.settings else {"algo": "optuna"}),
                on_busy=on_busy,
                advice="To begin a new study, choose another name.",
            )
        except SearchBusyError as error:
            raise SearchBusyError(f"{error} {_SHARED}") from error
        study = self.journal.state.study
        self._lines = list(study.lines)
        self._recorded = len(self._lines)
        self._base: str = study.digest
        self._careful_start, self._began = CarefulStart(claim), math.inf
        _open[self.key] = self

    def _wanted(self, history: History, spooled: bytes) -> bool:
        """Return whether the chain lacks a spooled item; note a line whose place is taken."""
        is_wanted = wanted(history, spooled)
        for item in read_items(spooled, "A spooled entry"):
            if item.kind == ItemKind.LOG and (place := history.study.displaced(item)):
                self._displaced[place] = item.document
        return is_wanted

    def displaced_logs(self) -> Iterator[list[bytes]]:
        """Yield the log of each earlier session of this machine that lost the study.

        It is the recorded log up to the first line that the session could not send, and its lines
        from there on.
        """
        for session in dict.fromkeys(session for session, _ in self._displaced):
            first = min(at for one, at in self._displaced if one == session)
            places = zip(itertools.repeat(session), itertools.count(first))
            rest = itertools.takewhile(self._displaced.__contains__, places)
            yield self._lines[:first] + [self._displaced[place] for place in rest]

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        """Return the logs from this line on."""
        with self._lock:
            lines = self._lines[log_number_from : self._recorded]
        return map(json.loads, lines)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append lines; they are recorded in the background, without waiting for the store.

        After a crash, the first trials wait until their start is acknowledged and their parameters
        are on the disk, so that a trial that kills runtimes at once is found.

        Raises:
            SearchTakenOverError: Another runtime owns the study now.
        """
        lines = [json.dumps(log, separators=(",", ":")).encode() for log in logs]
        for line in lines:
            if len(line) > LARGEST_LINE:
                raise UsageError(
                    f"Optuna wrote a line of {len(line):,} bytes into study {self.journal.name!r}; "
                    f"at most {LARGEST_LINE:,} can be kept. Keep large attributes in files."
                )
        ends = any(log["op_code"] == _SET_STATE and State(log["state"]).ended for log in logs)
        with self._lock:
            self._lines += lines
            self._record(ends=ends)
        if ends:
            self.journal.flush_to_disk(_DISK_SECONDS)
            if self._began < math.inf:
                self._careful_start.trial_took(time.monotonic() - self._began)
                self._began = time.monotonic()
            return
        starts = any(map(_is_start, logs))
        if starts:
            self._began = min(self._began, time.monotonic())
        if self._careful_start.needed():
            if starts:
                self._careful_start.wait(self.journal.flush)
            else:
                self.journal.flush_to_disk(_DISK_SECONDS)

    def _record(self, *, ends: bool) -> None:
        """Record the new lines, and one before them whose recording Ctrl-C interrupted.

        If that one was recorded already, its repetition is ignored, because its place is taken.
        `ends`: whether the lines end a trial. They then stay readable even if they are refused:
        Optuna asks for the trial's state before it lets the error pass, and if the trial had not
        ended, an assertion would take the error's place.
        """
        try:
            while self._recorded < len(self._lines):
                line = self._lines[self._recorded]
                item = line_item(line, self.key, self._recorded, self._base)
                self.journal.append(item, durable=True)
                self._recorded += 1
        except Exception as error:
            if ends or isinstance(error, SearchTakenOverError):  # which keeps the lines on disk
                self._recorded = len(self._lines)
            del self._lines[self._recorded :]
            raise

    def __reduce__(self) -> Any:
        """Pickle as a reference: unpickling finds this object, or in other processes none."""
        return _find_open, (self.key, self.journal.name)


def _is_start(log: dict[str, Any]) -> bool:
    """Return whether a line starts a trial, new or queued."""
    is_trial = log["op_code"] in (_CREATE_TRIAL, _SET_STATE)
    return is_trial and State(log.get("state", State.RUNNING)) == State.RUNNING


class ElsewhereBackend(BaseJournalBackend):
    """Backend of a study that another process holds: every use fails.

    Unpickling must not fail itself, because pools of processes report that as their own death.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def read_logs(self, log_number_from: int) -> NoReturn:  # noqa: ARG002 - called by Optuna
        """Raise `UsageError`, as `append_logs` does."""
        raise UsageError(
            f"Study {self._name!r} was unpickled here, and is held by the process "
            f"that opened it. Once that has ended: optuna_storage({self._name!r}). {_SHARED}"
        )

    def append_logs(self, logs: list[dict[str, Any]]) -> NoReturn:
        """Raise `UsageError`, as `read_logs` does."""
        self.read_logs(len(logs))


def _find_open(key: str, name: str) -> BaseJournalBackend:
    return _open.get(key) or ElsewhereBackend(name)


class StudyStorage(JournalStorage):
    """Optuna's journal storage on a chain; opened by `optuna_storage`.

    Inherited argument:
        log_storage: The backend for the storage's log lines.
    """

    @property
    def journal(self) -> Journal:
        """The study's journal."""
        backend: ChainBackend = self._backend  # type: ignore[assignment]  # `optuna_storage` gave it
        return backend.journal

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until the store has acknowledged all records.

        Args:
            timeout: Maximum time in seconds; None: wait without a limit.

        Returns:
            Whether all records are acknowledged.
        """
        return self.journal.flush(timeout)

    def close(self) -> None:
        """Record what is pending and release the study; also called when the process exits."""
        self.journal.close()

    def __repr__(self) -> str:
        store = self.journal.store
        return f"StudyStorage {self.journal.name!r} in {store.url(store.root)}"


def optuna_storage(
    name: str, *, store: Any = None, on_busy: str = "wait", max_attempts: int = 3
) -> StudyStorage:
    """Open a storage for Optuna's studies that outlives the runtime. Requires the extra `optuna`.

    A kill never loses anything that the store has acknowledged. Trials that ended but were not sent
    before a runtime died are recovered from its disk. A trial that was running when its runtime
    died is marked as failed, and its parameters are tried again first. Two runtimes cannot write
    the study at the same time. During an outage of the store, records are sent in the background
    once it is back. Suggestions can differ from those of an uninterrupted study, because samplers
    keep their random state in memory; one with a fixed seed suggests the same points again.

    Args:
        name: Name of the storage's folder in the store; its studies have names of their own.
        store: Store of the study, as in `resume_search`; None: the one opened by `setup()`, else
            Drive.
        on_busy: What to do if another runtime holds the study: "wait" (until its lease expires),
            "takeover" or "error".
        max_attempts: Number of runtimes that may die in a trial before it is no longer retried.

    Returns:
        A storage for `optuna.create_study(storage=..., load_if_exists=True)`.

    Raises:
        UsageError: The name is that of a hyperopt search, or an argument is invalid.
        SearchBusyError: Another runtime holds the study.
        SearchFolderError: The study's folder was renamed, moved or trashed by hand.
        SearchDamagedError: This package or Optuna cannot read the study's records.
        StoreError: A request to the store failed.

    Example:
        >>> import optuna
        >>> import colab_drive_tuner as cdt
        >>> storage = cdt.optuna_storage("cnn", store="searches")
        >>> study = optuna.create_study(storage=storage, study_name="cnn", load_if_exists=True)
    """
    most = whole_number("max_attempts", max_attempts, least=1)
    backend = ChainBackend(open_store(store).for_search(name), name, on_busy)
    try:
        with translate_replay_errors(backend.journal.store, name):
            opened = StudyStorage(backend)
            for log in backend.displaced_logs():
                _add_ended(opened, JournalStorage(LogInMemory(log)))
            for study in opened.get_all_studies():
                _retry_interrupted(opened, study._study_id, most)
    except BaseException:  # release the study also after an interrupt
        backend.journal.close()
        raise
    return opened


def _add_ended(storage: StudyStorage, displaced: JournalStorage) -> None:
    """Add the trials that ended in a session that lost the study before it could send them."""
    ours = {(one.study_name, *one.directions): one._study_id for one in storage.get_all_studies()}
    for study in displaced.get_all_studies():
        if (study_id := ours.get((study.study_name, *study.directions))) is None:
            continue  # deleted in the meantime, or created anew with other objectives
        known = {
            (trial.datetime_start, trial.datetime_complete)
            for trial in storage.get_all_trials(study_id, deepcopy=False)
        }
        for trial in displaced.get_all_trials(study._study_id):
            times = (trial.datetime_start, trial.datetime_complete)
            if trial.state.is_finished() and times not in known:
                storage.create_new_trial(study_id, trial)


def _retry_interrupted(storage: StudyStorage, study_id: int, most: int) -> None:
    """Fail trials whose runtime died, and queue their parameters up to `most` attempts.

    If the process is killed halfway, the next session finds the queued trials, which still wait,
    completes them, and does not queue them twice. Others may be of another study, from which they
    were added. A retry inherits what samplers keep in attributes, such as its place in a grid.
    """
    trials = storage.get_all_trials(study_id, deepcopy=False)
    queued = {
        number: trial
        for trial in trials
        if trial.state == TrialState.WAITING
        and type(number := trial.system_attrs.get(RETRY_OF)) is int  # attributes are untrusted
    }
    for trial in (one for one in trials if one.state == TrialState.RUNNING):
        attempts = attempts_of(trial.user_attrs) + 1
        retry = None
        if trial.number in queued:
            retry = queued[trial.number]._trial_id
            attempts = attempts_of(queued[trial.number].user_attrs) or attempts
        elif attempts < most:
            enqueued = trial.system_attrs.get("fixed_params")
            every = (enqueued if isinstance(enqueued, dict) else {}) | trial.params
            fixed = {key: value for key, value in every.items() if isinstance(value, _LASTING)}
            new = create_trial(
                state=TrialState.WAITING,
                user_attrs={ATTEMPTS: attempts},
                # Without parameters it is no queued trial: a grid gives those no point of its own.
                system_attrs=({"fixed_params": fixed} if fixed else {}) | {RETRY_OF: trial.number},
            )
            retry = storage.create_new_trial(study_id, new)
        if retry is not None:
            _copy_attributes(storage, trial, retry)
        storage.set_trial_user_attr(trial._trial_id, ATTEMPTS, attempts)
        storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)


def _copy_attributes(storage: StudyStorage, trial: FrozenTrial, retry: int) -> None:
    """Copy attributes one by one, as they were set: in one line they may be too many."""
    for key, value in trial.user_attrs.items():
        if key != ATTEMPTS:
            storage.set_trial_user_attr(retry, key, value)
    for key, value in trial.system_attrs.items():
        if key not in ("fixed_params", RETRY_OF) and not key.startswith(_RUNG):
            storage.set_trial_system_attr(retry, key, value)
