"""Stopwatch for a search: start and end of its loop, and bookkeeping between trials."""

import contextlib
import functools
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from hyperopt.fmin import FMinIter

from colab_drive_tuner.search.loop import sequential as loop


class Clock:
    """Start and end of the loop, and the time of its bookkeeping between two trials.

    The time of the objective and of the algorithm does not count. The bookkeeping is ours or plain
    hyperopt's. `awake` also leaves out the time that the thread waited for a core.
    """

    def __init__(self, *, awake: bool = False) -> None:
        self.held: list[float] = []
        self.held_awake: list[float] = []
        self.writer_seconds = 0.0
        self._waited = waited_for_core if awake else float
        self._not_ours = 0.0
        self._ended: tuple[float, float] | None = None

    def objective(self, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Wrap the objective; note how long the loop held the thread before each call."""

        @functools.wraps(function)
        def timed(point: Any) -> Any:
            now, waited = time.perf_counter(), self._waited()
            if self._ended is not None:
                held = now - self._ended[0] - self._not_ours
                self.held.append(held)
                self.held_awake.append(held - (waited - self._ended[1]))
            self._not_ours = 0.0
            result = function(point)
            waited = self._waited()
            self._ended = time.perf_counter(), waited
            return result

        return timed

    def algorithm(self, suggest: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap the algorithm, so that its time does not count."""

        @functools.wraps(suggest)
        def timed(*arguments: Any) -> Any:
            began = time.perf_counter()
            suggested = suggest(*arguments)
            self._not_ours += time.perf_counter() - began
            return suggested

        return timed

    @contextlib.contextmanager
    def watching(self) -> Iterator["Clock"]:
        """Time the loop within the block, ours or hyperopt's."""
        self.began = time.perf_counter()
        with contextlib.ExitStack() as restore:
            for owner, name in ((FMinIter, "exhaust"), (loop.Loop, "run")):
                inner = getattr(owner, name)
                restore.callback(setattr, owner, name, inner)
                setattr(owner, name, self._timed_loop(inner))
            yield self
        self.ended = time.perf_counter()

    def _timed_loop(self, run: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any) -> Any:
            self.opened = time.perf_counter()
            try:
                return run(*arguments)
            finally:
                self.looped = time.perf_counter()
                self.writer_seconds = _writer_seconds()

        return timed

    def report(self) -> dict[str, Any]:
        """Return all times; for the bookkeeping, of the first and the last 1,000 trials."""
        answer: dict[str, Any] = {
            "opening": self.opened - self.began,
            "loop": self.looped - self.opened,
            "closing": self.ended - self.looped,
            "writer_share": self.writer_seconds / (self.looped - self.opened),
        }
        for name, part in (("first", slice(1000)), ("last", slice(-1000, None))):
            if held := self.held_awake[part]:
                answer[f"{name}_p50"] = float(np.percentile(held, 50))
                answer[f"{name}_p99"] = float(np.percentile(held, 99))
                answer[f"{name}_end"] = float(np.percentile(held[-len(held) // 5 :], 50))
                answer[f"{name}_with_waits"] = float(np.percentile(self.held[part], 99))
        return answer


def _writer_seconds() -> float:
    """Return the CPU seconds of our background threads so far."""
    return sum(
        time.clock_gettime(time.pthread_getcpuclockid(thread.ident))
        for thread in threading.enumerate()
        if thread.name.startswith("cdt-") and thread.ident
    )


def waited_for_core() -> float:
    """Return the seconds that this thread was ready and had no core; 0 except on Linux."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    except OSError:
        return 0.0
