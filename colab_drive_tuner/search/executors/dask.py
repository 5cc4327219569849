"""A Dask cluster as an engine: its own retries off, and its workers counted."""

from typing import Any

from colab_drive_tuner.errors import ExecutorWarning, UsageError
from colab_drive_tuner.search.executors.engine import Engine
from colab_drive_tuner.search.executors.trial_locations import DaskLocations, Locations
from colab_drive_tuner.user_warnings import warn_user


def client_of(executor: Any) -> Any:
    """The `distributed.Client` that this is, or to which an executor of Dask's belongs, or None."""
    client = getattr(executor, "_client", executor)
    kinds = {(kind.__module__.partition(".")[0], kind.__name__) for kind in type(client).__mro__}
    return client if ("distributed", "Client") in kinds else None


class DaskEngine(Engine):
    """A `distributed.Client`, or what its `get_executor()` has made."""

    breaks_whole = False

    def __init__(self, executor: Any, client: Any) -> None:
        if client.status != "running":
            raise UsageError(
                f"executor= is a distributed.Client that is {client.status}: connect a new one."
            )
        if client.asynchronous:
            raise UsageError("executor= is an asynchronous distributed.Client: pass another one.")
        # The driver counts attempts, and each one runs: results are not shared between equal calls.
        options = getattr(executor, "_kwargs", {}) | {"retries": 0, "pure": False}
        super().__init__(client.get_executor(**options))
        self._client = client

    @property
    def name(self) -> str:
        """See `Engine.name`."""
        return "distributed.Client"

    def width(self) -> int | None:
        """The threads of all workers."""
        threads: int = sum(self._client.ncores().values())
        if not threads:
            raise UsageError(
                "executor= is a Dask cluster without workers: start some, or pass width=."
            )
        return threads

    @property
    def closed(self) -> bool:
        """See `Engine.closed`."""
        return bool(self._client.status == "closed")

    def workers(self) -> int | None:
        """How many workers the scheduler has, as this client last heard."""
        # A scheduler that is gone would be waited for.
        return len(dict(self._client.ncores())) if self._client.status == "running" else 0

    def locations(self) -> Locations:
        """See `Engine.locations`."""
        return DaskLocations(self._client)

    def prepare(self, *, keras: bool) -> None:  # noqa: ARG002 - Dask's workers are no forks
        """Warn where the scheduler would run a deadly trial again and again, by itself."""
        allowed = self._client.run_on_scheduler(_allowed_failures)
        if allowed:
            warn_user(
                f"This Dask scheduler runs a trial whose worker died up to {allowed} times more by "
                "itself, unseen. Before the cluster is made: dask.config.set({"
                '"distributed.scheduler.allowed-failures": 0}), or in its environment '
                "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES=0.",
                ExecutorWarning,
            )


def _allowed_failures(dask_scheduler: Any) -> int:
    return int(dask_scheduler.allowed_failures)
