"""Rules that end a run before all its trials are there: time, loss threshold, early stopping."""

import time
from collections.abc import Callable
from typing import Any


class StopRules:
    """hyperopt's rules for one run, and the deadline of the runtime.

    Args:
        timeout: Seconds after which no further trial is asked for; None: no limit.
        deadline: `time.monotonic()` before which every trial must have ended; None: no limit.
        loss_threshold: The run ends once the best loss is below it; None: never.
        early_stop_fn: Called after each round with the trials and what it returned last, as
            `hyperopt.fmin` does; the run ends once it says so.
    """

    def __init__(
        self,
        *,
        timeout: float | None = None,
        deadline: float | None = None,
        loss_threshold: float | None = None,
        early_stop_fn: Callable[..., Any] | None = None,
    ) -> None:
        self._ends = None if timeout is None else time.monotonic() + timeout
        self._deadline, self._longest = deadline, 0.0
        self._threshold, self._early_stop = loss_threshold, early_stop_fn
        self._early_stop_args: Any = []

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

    def loss_reached(self, best: float | None) -> bool:
        """Whether the best loss is below the threshold."""
        return self._threshold is not None and best is not None and best < self._threshold

    def early_stop(self, trials: Any) -> bool:
        """Ask the early-stop function, which is to be asked once a round."""
        if self._early_stop is None:
            return False
        stop, self._early_stop_args = self._early_stop(trials, *self._early_stop_args)
        return bool(stop)
