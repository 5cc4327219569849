"""An Executor as the loop uses it: how wide it is, how to submit, which workers are there."""

import os
import sys
from collections.abc import Callable
from concurrent.futures import Future
from functools import cached_property
from typing import Any

from colab_drive_tuner.errors import UsageError
from colab_drive_tuner.search.executors.loky import LokyExecutor
from colab_drive_tuner.search.executors.trial_locations import DatagramLocations, Locations

_START_SECONDS = 120.0
"""How long the first process of a pool may take to start."""


class Engine:
    """Any `concurrent.futures.Executor`; `own`: one of this package."""

    breaks_whole = True
    """Whether the death of one worker ends all that runs, as in a process pool."""

    def __init__(self, executor: Any, *, own: bool = False) -> None:
        self.executor = executor
        self.renewable = own
        """Whether it makes itself anew once its workers have died."""
        self.submit: Callable[..., Future[Any]] = executor.submit
        """Starts a call on a worker."""

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return type(self.executor).__name__

    @cached_property
    def in_process(self) -> bool:
        """Whether its workers are threads of this process, so that nothing has to travel."""
        return any(kind.__name__ == "ThreadPoolExecutor" for kind in type(self.executor).__mro__)

    @cached_property
    def dies_with_worker(self) -> bool:
        """Whether the death of a worker is that of this process: threads; MPI under mpiexec."""
        packages = {kind.__module__.partition(".")[0] for kind in type(self.executor).__mro__}
        return self.in_process or "mpi4py" in packages

    def width(self) -> int | None:
        """How many trials it can run at once; None where it does not say."""
        width: int | None = self.executor.width() if self.renewable else None
        for name in ("num_workers", "_max_workers"):
            count = getattr(self.executor, name, None)
            if isinstance(count, int) and count > 0:
                return count
        return width

    @property
    def closed(self) -> bool:
        """Whether it is known to run nothing any more."""
        return False

    def workers(self) -> int | None:
        """How many workers are there now; None where that cannot be told."""
        count: int | None = self.executor.workers() if self.renewable else None
        return count

    def prepare(self, *, keras: bool) -> None:
        """Do what must be done before the search is claimed. `keras`: trials will use it."""
        context = getattr(self.executor, "_mp_context", None)
        method = context.get_start_method(allow_none=False) if context is not None else ""
        if method != "fork":
            return
        if keras or "tensorflow" in sys.modules:
            raise UsageError(
                "executor= forks this process, in which TensorFlow is loaded: its trials would "
                "hang. Write ProcessPoolExecutor(n, mp_context=multiprocessing.get_context("
                "'spawn')), or executor=cdt.loky_executor(n)."
            )
        # All forks are made by the first call: before this process has threads that write, and
        # locks that a fork would go on to hold after its death.
        self.submit(os.getpid).result(timeout=_START_SECONDS)

    def locations(self) -> Locations:
        """The driver's end of the way on which workers tell where trials have begun."""
        if self.in_process:
            return Locations()
        # Those of the standard library's pool and of loky are on this machine, as their pipes are.
        local = hasattr(self.executor, "_processes") or isinstance(self.executor, LokyExecutor)
        return DatagramLocations(anywhere=not local)

    def renew(self) -> None:
        """End all workers; the next call gets new ones. Only where it is `renewable`."""
        self.executor.renew()
