"""`loky_executor`: worker processes on this machine by joblib's loky, made anew after a death."""

import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future, wait
from typing import Any

from colab_drive_tuner.errors import MissingExtraError
from colab_drive_tuner.search.spec.arguments import whole_number

_KILL_SECONDS = 10.0
"""How long workers may take to end after they were killed."""

_LOOK_SECONDS = 1.0
"""How often a worker looks whether its driver is alive."""


class LokyExecutor(Executor):
    """Processes of this machine; `loky_executor` makes one."""

    def __init__(self, max_workers: int) -> None:
        self._count = max_workers
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
                self._pool = _pool(self._count)
            try:
                future: Future[Any] = self._pool.submit(fn, *args, **kwargs)
            except BrokenExecutor:  # a worker has died that had nothing to do
                if self._pending:
                    raise  # these are told of it, too: whoever has them decides
                _kill(self._pool)
                self._pool = _pool(self._count)
                future = self._pool.submit(fn, *args, **kwargs)
            self._pending.add(future)
        future.add_done_callback(self._pending.discard)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the workers; where they are not waited for, what runs in them is killed."""
        self._shutdown = True
        if wait and not cancel_futures:
            _wait_for(list(self._pending))
        self.renew()

    def renew(self) -> None:
        """Kill the workers; the next call gets new ones."""
        with self._lock:
            pool, self._pool = self._pool, None
            self._pending.clear()  # those that were killed may never be told
        if pool is not None:
            _kill(pool)

    def width(self) -> int:
        """How many processes there are."""
        return self._count

    def workers(self) -> None:
        """How many are alive is not asked: a death breaks the pool, which is noticed."""

    def __repr__(self) -> str:
        return f"loky_executor({self._count})"


def loky_executor(n: int) -> LokyExecutor:
    """An Executor of `n` processes on this machine, for `resume_search(..., executor=)`.

    They start afresh (no forks, so TensorFlow may be loaded), take lambdas and functions of
    notebooks, and are replaced when one of them dies.

    Args:
        n: How many processes; as many trials run at once.

    Raises:
        UsageError: `n` is no integer of 1 or more.
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


_wait_for = wait  # `shutdown` has an argument of that name


def _kill(pool: Any) -> None:
    """End a pool whatever state it is in.

    A worker that is told to end, and not killed, is at times waited for in vain: where another one
    has left by itself, since its memory had grown. So all are killed, and waited for a while only.
    """
    processes = list((pool._processes or {}).values())
    ends = {"wait": True, "kill_workers": True}
    ending = threading.Thread(target=pool.shutdown, kwargs=ends, daemon=True)
    ending.start()
    ending.join(_KILL_SECONDS)
    if ending.is_alive():
        for process in processes:
            if process.is_alive():
                process.kill()
        ending.join(_KILL_SECONDS)


def _loky() -> Any:
    try:
        from joblib.externals import loky
    except ImportError as error:
        raise MissingExtraError(
            "loky_executor() needs joblib: pip install 'colab-drive-tuner[loky]'."
        ) from error
    return loky


def _pool(count: int) -> Any:
    # Not the pool that joblib shares between all its users, which may be resized or ended by them.
    return _loky().ProcessPoolExecutor(
        max_workers=count, initializer=_begin, initargs=(os.getpid(),)
    )


def _begin(driver: int) -> None:
    """In a worker: be a process like others, that stays and may start processes.

    loky's workers leave where psutil tells them that they take 300 MB more than at first, as they
    do when Keras is imported, and the trials that they leave to the others are at times never run.
    Without psutil they stay.

    multiprocessing's default there is loky's way to start a process, which its own pools and
    processes cannot use: they end at once and are started for ever. The platform's can be used.
    """
    from joblib.externals.loky import process_executor

    process_executor._USE_PSUTIL = False
    multiprocessing.set_start_method(None, force=True)
    threading.Thread(target=_end_with, args=(driver,), daemon=True).start()


def _end_with(driver: int, *, by_handle: bool = os.name == "nt") -> None:
    """End this process once the driver has died: it would hold memory, and a GPU's, for ever.

    A child of a dead process gets another parent, but not on Windows: there its way to start
    processes gives each a handle of its parent, which can be waited for.
    """
    parent = multiprocessing.parent_process()
    if by_handle and parent is not None:
        parent.join()
    else:
        while os.getppid() == driver:
            time.sleep(_LOOK_SECONDS)
    os._exit(1)
