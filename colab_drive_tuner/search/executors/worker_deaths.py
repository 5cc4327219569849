"""Deaths of workers: classification of a lost future's exception, and blame of trials.

Executors are recognised by the names of their exception classes, so none has to be imported.
"""

from collections import Counter
from collections.abc import Callable, Iterable, MutableMapping
from concurrent.futures.thread import BrokenThreadPool
from enum import StrEnum

from colab_drive_tuner.checkpoint.record_items import Tid

Names = dict[str, frozenset[str]]
"""Class names by the package that defines them."""


class Death(StrEnum):
    """Reason why a future has no outcome of its trial."""

    ONE_TRIAL = "its worker died"
    """The worker that died was running this trial and no other."""
    SEVERAL_TRIALS = "workers died"
    """A pool broke, or a worker of several trials died: any of them may be the cause."""
    CANCELLED = "it was cancelled"
    """Cancelled from outside, such as by a cluster's restart: no trial is to blame."""


_POOL: Names = {"concurrent": frozenset({"BrokenExecutor"})}
_WORKER: Names = {
    "distributed": frozenset({"KilledWorker"}),
    "ray": frozenset({"WorkerCrashedError", "RayActorError", "NodeDiedError", "OutOfMemoryError"}),
}
_CANCELLED: Names = {
    "asyncio": frozenset({"CancelledError"}),
    "concurrent": frozenset({"CancelledError"}),
    # `CommClosedError`: the scheduler went away while a result was fetched.
    "distributed": frozenset({"FutureCancelledError", "FuturesCancelledError", "CommClosedError"}),
    "joblib": frozenset({"ShutdownExecutorError"}),  # of its loky, by another search
    "ray": frozenset({"TaskCancelledError"}),
}


def classify_death(error: BaseException) -> Death | None:
    """Classify a future's exception; None if it is an executor's error and not a death."""
    if _is_one_of(error, _CANCELLED):
        return Death.CANCELLED
    if isinstance(error, BrokenThreadPool):
        return None  # threads do not die: their initializer has raised
    if _is_one_of(error, _POOL):
        return Death.SEVERAL_TRIALS
    if _is_one_of(error, _WORKER):
        # A Dask worker with several threads runs several trials.
        threads = getattr(getattr(error, "last_worker", None), "nthreads", 1)
        return Death.ONE_TRIAL if threads == 1 else Death.SEVERAL_TRIALS
    return None


def _is_one_of(error: BaseException, names: Names) -> bool:
    return any(
        kind.__name__ in names.get(kind.__module__.partition(".")[0], ())
        for kind in type(error).__mro__
    )


class LostTrials:
    """Trials that this session has lost to deaths and cancellations.

    `suspects` run alone because one of them may have killed workers; `record` is called with them
    whenever they change.
    """

    def __init__(self, suspects: Iterable[int], record: Callable[[list[int]], None]) -> None:
        self._suspects: set[Tid] = set(suspects)
        self._record = record
        self._deaths: Counter[Tid] = Counter()
        self._unrecorded: set[Tid] = set()
        self._cancelled: Counter[Tid] = Counter()

    def runs_alone(self, tid: Tid) -> bool:
        """Return whether no other trial may run on the executor at the same time as this one."""
        return tid in self._suspects

    def suspect(self, tid: Tid) -> None:
        """Run the trial alone from now on: it, or one that ran with it, killed workers."""
        if tid not in self._suspects:
            self._suspects.add(tid)
            self._record_suspects()

    def blame(self, tid: Tid, inherited: MutableMapping[Tid, int], *, further: bool) -> int:
        """Count a worker that died of the trial; return the number of workers and runtimes so far.

        `inherited` counts the runtimes that died in each trial before this session. `further`:
        whether the trial's backups got further than before; then earlier deaths no longer count.
        """
        if further:
            self._deaths[tid], inherited[tid] = 0, 0
        self._deaths[tid] += 1
        self._unrecorded.add(tid)
        return self._deaths[tid] + inherited.get(tid, 0)

    def take_new_deaths(self, tid: Tid) -> int:
        """Return the number of deaths to record with the trial's next start; 0 if none is new."""
        if tid not in self._unrecorded:
            return 0
        self._unrecorded.discard(tid)
        return self._deaths[tid]

    def cancel(self, tid: Tid) -> int:
        """Count a cancellation from outside; return their number so far."""
        self._cancelled[tid] += 1
        return self._cancelled[tid]

    def end(self, tid: Tid) -> None:
        """Clear the suspicion of a trial that has ended."""
        self._unrecorded.discard(tid)
        if tid in self._suspects:
            self._suspects.discard(tid)
            self._record_suspects()

    def _record_suspects(self) -> None:
        self._record(sorted(tid for tid in self._suspects if isinstance(tid, int)))
