"""Rules that end a run before all its trials are there: time, loss threshold, early stopping.

A run that the threshold or the early-stop function ends has ended the search: its record says why,
and the same call returns at once. A call with another rule, or for more trials, goes on.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

from colab_drive_tuner.checkpoint.codec.codec import encode
from colab_drive_tuner.checkpoint.recorded_settings import EARLY_STOP, STOPPED
from colab_drive_tuner.errors import NotPlainDataError
from colab_drive_tuner.search.loop.search_spec import SearchSpec
from colab_drive_tuner.search.spec.settings import stored_early_stop
from colab_drive_tuner.search.trials.counts import TrialCounts


class StoppingRules:
    """The rules of one run, applied.

    `settings` are those of the search when the run began, with the state of its early-stop
    function; `notify` is called with what the user must know.
    """

    def __init__(
        self, spec: SearchSpec, settings: Mapping[str, Any], notify: Callable[[str], None]
    ) -> None:
        self._rules, self._notify = spec, notify
        self._ends = None if spec.timeout is None else time.monotonic() + spec.timeout
        self._deadline, self._longest = spec.deadline, 0.0
        self._went_on = settings.get(STOPPED) is not None
        self._by, _ = spec.early_stop_text  # by what it is: what it holds it may have changed
        state = stored_early_stop(settings)
        known = state if state and state["by"] == self._by else None
        self._arguments: Any = known["arguments"] if known else []
        self._judged: int | None = known["ended"] if known else None
        """How many trials had ended when the early-stop function was last asked."""
        self._recordable = True

    @property
    def asks(self) -> bool:
        """Whether an early-stop function looks at the trials after each round."""
        return self._rules.early_stop_fn is not None

    # -- time

    @property
    def timed_out(self) -> bool:
        """Whether the timeout is over, or no further trial would end before the deadline."""
        over = self._ends is not None and time.monotonic() >= self._ends
        return over or self.deadline_near

    @property
    def deadline_near(self) -> bool:
        """Whether a trial as long as the longest so far would end after the deadline."""
        return self._deadline is not None and time.monotonic() + self._longest >= self._deadline

    def trial_took(self, seconds: float, *, resumable: bool) -> None:
        """Leave as much time before the deadline as a trial took that cannot be resumed.

        One that is backed up stops itself at an epoch's end.
        """
        if not resumable:
            self._longest = max(self._longest, seconds)

    # -- the end of the search

    def judge(self, trials: Any, counts: TrialCounts) -> tuple[str, dict[str, Any]]:
        """After a round: why the search ends ("": it goes on), and the settings that say so."""
        why, settings = self._reached(counts), {}
        if self._rules.early_stop_fn is not None:
            stop, self._arguments = self._rules.early_stop_fn(trials, *self._arguments)
            if stop:
                why = f"early_stop_fn {self._rules.early_stop_name}"
            settings = self._state(counts)
        return why, settings | (self._rules.setting(why) if why else {})

    def judge_interrupted_round(
        self, trials: Any, counts: TrialCounts
    ) -> tuple[str, dict[str, Any]]:
        """Before the first round: judge the trials that ended when the session before could not."""
        if self._judged is None and not self._reached(counts):
            # So that a session which ends before its first judgement is seen to have left it out.
            return "", self._state(counts) if self._rules.early_stop_fn is not None else {}
        lost = self._judged is not None and self._judged < counts.ended
        if self._went_on or not (lost or self._reached(counts)):
            return "", {}
        if lost:
            return self.judge(trials, counts)
        why = self._reached(counts)
        return why, self._rules.setting(why)

    def _reached(self, counts: TrialCounts) -> str:
        best, threshold = counts.best, self._rules.loss_threshold
        if threshold is None or best is None or best >= threshold:
            return ""
        return f"loss {best:.6g} < {threshold:.6g}"

    def _state(self, counts: TrialCounts) -> dict[str, Any]:
        """The early-stop function's state as a setting; nothing where it is no plain data."""
        try:
            arguments = encode(self._arguments, where="the state of early_stop_fn")
        except NotPlainDataError as error:
            if self._recordable:
                self._notify(f"{error} When the search is resumed, early_stop_fn begins afresh.")
            self._recordable = False
            return {}
        return {EARLY_STOP: {"by": self._by, "arguments": arguments, "ended": counts.ended}}
