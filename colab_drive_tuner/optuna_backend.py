"""Storage for Optuna's studies on the same chain as searches: killed at any instant, they go on.

`JournalStorage` is Optuna's own; what it writes and reads goes through a backend that appends to
a search's journal. Snapshots of Optuna's kind are never offered: Optuna unpickles them.
"""

import json
import secrets
import threading
from collections.abc import Iterable
from typing import Any
from wsgiref.types import WSGIApplication

from colab_drive_tuner.checkpoint.history import History
from colab_drive_tuner.checkpoint.optuna_journal import line_item
from colab_drive_tuner.checkpoint.record_items import LARGEST_LINE, claim_payload
from colab_drive_tuner.checkpoint.replay_filter import wanted
from colab_drive_tuner.errors import MissingExtraError, UsageError
from colab_drive_tuner.journal import Journal, Rules
from colab_drive_tuner.search.results.optuna_log import replaying
from colab_drive_tuner.search.spec.arguments import whole_number
from colab_drive_tuner.store import open_store
from colab_drive_tuner.store.protocol import Store

try:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import BaseJournalBackend
    from optuna.trial import TrialState, create_trial
except ImportError as error:
    raise MissingExtraError(
        "Optuna is not installed: pip install 'colab-drive-tuner[optuna]'."
    ) from error

ATTEMPTS = "colab_drive_tuner:attempts"
"""The user attribute of a trial that counts the runtimes that died in it."""
AGAIN = "colab_drive_tuner:again"
"""The system attribute of a trial that tries another one's parameters again: that one's number."""

_SET_STATE = 6
"""Optuna's operation that ends a trial, among others."""
_ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
_DISK_SECONDS = 5.0
"""How long the end of a trial waits for this disk; a disk that hangs does not hold the study up."""

_open: dict[str, "ChainBackend"] = {}
"""The backends of this process, by a random key: a pickled storage finds its own again."""


class ChainBackend(BaseJournalBackend):
    """Optuna's log lines in the chain of a search. One process at a time holds it.

    Args:
        store: Where the study is kept.
        name: Its name.
        on_busy: What happens where another runtime holds it: "wait", "takeover" or "error".
    """

    def __init__(self, store: Store, name: str, on_busy: str) -> None:
        self.journal = Journal.open(store, name, Rules(History, History.load, wanted))
        history: History = self.journal.state
        if history.trials:
            raise UsageError(
                f"{name!r} is a search of hyperopt's, with {len(history.trials)} trials: give the "
                "study another name, or go on with it by resume_search."
            )
        self.key = secrets.token_hex(16)
        self._lock = threading.Lock()
        self.journal.claim(_claim_of, on_busy=on_busy)
        study = self.journal.state.study
        self._lines: list[bytes] = list(study.lines)
        self._base: str = study.digest
        _open[self.key] = self

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        """The lines from this one on, as Optuna wants them."""
        with self._lock:
            fresh = self._lines[log_number_from:]
        return map(json.loads, fresh)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append lines; they are recorded in the background, and this never waits for the store.

        Raises `SearchTakenOverError` once another runtime owns the study.
        """
        lines = [json.dumps(log, separators=(",", ":")).encode() for log in logs]
        for line in lines:
            if len(line) > LARGEST_LINE:
                raise UsageError(
                    f"Optuna wrote a line of {len(line):,} bytes into study {self.journal.name!r}; "
                    f"at most {LARGEST_LINE:,} can be kept. Keep large attributes in files."
                )
        with self._lock:
            for line in lines:
                item = line_item(line, self.key, len(self._lines), self._base)
                self.journal.append(item, durable=True)
                self._lines.append(line)
        if any(log["op_code"] == _SET_STATE and log["state"] in _ENDED for log in logs):
            self.journal.flush_to_disk(_DISK_SECONDS)

    def __reduce__(self) -> Any:
        """Pickled, it is this very object, found by its key; in another process an error."""
        return _found, (self.key, self.journal.name)


def _claim_of(history: History) -> bytes:
    return claim_payload({} if history.settings else {"algo": "optuna"})


def _found(key: str, name: str) -> ChainBackend:
    if key not in _open:
        raise UsageError(
            f"Study {name!r} is held by one process. For workers in others put Optuna's gRPC proxy "
            "in front of it: optuna.storages.run_grpc_proxy_server(storage)."
        )
    return _open[key]


class StudyStorage(JournalStorage):
    """Optuna's journal storage over a chain, as `optuna_storage` opens it.

    Args:
        backend: Where its lines go.
    """

    def __init__(self, backend: ChainBackend) -> None:
        super().__init__(backend)

    @property
    def journal(self) -> Journal:
        """The journal of the chain."""
        backend: ChainBackend = self._backend  # type: ignore[assignment]  # `optuna_storage` gave it
        return backend.journal

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until the store has acknowledged everything.

        Args:
            timeout: Seconds; None: as long as it takes.

        Returns:
            Whether it has.
        """
        return self.journal.flush(timeout)

    def close(self) -> None:
        """Record what is left and release the study; also done when the process exits."""
        self.journal.close()

    def __repr__(self) -> str:
        store = self.journal.store
        return f"StudyStorage {self.journal.name!r} in {store.url(store.root)}"


def optuna_storage(
    name: str, *, store: Any = None, on_busy: str = "wait", max_attempts: int = 3
) -> StudyStorage:
    """Open a storage for Optuna's studies that outlives the runtime. Needs the extra `optuna`.

    Nothing that the store acknowledged is lost at any kill; the trials that a dead runtime had
    ended and not sent yet come back from its disk. A trial that was running when its runtime died
    is marked as failed, and its parameters are tried again before anything else. Two runtimes
    cannot both write it. An outage of the store is waited out in the background. Not promised: the
    suggestions of an uninterrupted study, because samplers keep their random state in memory.

    Args:
        name: The name of its folder in the store. Studies in it have names of their own.
        store: Where it is kept, as in `resume_search`; None: what `setup()` opened, else Drive.
        on_busy: Where another runtime holds it: "wait" (until its lease runs out), "takeover" or
            "error".
        max_attempts: How many runtimes may die in a trial; then it is not tried again.

    Returns:
        A storage for `optuna.create_study(storage=..., load_if_exists=True)`.

    Raises:
        UsageError: The name is that of a search of hyperopt's, or an argument cannot be used.
        SearchBusyError: Another runtime holds it.
        SearchDamagedError: Its records cannot be read, by this package or by Optuna.
        StoreError: The store did not do what was asked.

    Example:
        >>> import optuna
        >>> import colab_drive_tuner as cdt
        >>> storage = cdt.optuna_storage("cnn", store="searches")
        >>> study = optuna.create_study(storage=storage, study_name="cnn", load_if_exists=True)
    """
    most = whole_number("max_attempts", max_attempts, least=1)
    backend = ChainBackend(open_store(store).for_search(name), name, on_busy)
    try:
        with replaying(backend.journal.store, name):
            opened = StudyStorage(backend)
            for study in opened.get_all_studies():
                _try_again(opened, study._study_id, most)
    except BaseException:  # an interrupt, too, releases the study
        backend.journal.close()
        raise
    return opened


def _try_again(storage: StudyStorage, study_id: int, most: int) -> None:
    """Fail trials whose runtime died, and queue their parameters, but of one that killed too many.

    Killed in between, the next session finds what is queued, and queues nothing twice.
    """
    trials = storage.get_all_trials(study_id, deepcopy=False)
    queued = {_whole(trial.system_attrs.get(AGAIN), -1): trial for trial in trials}
    for trial in (one for one in trials if one.state == TrialState.RUNNING):
        attempts = _whole(trial.user_attrs.get(ATTEMPTS), 0) + 1
        if trial.number in queued:
            attempts = _whole(queued[trial.number].user_attrs.get(ATTEMPTS), attempts)
        elif attempts < most:
            given = trial.system_attrs.get("fixed_params")
            fixed = (given if isinstance(given, dict) else {}) | trial.params
            again = create_trial(
                state=TrialState.WAITING,
                user_attrs={**trial.user_attrs, ATTEMPTS: attempts},
                system_attrs={"fixed_params": fixed, AGAIN: trial.number},
            )
            storage.create_new_trial(study_id, again)
        storage.set_trial_user_attr(trial._trial_id, ATTEMPTS, attempts)
        storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)


def _whole(value: Any, default: int) -> int:
    """The value where it is a whole number: others can write attributes, too."""
    return value if type(value) is int else default


def dashboard_app(study: Any) -> WSGIApplication:
    """optuna-dashboard of a study in memory; raises `MissingExtraError`."""
    try:
        from optuna_dashboard import wsgi
    except ImportError as error:
        raise MissingExtraError(
            "optuna-dashboard is not installed: pip install 'colab-drive-tuner[dashboard]'."
        ) from error
    app: WSGIApplication = wsgi(study._storage)
    return app
