"""One line of progress while a search runs, in place of hyperopt's bar.

cnn: 12 of 50 trials | 10 recovered | best loss 0.0312 | 11 acknowledged, 1 on its way | 8 min left
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
    """What FMinIter tells that trials ended; counts them, and writes the line now and then."""

    postfix = ""
    """FMinIter writes "best loss: 0.25" here."""

    def __init__(
        self,
        trials: "DriveTrials",
        total: int,
        *,
        out: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._trials, self._total, self._clock = trials, total, clock
        self._initial = self._done()
        best = trials.log.history.best_loss
        if best is not None:
            self.postfix = f"best loss: {best}"
        self._out = out or sys.stdout
        self._redraws = self._out.isatty() or type(self._out).__module__.startswith("ipykernel")
        self._pause = _TERMINAL_SECONDS if self._redraws else _LOG_SECONDS
        self._begun = self._drawn = clock()
        self._width = 0

    def update(self, _n: int) -> None:
        """More trials are done."""
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
        done = self._done()
        total = "" if self._total >= sys.maxsize else f" of {self._total}"
        parts = [f"{self._trials.name}: {done}{total} trials"]
        if self._initial:
            parts.append(f"{self._initial} recovered")
        if self.postfix:
            parts.append(f"best loss {float(self.postfix.rpartition(' ')[2]):.6g}")
        parts.append(self._recorded(done))
        if (left := self._time_left(done)) is not None:
            parts.append(f"{_duration(left)} left")
        return " | ".join(parts)

    def _done(self) -> int:
        """How many trials have ended; errors that were caught, which FMinIter leaves out, too."""
        return self._trials.log.done(self._trials._dynamic_trials)

    def _recorded(self, done: int) -> str:
        log = self._trials.log
        acknowledged = min(log.history.done, done)
        pending = done - acknowledged
        waiting = f", {pending} on {'its' if pending == 1 else 'their'} way" if pending else ""
        if log.journal.counts().offline_since is not None:
            waiting = f", {pending} wait for the store, which does not answer"
        return f"{acknowledged} acknowledged{waiting}"

    def _time_left(self, done: int) -> float | None:
        ran = done - self._initial
        if ran <= 0 or self._total >= sys.maxsize or self._total <= done:
            return None
        return (self._clock() - self._begun) / ran * (self._total - done)


def progress_line(
    trials: "DriveTrials", **options: Any
) -> Callable[[int, int], AbstractContextManager[ProgressLine]]:
    """A progress callback for FMinIter."""

    @contextmanager
    def show(initial: int, total: int) -> Iterator[ProgressLine]:  # noqa: ARG001 (hyperopt's names)
        line = ProgressLine(trials, total, **options)
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
