"""Dask clusters as engines: Dask's own retries are disabled and its workers counted."""

from typing import Any

from colab_drive_tuner.errors import ExecutorWarning, UsageError
from colab_drive_tuner.search.executors.engine import Engine
from colab_drive_tuner.search.executors.trial_locations import DaskReceiver, LocationReceiver
from colab_drive_tuner.user_warnings import warn_user


def client_of(executor: Any) -> Any:
    """Return the `distributed.Client` given or behind a Dask executor; None for anything else."""
    client = getattr(executor, "_client", executor)
    kinds = {(kind.__module__.partition(".")[0], kind.__name__) for kind in type(client).__mro__}
    return client if ("distributed", "Client") in kinds else None


class DaskEngine(Engine):
    """A `distributed.Client`, or an executor from its `get_executor()`."""

    death_breaks_pool = False

    def __init__(self, executor: Any, client: Any) -> None:
        if client.status != "running":
            raise UsageError(
                f"executor= is a distributed.Client that is {client.status}: connect a new one."
            )
        if client.asynchronous:
            raise UsageError("executor= is an asynchronous distributed.Client: pass another one.")
        # The driver counts attempts. `pure=False`: equal calls must not share a result.
        options = getattr(executor, "_kwargs", {}) | {"retries": 0, "pure": False}
        super().__init__(client.get_executor(**options))
        self._client = client
        self.name = "distributed.Client"

    def width(self) -> int | None:
        """Return the number of threads of all workers."""
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
        """Return the scheduler's number of workers, as last reported to this client."""
        # Asking a scheduler that is gone would block.
        return len(dict(self._client.ncores())) if self._client.status == "running" else 0

    def locations(self) -> LocationReceiver:
        """See `Engine.locations`."""
        return DaskReceiver(self._client)

    def prepare(self, *, keras: bool) -> None:  # noqa: ARG002 - Dask's workers are not forks
        """Warn if the scheduler would itself rerun a trial that kills workers."""
        allowed = self._client.run_on_scheduler(_allowed_failures)
        if allowed:
            warn_user(
                "This Dask scheduler silently reruns a trial whose worker died, up to "
                f"{allowed} times. Before creating the cluster, call dask.config.set({{"
                '"distributed.scheduler.allowed-failures": 0}), or set in its environment '
                "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES=0.",
                ExecutorWarning,
            )


def _allowed_failures(dask_scheduler: Any) -> int:
    return int(dask_scheduler.allowed_failures)
