"""Executors that lose workers, trials or answers, and one that resembles MPI's."""

import threading
from collections.abc import Callable, Collection
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from colab_drive_tuner.search.executors.worker import Task


class Restartable(Executor):
    """An executor that can replace its workers, and does not know how many are alive."""

    restarts = 0

    def restart(self, *, only_broken: bool = False) -> None:
        """Count the calls: the executor stays usable anyway."""
        self.restarts += 1

    def workers(self) -> int | None:
        """Return the number of living workers, if known."""
        return None


class Mute(Restartable):
    """An executor whose first worker never answers."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(2)
        self._first = True

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Lose the first call and run the others."""
        if self._first:
            self._first = False
            lost: Future[Any] = Future()
            lost.set_running_or_notify_cancel()
            return lost
        return self._pool.submit(fn, *args, **kwargs)


class Breaking(Executor):
    """An executor that fails all tasks of a batch if one of the trials `deadly` is in it.

    A batch runs once it has three tasks, or after a pause. The pause is short if a task ran before
    or is one of the `suspects`, which are submitted alone.
    """

    def __init__(
        self,
        *deadly: int,
        error: type[BaseException] = BrokenProcessPool,
        suspects: Collection[int] = (),
    ) -> None:
        self.ran: list[list[int]] = []
        self._deadly, self._error, self._suspects = deadly, error, suspects
        self._waiting: list[tuple[int, Future[Any], Callable[[], Any]]] = []
        self._lock = threading.Lock()
        self._last = threading.Timer(0, lambda: None)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Collect the call for the next batch."""
        future: Future[Any] = Future()
        tid = next(one.attempt.tid for one in args if isinstance(one, Task))
        with self._lock:
            self._waiting.append((tid, future, lambda: fn(*args, **kwargs)))
            self._last.cancel()
            again = tid in self._suspects or any(tid in tids for tids in self.ran)
            pause = 0.0 if len(self._waiting) == 3 else 0.7 if again else 20.0
            self._last = threading.Timer(pause, self._run)
            self._last.start()
        return future

    def _run(self) -> None:
        with self._lock:
            batch, self._waiting = self._waiting, []
        self.ran.append([tid for tid, _, _ in batch])
        for _, future, work in batch:
            if set(self.ran[-1]) & set(self._deadly):
                future.set_exception(self._error("gone"))
            else:
                future.set_result(work())


class WorkerCrashedError(Exception):
    """Ray's error for the death of the worker of one trial."""

    __module__ = "ray.exceptions"


class OwnBreaking(Breaking, Restartable):
    """A breaking executor of three workers that can restart, as `loky_executor` does."""

    num_workers = 3


class Shared(Restartable):
    """Two workers; the death of one breaks the pool, so that everything on it is lost.

    Trials take 0.2 s; `deadly`, a search and a trial, kills its worker after 0.1 s.
    """

    num_workers = 2

    def __init__(self, deadly: tuple[str, int]) -> None:
        self.deaths = 0
        self._deadly, self._running = deadly, set[Future[Any]]()
        self._lock = threading.Lock()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run the call on a thread."""
        future: Future[Any] = Future()
        with self._lock:
            self._running.add(future)
        attempt = next(one.attempt for one in args if isinstance(one, Task))
        dies = (attempt.search, attempt.tid) == self._deadly

        def run() -> None:
            lost, ends = set[Future[Any]](), False
            with self._lock:
                if dies:
                    self.deaths += 1
                    lost, self._running = self._running, set()
                elif future in self._running:
                    self._running.discard(future)
                    ends = True
            for one in lost:
                one.set_exception(BrokenProcessPool("gone"))
            if ends:
                future.set_result(fn(*args, **kwargs))

        threading.Timer(0.1 if dies else 0.2, run).start()
        return future


class FullPool(ThreadPoolExecutor):
    """A pool that cannot start threads."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Fail as if the process had reached its limit of threads."""
        raise RuntimeError("can't start new thread")


class BreaksBetweenTrials(Executor):
    """A pool that breaks after some trials; with `late`, none of them has ended by then."""

    def __init__(self, runs: int, *, late: bool) -> None:
        self._runs, self._late, self._hanging = runs, late, list[Future[Any]]()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run it at once, or with `late` never."""
        future: Future[Any] = Future()
        if not self._runs:
            for lost in self._hanging:
                threading.Timer(0.05, lost.set_exception, (BrokenProcessPool("gone"),)).start()
            self._hanging = []
            raise BrokenProcessPool("gone")
        self._runs -= 1
        if self._late:
            self._hanging.append(future)
        else:
            future.set_result(fn(*args, **kwargs))
        return future


class FirstDies(Executor):
    """A pool that breaks with its first call; the other calls return their results later."""

    _calls = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run it, unless it is the first one."""
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        self._calls += 1
        if self._calls == 1:
            threading.Timer(0.3, future.set_exception, (BrokenProcessPool("gone"),)).start()
        else:
            threading.Timer(1.0, lambda: future.set_result(fn(*args, **kwargs))).start()
        return future


class OfMPI(Executor):
    """Three threads whose class has the module of MPI's executor."""

    num_workers = 3

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(self.num_workers)

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """See `Executor.submit`."""
        return self._pool.submit(fn, *args, **kwargs)


OfMPI.__module__ = "mpi4py.futures.pool"
