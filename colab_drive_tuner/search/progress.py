"""Progress of a running search, as texts that `progress_outputs` shows.

cnn: 12 of 50 trials | best loss 0.0312 in trial 7 | 8 min left | 40 s a trial | 11 acknowledged, 1
on its way | 10 recovered

What matters most comes first, since a narrow terminal cuts the line.
"""

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from colab_drive_tuner.errors import ColabDriveTunerError, UnavailableError
from colab_drive_tuner.progress_bars import OUTPUT_ERRORS
from colab_drive_tuner.search.executors.trial_locations import host_of
from colab_drive_tuner.search.progress_outputs import ProgressOutput, ProgressState, output_for
from colab_drive_tuner.search.trial_documents import RUNNING
from colab_drive_tuner.search.trials.counts import TrialCounts
from colab_drive_tuner.search.trials.search_status import progress_text
from colab_drive_tuner.search.trials.stored_trials import StoredTrials

_FLUSH_SECONDS = 2.0
"""Time that the last update waits for the store, so that it shows all trials as acknowledged."""
_MAX_HOSTS = 3
"""Number of workers' hosts that are named."""


class Progress:
    """Progress of a search, redrawn at intervals; `deadline`: `clock()` at which the run ends."""

    def __init__(
        self,
        trials: StoredTrials,
        counts: TrialCounts,
        total: int,
        *,
        deadline: float | None = None,
        output: ProgressOutput | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._trials, self._counts, self._total = trials, counts, total
        self._endless = total >= sys.maxsize
        self._deadline, self._clock = deadline, clock
        self._recovered = counts.ended
        self.output = output or output_for(sys.stdout)
        self._begun = self._drawn = clock()
        self._stopped, self._failed = "", False

    def update(self, stopped: str) -> None:
        """Draw, unless the last update is too recent; `stopped`: reason why the search ends now."""
        self._stopped = stopped
        if self._clock() - self._drawn >= self.output.pause:
            self.draw()

    def draw(self, *, last: bool = False) -> None:
        """Draw the current state, unless the output has failed."""
        self._drawn = self._clock()
        if self._failed:
            return
        try:
            self.output.draw(self.state(last=last))
        except OUTPUT_ERRORS:
            self._failed = True

    def state(self, *, last: bool = False) -> ProgressState:
        """Return the current state; the last one has no remaining time and no running trials."""
        ended = self._counts.ended
        trouble = self._trials.log.journal.trouble
        share = None if self._endless else min(ended / max(self._total, 1), 1.0)
        parts = tuple(self._parts(ended, trouble, last=last))
        return ProgressState(self._trials.name, parts, share, trouble is not None, last)

    def _parts(
        self, ended: int, trouble: ColabDriveTunerError | None, *, last: bool
    ) -> Iterator[str]:
        """Yield the texts of the display, the most important ones first."""
        acknowledged = min(self._trials.log.history.done, ended)
        pending = ended - acknowledged
        yield f"{progress_text(ended, self._total)} trials"
        if self._stopped:
            yield f"stopped: {self._stopped}"
        if trouble:
            unanswered = isinstance(trouble, UnavailableError)
            why = "it does not answer" if unanswered else "it refuses them"
            yield f"{acknowledged} acknowledged, {pending} wait for the store: {why}"
        if (best := self._counts.best) is not None:
            yield f"best loss {float(best):.6g} in trial {self._counts.best_tid}"
        if not (last or self._stopped):
            yield from self._times(ended)
        for count, how in ((self._counts.failed, "failed"), (self._counts.pruned, "pruned")):
            if count:
                yield f"{count} {how}"
        if not trouble:
            unsent = f", {pending} on {'its' if pending == 1 else 'their'} way" if pending else ""
            yield f"{acknowledged} acknowledged{unsent}"
        running = [doc["owner"] for doc in self._counts.open if doc["state"] == RUNNING]
        if running and not last and (text := _running_text(running)):
            yield text
        if self._recovered:
            yield f"{self._recovered} recovered"

    def _times(self, ended: int) -> Iterator[str]:
        """Yield the remaining time, the time until the deadline, and the time per trial."""
        now, ran = self._clock(), ended - self._recovered
        each = (now - self._begun) / ran if ran > 0 else 0.0
        if each and not self._endless and self._total > ended:
            yield f"{_duration(each * (self._total - ended))} left"
        if self._deadline is not None and (self._endless or self._total > ended):
            yield f"{_duration(max(self._deadline - now, 0))} until the deadline"
        if each >= 1:
            yield f"{_duration(each)} a trial"


def display(
    trials: StoredTrials, counts: TrialCounts, total: int, show: Any, deadline: float | None = None
) -> AbstractContextManager[Callable[[str], None]]:
    """Return a context manager for a display; its value is called after each round of trials.

    `show` is False: nothing, True (or 1): `Progress`, or a progress callback of hyperopt's kind.
    """
    no_output = sys.stdout is None or getattr(sys.stdout, "closed", False)  # as in a service
    if not show or (no_output and not callable(show)):
        return nullcontext(lambda _stopped: None)
    if callable(show):
        return _hyperopt_callback(show, counts, total)
    return _redrawn(Progress(trials, counts, total, deadline=deadline), trials)


@contextmanager
def _redrawn(progress: Progress, trials: StoredTrials) -> Iterator[Callable[[str], None]]:
    with progress.output.shared():
        progress.draw()
        try:
            yield progress.update
        finally:
            try:
                trials.log.journal.flush(_FLUSH_SECONDS)
            finally:
                progress.draw(last=True)


@contextmanager
def _hyperopt_callback(
    callback: Callable[..., AbstractContextManager[Any]], counts: TrialCounts, total: int
) -> Iterator[Callable[[str], None]]:
    shown = counts.finished
    with callback(initial=shown, total=total) as display_bar:

        def update(_stopped: str) -> None:
            nonlocal shown
            if counts.best is not None:
                display_bar.postfix = "best loss: " + str(counts.best)
            if counts.finished > shown:
                display_bar.update(counts.finished - shown)
            shown = counts.finished

        yield update


def _running_text(owners: Sequence[str | None]) -> str:
    """Return the number of running trials and their hosts; "" for a single one in this process."""
    hosts = Counter(host for owner in owners if (host := host_of(owner)))
    if not hosts and len(owners) == 1:
        return ""
    places = [f"{count} on {host}" for host, count in hosts.most_common(_MAX_HOSTS)]
    if len(hosts) > _MAX_HOSTS:
        rest = hosts.total() - sum(count for _, count in hosts.most_common(_MAX_HOSTS))
        places.append(f"{rest} on {len(hosts) - _MAX_HOSTS} more hosts")
    if waiting := len(owners) - hosts.total():
        places.append(f"{waiting} not seen on a worker yet")
    return f"{len(owners)} running ({', '.join(places)})"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02d} min"
