"""Deaths of workers: what the exception of a lost future says, and which trial is to blame.

Engines are recognised by the names of their exceptions' classes, so that none has to be imported.
"""

from collections import Counter
from collections.abc import Callable, Iterable, MutableMapping
from enum import StrEnum
from typing import Any

Tid = Any
Names = dict[str, frozenset[str]]
"""Names of classes by the package that defines them."""


class Death(StrEnum):
    """Why a future has no outcome of its trial."""

    ALONE = "its worker died"
    """The worker died that ran this trial and no other."""
    AMONG = "workers died"
    """A pool broke, or a worker of several trials died: any of them may be the cause."""
    CANCELLED = "it was cancelled"
    """From outside, such as by a cluster's restart: nobody is to blame."""


_POOL: Names = {"concurrent": frozenset({"BrokenExecutor"})}
_WORKER: Names = {
    "distributed": frozenset({"KilledWorker"}),
    "ray": frozenset({"WorkerCrashedError", "RayActorError", "NodeDiedError", "OutOfMemoryError"}),
}
_CANCELLED: Names = {
    "asyncio": frozenset({"CancelledError"}),
    "concurrent": frozenset({"CancelledError"}),
    "distributed": frozenset({"FutureCancelledError", "FuturesCancelledError"}),
    "ray": frozenset({"TaskCancelledError"}),
}


def death_of(error: BaseException) -> Death | None:
    """What the exception of a future says; None: no death, but an error of the engine's."""
    if _is_one_of(error, _CANCELLED):
        return Death.CANCELLED
    if _is_one_of(error, _POOL):
        return Death.AMONG
    if _is_one_of(error, _WORKER):
        # A Dask worker with several threads runs as many trials.
        threads = getattr(getattr(error, "last_worker", None), "nthreads", 1)
        return Death.ALONE if threads == 1 else Death.AMONG
    return None


def _is_one_of(error: BaseException, names: Names) -> bool:
    return any(
        kind.__name__ in names.get(kind.__module__.partition(".")[0], ())
        for kind in type(error).__mro__
    )


class Losses:
    """What a session knows of the trials that it has lost.

    Args:
        suspects: The trials that run alone, since one of them may have killed workers.
        record: Called with these whenever they change.
    """

    def __init__(self, suspects: Iterable[int], record: Callable[[list[int]], None]) -> None:
        self._alone: set[Tid] = set(suspects)
        self._record = record
        self._deaths: Counter[Tid] = Counter()
        self._unrecorded: set[Tid] = set()
        self._cancelled: Counter[Tid] = Counter()
        self._far: dict[Tid, int] = {}

    def runs_alone(self, tid: Tid) -> bool:
        """Whether nothing may run beside the trial."""
        return tid in self._alone

    def any_alone(self, tids: Iterable[Tid]) -> bool:
        """Whether nothing may run beside one of the trials."""
        return bool(self._alone) and not self._alone.isdisjoint(tids)

    def suspect(self, tid: Tid) -> None:
        """It may have killed workers, or another one has."""
        if tid not in self._alone:
            self._alone.add(tid)
            self._record_suspects()

    def blame(self, tid: Tid, inherited: MutableMapping[Tid, int], far: int) -> int:
        """One more worker has died of it; return of how many workers and runtimes it makes.

        Args:
            tid: The trial.
            inherited: In how many runtimes trials had died before this session.
            far: How far its backups are: a death after which it is further was not in vain.
        """
        if far > self._far.get(tid, 0):
            self._deaths[tid], inherited[tid] = 0, 0
        self._far[tid] = far
        self._deaths[tid] += 1
        self._unrecorded.add(tid)
        return self._deaths[tid] + inherited.get(tid, 0)

    def to_record(self, tid: Tid) -> int:
        """How many of its deaths its next start has to record; 0: there is nothing new to say."""
        if tid not in self._unrecorded:
            return 0
        self._unrecorded.discard(tid)
        return self._deaths[tid]

    def cancel(self, tid: Tid) -> int:
        """It was cancelled from outside; return how often by now."""
        self._cancelled[tid] += 1
        return self._cancelled[tid]

    def end(self, tid: Tid) -> None:
        """It has ended: nobody need run alone for its sake."""
        self._unrecorded.discard(tid)
        if tid in self._alone:
            self._alone.discard(tid)
            self._record_suspects()

    def _record_suspects(self) -> None:
        self._record(sorted(tid for tid in self._alone if isinstance(tid, int)))
