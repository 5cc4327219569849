"""Common interface of executors: submission, width, number of workers, preparation, restart."""

import os
import sys
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Future
from contextlib import suppress
from functools import cached_property
from typing import Any

from colab_drive_tuner.errors import UsageError
from colab_drive_tuner.search.executors.loky import LokyExecutor
from colab_drive_tuner.search.executors.trial_locations import DatagramReceiver, LocationReceiver

_START_SECONDS = 120.0
"""Time for the first process of a pool to start."""


class Engine:
    """Any `concurrent.futures.Executor`; with `own`, one of this package."""

    death_breaks_pool = True
    """Whether the death of one worker ends all running trials, as in a process pool."""

    def __init__(self, executor: Any, *, own: bool = False) -> None:
        self.executor = executor
        self.restartable = own
        """Whether it can replace its workers after they have died."""
        self.submit: Callable[..., Future[Any]] = executor.submit
        self.name = type(executor).__name__
        """Name of the executor in messages."""

    @cached_property
    def in_process(self) -> bool:
        """Whether its workers are threads of this process, so that nothing needs pickling."""
        return any(kind.__name__ == "ThreadPoolExecutor" for kind in type(self.executor).__mro__)

    @cached_property
    def dies_with_worker(self) -> bool:
        """Whether this process dies with a worker: threads, and MPI under mpiexec."""
        packages = {kind.__module__.partition(".")[0] for kind in type(self.executor).__mro__}
        return self.in_process or "mpi4py" in packages

    @cached_property
    def local(self) -> bool:
        """Whether it is a pool on this machine, whose futures show whether they are running."""
        is_pool = hasattr(self.executor, "_processes") or isinstance(self.executor, LokyExecutor)
        return self.in_process or is_pool

    def width(self) -> int | None:
        """Return the number of trials that can run at once; None if the executor does not say."""
        if self.restartable:
            own_width: int | None = self.executor.width()
            return own_width
        for name in ("num_workers", "_max_workers"):
            count = getattr(self.executor, name, None)
            if isinstance(count, int) and count > 0:
                return count
        return None

    @property
    def closed(self) -> bool:
        """Whether the executor is known to be closed."""
        return False

    def workers(self) -> int | None:
        """Return the current number of workers; None if unknown."""
        count: int | None = self.executor.workers() if self.restartable else None
        return count

    def prepare(self, *, keras: bool) -> None:
        """Prepare the executor before the search is claimed; start the workers of a new pool.

        Args:
            keras: Whether trials will use Keras.

        Raises:
            UsageError: It forks, and TensorFlow would hang in its workers; or its workers do not
                start.
        """
        context = getattr(self.executor, "_mp_context", None)
        method = context.get_start_method(allow_none=False) if context is not None else ""
        if method == "fork" and (keras or "tensorflow" in sys.modules):
            raise UsageError(
                "executor= forks this process, in which TensorFlow is loaded: its trials would "
                "hang. Write ProcessPoolExecutor(n, mp_context=multiprocessing.get_context("
                "'spawn')), or executor=cdt.loky_executor(n)."
            )
        workers = getattr(self.executor, "_threads" if self.in_process else "_processes", None)
        if workers is None or workers:  # another kind of executor, or a pool in use
            return
        # The first call makes all forks: before this process starts threads, whose locks a fork
        # would copy in a locked state. It also shows, before a trial can be blamed, whether workers
        # start at all.
        try:
            with suppress(TimeoutError):
                self.submit(os.getpid).result(timeout=_START_SECONDS)
        except BrokenExecutor as error:
            raise UsageError(
                f"The workers of executor={self.name} do not start ({error}): see what they print. "
                "Its initializer may raise; or its processes import this script, which must make "
                "the executor under `if __name__ == '__main__':`."
            ) from error

    def locations(self) -> LocationReceiver:
        """Return the receiver of the locations that workers report."""
        if self.in_process:
            return LocationReceiver()
        return DatagramReceiver(anywhere=not self.local)

    def restart(self) -> None:
        """Kill all workers; the next call gets new ones. Requires `restartable`."""
        self.executor.restart()
