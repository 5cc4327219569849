"""Blame for a lost future, read from its exception: whose fault it is, if anybody's.

Engines are recognised by the names of their exceptions' classes, so that none has to be imported.
"""

from enum import StrEnum

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
