"""Progress while a search runs: HTML in a notebook, a bar in a terminal, lines in a log.

cnn: 12 of 50 trials | 10 recovered | best loss 0.0312 in trial 7 | 11 acknowledged, 1 on its way |
40 s a trial | 8 min left
"""

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol, TextIO

from colab_drive_tuner.search.executors.trial_locations import host_of
from colab_drive_tuner.search.html import ORANGE, bar, escaped
from colab_drive_tuner.search.trial_documents import RUNNING
from colab_drive_tuner.search.trials.counts import Tally
from colab_drive_tuner.search.trials.stored import StoredTrials
from colab_drive_tuner.text import visible

_SECONDS, _LOG_SECONDS = 0.25, 30.0
"""How often it is drawn anew where it can be overdrawn, and in a log."""
_LAST_SECONDS = 2.0
"""How long the last drawing waits for the store, to show everything acknowledged."""
_BAR, _LEAST_BAR = 20, 5
_HOSTS = 3
"""How many hosts of workers are named."""
_Part = tuple[int, str, str]
"""Something to say: its rank where not everything fits, in whole words, and in few."""


@dataclass(frozen=True)
class Shown:
    """How far a search is, in words and as a share."""

    name: str
    parts: tuple[str, ...]
    share: float | None
    """How much is done; None: nobody knows of how much."""
    problem: bool
    """Whether the store does not answer, or trials wait for it."""
    brief: tuple[str, ...] = ()
    """The parts in fewer letters, what matters most first: for where they do not fit."""

    def __str__(self) -> str:
        return f"{visible(self.name)}: {' | '.join(self.parts)}"


class Output(Protocol):
    """Where progress is shown."""

    pause: float
    """Seconds between two drawings."""

    def draw(self, shown: Shown, *, last: bool) -> None:
        """Show this instead of what was shown before."""


class Log:
    """A line each time, for files, pipes and CI."""

    pause = _LOG_SECONDS

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def draw(self, shown: Shown, *, last: bool) -> None:
        """Write a line."""
        del last
        self._out.write(f"{shown}\n")
        self._out.flush()


class Terminal:
    """One line with a bar, as wide as the terminal, which overdraws itself."""

    pause = _SECONDS

    def __init__(self, out: TextIO) -> None:
        from rich.console import Console

        self._console = Console(file=out, highlight=False, emoji=False)

    def draw(self, shown: Shown, *, last: bool) -> None:
        """Overdraw the line; the last one stays whole, however long it is."""
        from rich.cells import cell_len
        from rich.text import Text

        width = max(self._console.width - 1, 10)  # the last column would wrap
        line, words = Text().append(visible(shown.name), "bold"), " | ".join(shown.parts)
        if not last and line.cell_len + 1 + cell_len(words) > width:
            line.truncate(max(width // 4, 8), overflow="ellipsis")
            words = " | ".join(shown.brief or shown.parts)
        bar = min(width - line.cell_len - cell_len(words) - 2, _BAR)
        if shown.share is not None and bar >= _LEAST_BAR:
            done = round(shown.share * bar)
            line.append(" ").append("━" * done, "green").append("━" * (bar - done), "dim")
        line.append(" ").append(words, "yellow" if shown.problem else "")
        if not last:
            line.truncate(width, overflow="ellipsis", pad=True)
        self._console.file.write("\r\x1b[K" if self._console.is_terminal else "\r")
        self._console.print(line, end="\n" if last else "", soft_wrap=True)
        self._console.file.flush()


class Notebook:
    """HTML in the cell's output, renewed in place; the same as plain text for who shows no HTML."""

    pause = _SECONDS

    def __init__(self) -> None:
        from IPython.display import display as show

        self._handle: Any = show(  # type: ignore[no-untyped-call]  # IPython is untyped
            {"text/plain": ""}, raw=True, display_id=True
        )

    def draw(self, shown: Shown, *, last: bool) -> None:
        """Renew the output."""
        del last
        html = progress_html(shown)
        self._handle.update({"text/html": html, "text/plain": str(shown)}, raw=True)


def progress_html(shown: Shown) -> str:
    """Progress as HTML: a bar, and the words below it."""
    parts = " · ".join(map(escaped, shown.parts))
    colour = f";color:{ORANGE}" if shown.problem else ""
    filled = "" if shown.share is None else bar(shown.share)
    return (
        "<div style='max-width:740px;font-family:system-ui,sans-serif;overflow-wrap:break-word'>"
        f"<b>{escaped(shown.name)}</b>{filled}<div style='opacity:.85{colour}'>{parts}</div></div>"
    )


def output_for(out: TextIO) -> Output:
    """How progress is shown here: by what standard output is."""
    if type(out).__module__.startswith(("ipykernel", "google.colab")):
        return Notebook()
    return Terminal(out) if out.isatty() else Log(out)


class Progress:
    """How far a search is, drawn anew now and then.

    Args:
        trials: The search.
        tally: Counts over its documents.
        total: How many trials there shall be.
        deadline: `clock()` at which the run ends; None: it may go on.
        output: Where it is shown; None: by what standard output is.
        clock: Seconds, as `time.monotonic` gives them.
    """

    def __init__(
        self,
        trials: StoredTrials,
        tally: Tally,
        total: int,
        *,
        deadline: float | None = None,
        output: Output | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._trials, self._tally, self._total = trials, tally, total
        self._deadline, self._clock = deadline, clock
        self._recovered = tally.ended
        self._output = output or output_for(sys.stdout)
        self._begun = self._drawn = clock()
        self._stopped = ""

    def update(self, stopped: str) -> None:
        """Draw, unless that was done a moment ago; `stopped`: why the search ends here."""
        self._stopped = stopped
        if self._clock() - self._drawn >= self._output.pause:
            self.draw()

    def draw(self, *, last: bool = False) -> None:
        """Show how far the search is now."""
        self._drawn = self._clock()
        self._output.draw(self.shown(last=last), last=last)

    def shown(self, *, last: bool = False) -> Shown:
        """How far the search is now; at the last there is no time left to speak of."""
        ended, endless = self._tally.ended, self._total >= sys.maxsize
        offline = self._trials.log.journal.counts().offline_since is not None
        parts = list(self._parts(ended, endless, offline))
        if self._stopped:
            stopped = f"stopped: {self._stopped}"
            parts.append((1, stopped, stopped))
        elif not last:
            parts += self._times(ended, endless)
        share = None if endless else min(ended / max(self._total, 1), 1.0)
        whole, brief = (part[1] for part in parts), (part[2] for part in sorted(parts))
        return Shown(self._trials.name, tuple(whole), share, offline, tuple(brief))

    def _parts(self, ended: int, endless: bool, offline: bool) -> Iterator[_Part]:
        """Counts, the best loss, and what the store has."""
        if endless:
            yield 0, f"{ended} trials", f"{ended} trials"
        else:
            yield 0, f"{ended} of {self._total} trials", f"{ended}/{self._total}"
        if running := [doc["owner"] for doc in self._tally.open if doc["state"] == RUNNING]:
            for at_once in _at_once(running):
                yield 6, at_once, f"{len(running)} running"
        for count, how in ((self._tally.pruned, "pruned"), (self._tally.failed, "failed")):
            if count:
                yield 7, f"{count} {how}", f"{count} {how}"
        if self._recovered:
            yield 8, f"{self._recovered} recovered", f"{self._recovered} recovered"
        if (best := self._tally.best) is not None:
            loss, tid = f"{float(best):.6g}", self._tally.best_tid
            yield 3, f"best loss {loss} in trial {tid}", f"best {loss} in {tid}"
        acknowledged = min(self._trials.log.history.done, ended)
        pending = ended - acknowledged
        whole = f", {pending} on {'its' if pending == 1 else 'their'} way" if pending else ""
        brief = f"{acknowledged} acknowledged"
        if offline:
            whole = f", {pending} wait for the store, which does not answer"
            brief = f"store away, {pending} wait"
        yield 1 if offline else 4, f"{acknowledged} acknowledged{whole}", brief

    def _times(self, ended: int, endless: bool) -> Iterator[_Part]:
        """Time a trial, time left, and time until the deadline."""
        now, ran = self._clock(), ended - self._recovered
        if ran > 0:
            each = (now - self._begun) / ran
            if each >= 1:
                yield 5, f"{_duration(each)} a trial", f"{_duration(each)} each"
            if not endless and self._total > ended:
                left = f"{_duration(each * (self._total - ended))} left"
                yield 2, left, left
        if self._deadline is not None and (endless or self._total > ended):
            until = _duration(max(self._deadline - now, 0))
            yield 2, f"{until} until the deadline", f"{until} to deadline"


def display(
    trials: StoredTrials, tally: Tally, total: int, show: Any, deadline: float | None = None
) -> AbstractContextManager[Callable[[str], None]]:
    """The display that `show` asks for: what it enters to is called after each round of trials.

    Args:
        trials: The search.
        tally: Counts over its documents.
        total: How many trials there shall be.
        show: False: nothing; True: `Progress`; else a progress callback as hyperopt has them.
        deadline: `time.monotonic()` at which the run ends; None: it may go on.
    """
    if not show:
        return nullcontext(_nothing)
    if show is True:
        return _drawn(Progress(trials, tally, total, deadline=deadline), trials)
    return _hyperopt_callback(show, tally, total)


def _nothing(_stopped: str) -> None:
    """Show nothing."""


@contextmanager
def _drawn(progress: Progress, trials: StoredTrials) -> Iterator[Callable[[str], None]]:
    progress.draw()
    try:
        yield progress.update
        trials.log.journal.flush(_LAST_SECONDS)
    finally:
        progress.draw(last=True)


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


def _at_once(owners: Sequence[str | None]) -> Iterator[str]:
    """How many trials run at once and on which hosts, by their documents' owners."""
    hosts = Counter(host for owner in owners if (host := host_of(owner)))
    if not hosts and len(owners) == 1:
        return  # one after another, here
    places = [f"{count} on {host}" for host, count in hosts.most_common(_HOSTS)]
    if len(hosts) > _HOSTS:
        rest = hosts.total() - sum(count for _, count in hosts.most_common(_HOSTS))
        places.append(f"{rest} on {len(hosts) - _HOSTS} more hosts")
    if waiting := len(owners) - hosts.total():
        places.append(f"{waiting} not seen on a worker yet")
    yield f"{len(owners)} running ({', '.join(places)})"


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02d} min"
