"""One line of progress while a search runs, in place of hyperopt's bar.

mnist-cnn: 12 of 50 trials | 10 recovered | best loss 0.0312 | 24 entries acknowledged | 8 min left
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from colab_drive_tuner.search.trials import DriveTrials

_TERMINAL_SECONDS, _LOG_SECONDS = 0.25, 30.0
"""How often the line is drawn anew where it can be overdrawn, and elsewhere."""
_LAST_SECONDS = 2.0
"""How long the last line waits for the store, to show everything acknowledged."""


class ProgressLine:
    """What FMinIter tells how many trials ended; writes the line to `out` now and then."""

    postfix = ""
    """FMinIter writes "best loss: 0.25" here."""

    def __init__(
        self,
        trials: "DriveTrials",
        initial: int,
        total: int,
        *,
        out: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._trials, self._initial, self._total = trials, initial, total
        self._done, self._clock = initial, clock
        self._out = out or sys.stdout
        self._redraws = self._out.isatty() or "ipykernel" in sys.modules
        self._pause = _TERMINAL_SECONDS if self._redraws else _LOG_SECONDS
        self._begun = self._drawn = clock()
        self._width = 0

    def update(self, n: int) -> None:
        """`n` more trials are done."""
        self._done += n
        if self._clock() - self._drawn >= self._pause:
            self.draw()

    def draw(self, *, last: bool = False) -> None:
        """Write the line."""
        self._drawn = self._clock()
        line = str(self)
        if self._redraws:
            self._out.write(f"\r{line.ljust(self._width)}" + ("\n" if last else ""))
            self._width = len(line)
        else:
            self._out.write(f"{line}\n")
        self._out.flush()

    def __str__(self) -> str:
        total = "" if self._total >= sys.maxsize else f" of {self._total}"
        parts = [f"{self._trials.name}: {self._done}{total} trials"]
        if self._initial:
            parts.append(f"{self._initial} recovered")
        if self.postfix:
            parts.append(f"best loss {float(self.postfix.rpartition(' ')[2]):.6g}")
        parts.append(self._recorded())
        if (left := self._time_left()) is not None:
            parts.append(f"{_duration(left)} left")
        return " | ".join(parts)

    def _recorded(self) -> str:
        counts = self._trials.log.journal.counts()
        if counts.offline_since is not None:
            return f"{counts.pending} entries wait for the store, which does not answer"
        waiting = f", {counts.pending} on their way" if counts.pending else ""
        return f"{counts.acknowledged} entries acknowledged{waiting}"

    def _time_left(self) -> float | None:
        ran = self._done - self._initial
        if ran <= 0 or self._total >= sys.maxsize or self._total <= self._done:
            return None
        return (self._clock() - self._begun) / ran * (self._total - self._done)


def progress_line(
    trials: "DriveTrials", **options: Any
) -> Callable[[int, int], AbstractContextManager[ProgressLine]]:
    """A progress callback for FMinIter."""

    @contextmanager
    def show(initial: int, total: int) -> Iterator[ProgressLine]:
        line = ProgressLine(trials, initial, total, **options)
        line.draw()
        try:
            yield line
            trials.log.journal.flush(_LAST_SECONDS)
        finally:
            line.draw(last=True)

    return show


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02d} min"
