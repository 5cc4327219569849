"""`loky_executor`: worker processes on this machine, by joblib's loky; replaced when they die."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future
from concurrent.futures import wait as wait_for
from typing import Any

from colab_drive_tuner.errors import optional_import
from colab_drive_tuner.machine import exit_with
from colab_drive_tuner.search.spec.arguments import whole_number

_KILL_SECONDS = 10.0
"""Time for workers to exit after they were killed."""


class LokyExecutor(Executor):
    """Worker processes on this machine; created by `loky_executor`."""

    def __init__(self, max_workers: int) -> None:
        self._max_workers = max_workers
        self._lock = threading.Lock()
        self._pool: Any = None
        self._pending: set[Future[Any]] = set()
        self._shutdown = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """See `concurrent.futures.Executor.submit`."""
        with self._lock:
            if self._shutdown:
                raise RuntimeError("cannot schedule new futures after shutdown")
            if self._pool is None:
                self._pool = _pool(self._max_workers)
            try:
                future: Future[Any] = self._pool.submit(fn, *args, **kwargs)
            except BrokenExecutor:  # an idle worker has died
                if self._pending:
                    raise  # their futures raise it too: the dispatcher decides
                _kill(self._pool)
                self._pool = _pool(self._max_workers)
                future = self._pool.submit(fn, *args, **kwargs)
            self._pending.add(future)
        future.add_done_callback(self._pending.discard)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Stop the workers; with `wait=False` or `cancel_futures`, kill what they run."""
        self._shutdown = True
        if wait and not cancel_futures:
            wait_for(list(self._pending))
        self.restart()

    def restart(self, *, only_broken: bool = False) -> None:
        """Kill the workers, with `only_broken` if one has died; the next call gets new ones."""
        with self._lock:
            if only_broken and not (self._pool and self._pool._flags.broken):
                return
            pool, self._pool = self._pool, None
            self._pending.clear()  # futures of killed workers may never be done
        if pool is not None:
            _kill(pool)

    def __repr__(self) -> str:
        return f"loky_executor({self._max_workers})"


def loky_executor(n: int) -> LokyExecutor:
    """Return an Executor of `n` processes on this machine, for `resume_search(..., executor=)`.

    The processes are not forks, so TensorFlow may be loaded already; they accept lambdas and
    functions defined in notebooks, and are replaced when one of them dies.

    Args:
        n: Number of processes, and of trials that run at once.

    Raises:
        UsageError: `n` is not an integer >= 1.
        MissingExtraError: joblib is not installed.

    Example:
        >>> from hyperopt import hp
        >>> with loky_executor(2) as workers:
        ...     result = resume_search(lambda x: (x - 3) ** 2, space=hp.uniform("x", -10, 10),
        ...                            name="loky", max_evals=8, store="searches",
        ...                            executor=workers)
    """
    n = whole_number("n", n, least=1)
    _loky()
    return LokyExecutor(n)


def _kill(pool: Any) -> None:
    """Shut a pool down in any state.

    Waiting for workers that were asked to exit can hang if another one has left because its memory
    grew. So all are killed, and the wait is bounded.
    """
    processes = list((pool._processes or {}).values())
    options = {"wait": True, "kill_workers": True}
    shutdown = threading.Thread(target=pool.shutdown, kwargs=options, daemon=True)
    shutdown.start()
    shutdown.join(_KILL_SECONDS)
    if shutdown.is_alive():
        for process in processes:
            if process.is_alive():
                process.kill()
        shutdown.join(_KILL_SECONDS)


def _loky() -> Any:
    with optional_import("loky_executor() needs joblib: pip install 'colab-drive-tuner[loky]'."):
        from joblib.externals import loky
    return loky


def _pool(count: int) -> Any:
    # Not joblib's shared pool, which its other users may resize or shut down.
    return _loky().ProcessPoolExecutor(
        max_workers=count, initializer=_initialize_worker, initargs=(os.getpid(),)
    )


def _initialize_worker(driver: int) -> None:
    """Keep a worker alive until its driver dies, and let it start processes.

    In a terminal, Ctrl-C goes to the workers too. The driver decides what becomes of their trials.

    loky's workers exit once psutil reports 300 MB more than at their start, as happens when Keras
    is imported, and the trials that they leave to others are sometimes never run. Without psutil
    they do not exit.

    In a worker, multiprocessing's default start method is loky's. multiprocessing's own pools
    cannot use it: their processes exit at once and are restarted forever. The start method of the
    platform works.
    """
    from joblib.externals.loky import process_executor

    process_executor._USE_PSUTIL = False
    multiprocessing.set_start_method(None, force=True)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    exit_with(driver)
