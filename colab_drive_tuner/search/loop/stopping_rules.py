"""Stopping rules: timeout, deadline, loss threshold and early-stop function of one run.

The loss threshold and the early-stop function end the search as well: the reason is recorded, and
the same call returns at once. A call with another rule, or for more trials, continues the search.
"""

import time
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from colab_drive_tuner.checkpoint.codec.codec import encode
from colab_drive_tuner.checkpoint.recorded_settings import EARLY_STOP, STOPPED
from colab_drive_tuner.errors import NotPlainDataError, UsageError
from colab_drive_tuner.search.loop.run_request import RunRequest
from colab_drive_tuner.search.spec.settings import stored_early_stop
from colab_drive_tuner.search.trials.counts import TrialCounts


class StoppingRules:
    """Applies the stopping rules of one run.

    `settings` are those of the search at the start of the run, which include the state of its
    early-stop function.
    """

    def __init__(
        self, request: RunRequest, settings: Mapping[str, Any], notify: Callable[[str], None]
    ) -> None:
        self._request, self._notify_once = request, cache(notify)
        self._timeout_at = None if request.timeout is None else time.monotonic() + request.timeout
        self._deadline = request.deadline
        self._longest = 0.0
        """Run time, in seconds, of the longest trial that cannot be resumed."""
        self._was_stopped = settings.get(STOPPED) is not None
        # The early-stop function, without its state, which calls may have changed.
        self._rule, _ = request.early_stop_text
        state = stored_early_stop(settings)
        known = state if state and state["by"] == self._rule else None
        self._arguments: Any = known["arguments"] if known else []
        """Further arguments for its next call, as the last one returned them."""
        self._judged: int | None = known["ended"] if known else None
        """Number of trials that had ended when the early-stop function was last called."""

    # -- time

    @property
    def timed_out(self) -> bool:
        """Whether the timeout has passed, or another trial would end after the deadline."""
        over = self._timeout_at is not None and time.monotonic() >= self._timeout_at
        return over or self.deadline_near

    @property
    def deadline_near(self) -> bool:
        """Whether a trial as long as the longest so far would end after the deadline."""
        return self._deadline is not None and time.monotonic() + self._longest >= self._deadline

    def trial_took(self, seconds: float, *, resumable: bool) -> None:
        """Reserve the run time of a trial that cannot be resumed before the deadline.

        A trial with backups is not counted, since it stops by itself at the end of an epoch.
        """
        if not resumable:
            self._longest = max(self._longest, seconds)

    # -- the end of the search

    def judge(self, trials: Any, counts: TrialCounts) -> tuple[str, dict[str, Any]]:
        """Judge after a round; return why the search ends, or "", and the settings to record."""
        why, settings = self._threshold_reached(counts), {}
        if self._request.early_stop_fn is not None:
            if self._early_stop(trials):
                why = f"early_stop_fn {self._request.early_stop_name}"
            settings = self._early_stop_setting(counts)
        return why, settings | (self._request.stopped_setting(why) if why else {})

    def judge_interrupted_round(
        self, trials: Any, counts: TrialCounts
    ) -> tuple[str, dict[str, Any]]:
        """Judge, before the first round, trials that an earlier session ended without judging."""
        reached = self._threshold_reached(counts)
        if self._judged is None and not reached:
            if self._request.early_stop_fn is None:
                return "", {}
            # Shows a later session that this one ended before its first judgement, if it does.
            return "", self._early_stop_setting(counts)
        unjudged = self._judged is not None and self._judged < counts.ended
        if self._was_stopped or not (unjudged or reached):
            return "", {}
        if unjudged:
            return self.judge(trials, counts)
        return reached, self._request.stopped_setting(reached)

    def _threshold_reached(self, counts: TrialCounts) -> str:
        """Return why the search ends if a loss is below the threshold; else ""."""
        best, threshold = counts.best, self._request.loss_threshold
        if threshold is None or best is None or best >= threshold:
            return ""
        return f"loss {best:.6g} < {threshold:.6g}"

    def _early_stop(self, trials: Any) -> bool:
        """Call the early-stop function; a trial without the loss that it reads is not judged."""
        assert self._request.early_stop_fn is not None  # noqa: S101 - for the type checker
        name = self._request.early_stop_name
        try:
            returned = self._request.early_stop_fn(trials, *self._arguments)
        except (KeyError, IndexError) as error:
            if error.args != ("loss",) and len(trials.trials):  # empty if all raised
                raise
            # Such as hyperopt's own, which end the run of plain fmin.
            self._notify_once(f"early_stop_fn {name} is not applied after trials without a loss.")
            return False
        try:
            stop, self._arguments = returned
        except (TypeError, ValueError):
            raise UsageError(
                f"early_stop_fn {name} returned {returned!r:.80}: return whether to stop, and a "
                "list of its further arguments at the next call, such as `return False, []`."
            ) from None
        return bool(stop)

    def _early_stop_setting(self, counts: TrialCounts) -> dict[str, Any]:
        """Return the early-stop function's state as a setting; empty if it is not plain data."""
        try:
            arguments = encode(self._arguments, where="the state of early_stop_fn")
        except NotPlainDataError as error:
            self._notify_once(
                f"{error} When the search is resumed, early_stop_fn starts from scratch."
            )
            return {}
        return {EARLY_STOP: {"by": self._rule, "arguments": arguments, "ended": counts.ended}}
