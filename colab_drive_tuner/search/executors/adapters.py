"""Executors behind one interface, and the checks of `executor`, `width` and `trial_timeout`."""

import os
import sys
import threading
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from colab_drive_tuner.errors import ExecutorWarning, UsageError
from colab_drive_tuner.search.executors.loky import LokyExecutor
from colab_drive_tuner.search.executors.ray import RayExecutor
from colab_drive_tuner.search.executors.trial_locations import (
    DaskReceiver,
    DatagramReceiver,
    LocationReceiver,
)
from colab_drive_tuner.search.spec.arguments import real_number, whole_number
from colab_drive_tuner.text import text_of
from colab_drive_tuner.training.trial import running_trial
from colab_drive_tuner.warn_user import warn_user

_START_SECONDS = 120.0
"""Time for the first process of a pool to start."""


class ExecutorAdapter:
    """Any `concurrent.futures.Executor`."""

    death_breaks_pool = True
    """Whether the death of one worker ends all running trials, as in a process pool."""

    def __init__(self, executor: Any) -> None:
        self._executor = executor
        self.shared: Any = executor
        """The object that several searches may share."""
        self.restartable = isinstance(executor, LokyExecutor | RayExecutor)
        """Whether it can replace its workers after they have died."""
        self.name = type(executor).__name__
        """Name of the executor in messages."""

    def submit(self, *call: Any) -> Future[Any]:
        """Submit a function and its arguments."""
        future: Future[Any] = self._executor.submit(*call)
        return future

    @cached_property
    def in_process(self) -> bool:
        """Whether its workers are threads of this process, so that nothing needs pickling."""
        return any(kind.__name__ == "ThreadPoolExecutor" for kind in type(self._executor).__mro__)

    @property
    def runs_this_trial(self) -> bool:
        """Whether this is called in a trial on one of its threads."""
        # By name: with `trial_timeout` a trial has a thread of its own, with that of the worker.
        pool, _, _ = threading.current_thread().name.rpartition("_")
        same = self.in_process and pool == getattr(self._executor, "_thread_name_prefix", None)
        return same and running_trial() is not None

    @cached_property
    def dies_with_worker(self) -> bool:
        """Whether this process dies with a worker: threads, and MPI under mpiexec."""
        packages = {kind.__module__.partition(".")[0] for kind in type(self._executor).__mro__}
        return self.in_process or "mpi4py" in packages

    @cached_property
    def local(self) -> bool:
        """Whether it is a pool on this machine, whose futures show whether they are running."""
        is_pool = hasattr(self._executor, "_processes") or isinstance(self._executor, LokyExecutor)
        return self.in_process or is_pool

    def width(self) -> int | None:
        """Return the number of trials that can run at once; None if the executor does not say."""
        for name in ("num_workers", "_max_workers"):
            count = getattr(self._executor, name, None)
            if isinstance(count, int) and count > 0:
                return count
        return None

    @property
    def closed(self) -> bool:
        """Whether the executor is known to be closed."""
        return False

    def workers(self) -> int | None:
        """Return the current number of workers; None if unknown."""
        # The death of a process breaks its pool, which is noticed anyway.
        return self._executor.workers() if isinstance(self._executor, RayExecutor) else None

    def prepare(self) -> None:
        """Prepare the executor before the search is claimed; start the workers of a new pool.

        Raises `UsageError` if it forks this process, in which a framework is loaded whose threads
        a fork does not have; or if its workers do not start.
        """
        context = getattr(self._executor, "_mp_context", None)
        method = context.get_start_method(allow_none=False) if context is not None else ""
        threaded = [name for name in ("tensorflow", "torch", "jax") if sys.modules.get(name)]
        if method == "fork" and threaded:
            raise UsageError(
                f"executor= forks this process, in which {threaded[0]} is loaded: its trials can "
                "hang. Write ProcessPoolExecutor(n, mp_context=multiprocessing.get_context("
                "'spawn')), or executor=cdt.loky_executor(n)."
            )
        workers = getattr(self._executor, "_threads" if self.in_process else "_processes", None)
        if workers is None or workers:  # another kind of executor, or a pool in use
            return
        # The first call makes all forks: before this process starts threads, whose locks a fork
        # would copy in a locked state. It also shows, before a trial can be blamed, whether workers
        # start at all.
        try:
            with suppress(TimeoutError):
                self.submit(os.getpid).result(timeout=_START_SECONDS)
        except Exception as error:
            raise UsageError(
                f"The workers of executor={self.name} do not start ({text_of(error)}): see what "
                "they print. Its initializer may raise; or its processes import this script, which "
                "must make the executor under `if __name__ == '__main__':`."
            ) from error

    def locations(self) -> LocationReceiver:
        """Return the receiver of the locations that workers report."""
        if self.in_process:
            return LocationReceiver()
        return DatagramReceiver(anywhere=not self.local)

    def restart(self, *, only_broken: bool) -> None:
        """Kill all workers; the next call gets new ones. Requires `restartable`."""
        self._executor.restart(only_broken=only_broken)


class DaskAdapter(ExecutorAdapter):
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
        self._options = getattr(executor, "_kwargs", {}) | {"retries": 0, "pure": False}
        super().__init__(client)
        self._client = client
        self.name = "distributed.Client"

    def submit(self, *call: Any) -> Future[Any]:
        """Submit a call whose future always ends; Dask's own executor drops one it cannot fetch."""
        task, answer = self._client.submit(*call, **self._options), Future[Any]()

        async def deliver() -> None:
            result, error = None, None
            try:
                result = await task
            except BaseException as raised:  # noqa: BLE001 - a cancelled task is no `Exception`
                error = raised
            if not answer.set_running_or_notify_cancel():
                return
            if error is None:
                answer.set_result(result)
            else:
                answer.set_exception(error)

        def cancel(ended: Future[Any]) -> None:
            if ended.cancelled() and not self.closed:
                task.cancel()

        answer.add_done_callback(cancel)
        self._client.loop.add_callback(deliver)
        return answer

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
        """See `ExecutorAdapter.closed`."""
        return bool(self._client.status == "closed")

    def workers(self) -> int | None:
        """Return the scheduler's number of workers, as last reported to this client."""
        # Asking a scheduler that is gone would block.
        return len(dict(self._client.ncores())) if self._client.status == "running" else 0

    def locations(self) -> LocationReceiver:
        """See `ExecutorAdapter.locations`."""
        return DaskReceiver(self._client)

    def prepare(self) -> None:
        """Warn if the scheduler would itself rerun a trial that kills workers."""
        allowed = self._client.run_on_scheduler(
            lambda dask_scheduler: dask_scheduler.allowed_failures
        )
        if allowed:
            warn_user(
                "This Dask scheduler silently reruns a trial whose worker died, up to "
                f"{allowed} times. Before creating the cluster, call dask.config.set({{"
                '"distributed.scheduler.allowed-failures": 0}), or set in its environment '
                "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES=0.",
                ExecutorWarning,
            )


@dataclass(frozen=True)
class Workers:
    """The checked arguments `executor`, `width` and `trial_timeout`."""

    executor: ExecutorAdapter
    width: int
    trial_timeout: float | None = None


def check_workers(executor: Any, width: Any, trial_timeout: Any) -> Workers | None:
    """Check the arguments; return None if trials run in this process, one after another."""
    if executor is None:
        for name, value in (("width", width), ("trial_timeout", trial_timeout)):
            if value is not None:
                raise UsageError(
                    f"{name}= goes with executor=, such as executor=ThreadPoolExecutor(4)."
                )
        return None
    timeout = real_number("trial_timeout", trial_timeout)
    if timeout is not None and not 0 < timeout <= threading.TIMEOUT_MAX:
        raise UsageError(f"trial_timeout must be a number of seconds > 0, got {trial_timeout!r}.")
    if width is not None:
        width = whole_number("width", width, least=1)
    adapter = _adapter_for(executor)
    if adapter.runs_this_trial:
        raise UsageError(
            f"executor={adapter.name} runs the trial that makes this call, which would wait for "
            "its own worker: pass another executor, or none."
        )
    if width is None:
        width = adapter.width()
        if width is None:
            raise UsageError(
                f"executor={adapter.name} does not say how many trials it can run at once: pass "
                "width=."
            )
    elif adapter.local:  # a pool runs no more trials at once than it has workers
        width = min(width, adapter.width() or width)
    return Workers(adapter, width, timeout)


def _adapter_for(executor: Any) -> ExecutorAdapter:
    if isinstance(executor, type):
        raise UsageError(
            f"executor={executor.__name__} is a class: pass an instance, such as "
            f"{executor.__name__}(4)."
        )
    if (client := _dask_client(executor)) is not None:
        return DaskAdapter(executor, client)
    if not callable(getattr(executor, "submit", None)):
        raise UsageError(
            f"executor must be a concurrent.futures.Executor or a distributed.Client, got "
            f"{executor!r:.80}, which has no submit(): pass ThreadPoolExecutor(4), "
            "cdt.loky_executor(4), or the like."
        )
    flags = getattr(executor, "_flags", None)  # loky's
    # A pool that breaks shuts down, too.
    if broken := getattr(executor, "_broken", False) or getattr(flags, "broken", None):
        raise UsageError(
            f"executor={type(executor).__name__} is broken ({text_of(broken).rstrip('.')}): make a "
            "new one."
        )
    if (
        getattr(executor, "_shutdown", False)
        or getattr(executor, "_shutdown_thread", False)
        or getattr(flags, "shutdown", False)
    ):
        raise UsageError(f"executor={type(executor).__name__} was shut down: make a new one.")
    return ExecutorAdapter(executor)


def _dask_client(executor: Any) -> Any:
    """Return the `distributed.Client` given or behind a Dask executor; None for anything else."""
    client = getattr(executor, "_client", executor)
    kinds = {(kind.__module__.partition(".")[0], kind.__name__) for kind in type(client).__mro__}
    return client if ("distributed", "Client") in kinds else None
