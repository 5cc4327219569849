"""Progress while a search runs: one line, or hyperopt's own kind of progress callback.

cnn: 12 of 50 trials | 10 recovered | best loss 0.0312 | 11 acknowledged, 1 on its way | 8 min left
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TextIO

from colab_drive_tuner.search.tally import Tally
from colab_drive_tuner.search.trials import StoredTrials

_TERMINAL_SECONDS, _LOG_SECONDS = 0.25, 30.0
"""How often the line is drawn anew where it can be overdrawn, and elsewhere."""
_LAST_SECONDS = 2.0
"""How long the last line waits for the store, to show everything acknowledged."""


class ProgressLine:
    """One line that says how far a search is, drawn anew now and then.

    Args:
        trials: The search.
        tally: Counts over its documents.
        total: How many trials there shall be.
        out: Where the line is written; None: standard output.
        clock: Seconds, as `time.monotonic` gives them.
    """

    def __init__(
        self,
        trials: StoredTrials,
        tally: Tally,
        total: int,
        *,
        out: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._trials, self._tally, self._total, self._clock = trials, tally, total, clock
        self._recovered = tally.ended
        self._out = out or sys.stdout
        self._redraws = self._out.isatty() or type(self._out).__module__.startswith("ipykernel")
        self._pause = _TERMINAL_SECONDS if self._redraws else _LOG_SECONDS
        self._begun = self._drawn = clock()
        self._width = 0
        self._stopped = ""

    def update(self, stopped: str) -> None:
        """Draw the line, unless that was done a moment ago; `stopped`: why the search ends here."""
        self._stopped = stopped
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
        ended, best = self._tally.ended, self._tally.best
        total = "" if self._total >= sys.maxsize else f" of {self._total}"
        parts = [f"{self._trials.name}: {ended}{total} trials"]
        if self._recovered:
            parts.append(f"{self._recovered} recovered")
        if best is not None:
            parts.append(f"best loss {float(best):.6g}")
        parts.append(self._acknowledged(ended))
        if self._stopped:
            parts.append(f"stopped: {self._stopped}")
        elif (left := self._time_left(ended)) is not None:
            parts.append(f"{_duration(left)} left")
        return " | ".join(parts)

    def _acknowledged(self, ended: int) -> str:
        log = self._trials.log
        acknowledged = min(log.history.done, ended)
        pending = ended - acknowledged
        waiting = f", {pending} on {'its' if pending == 1 else 'their'} way" if pending else ""
        if log.journal.counts().offline_since is not None:
            waiting = f", {pending} wait for the store, which does not answer"
        return f"{acknowledged} acknowledged{waiting}"

    def _time_left(self, ended: int) -> float | None:
        ran = ended - self._recovered
        if ran <= 0 or self._total >= sys.maxsize or self._total <= ended:
            return None
        return (self._clock() - self._begun) / ran * (self._total - ended)


def display(
    trials: StoredTrials, tally: Tally, total: int, show: Any
) -> AbstractContextManager[Callable[[str], None]]:
    """The display that `show` asks for: what it enters to is called after each round of trials.

    Args:
        trials: The search.
        tally: Counts over its documents.
        total: How many trials there shall be.
        show: False: nothing; True: `ProgressLine`; else a progress callback as hyperopt has them.
    """
    if not show:
        return nullcontext(_nothing)
    return _line(trials, tally, total) if show is True else _hyperopt_callback(show, tally, total)


def _nothing(_stopped: str) -> None:
    """Show nothing."""


@contextmanager
def _line(trials: StoredTrials, tally: Tally, total: int) -> Iterator[Callable[[str], None]]:
    line = ProgressLine(trials, tally, total)
    line.draw()
    try:
        yield line.update
        trials.log.journal.flush(_LAST_SECONDS)
    finally:
        line.draw(last=True)


@contextmanager
def _hyperopt_callback(
    callback: Callable[..., AbstractContextManager[Any]], tally: Tally, total: int
) -> Iterator[Callable[[str], None]]:
    shown = tally.finished
    with callback(initial=shown, total=total) as bar:

        def update(_stopped: str) -> None:
            nonlocal shown
            if tally.best is not None:
                bar.postfix = "best loss: " + str(tally.best)
            if tally.finished > shown:
                bar.update(tally.finished - shown)
            shown = tally.finished

        yield update


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02d} min"
