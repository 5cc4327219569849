"""Retry policy for calls to Drive: pauses and time limit.

Every call can be repeated: reads and updates are idempotent, and creations carry a reserved id. So
the policy does not depend on the call.
"""

import itertools
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from colab_drive_tuner.errors import UnavailableError, UsageError

T = TypeVar("T")

_LONGEST_PAUSE = 16.0
_uniform = random.Random().uniform  # noqa: S311  # no secret
"""A separate generator: retries must not affect training that uses the global `random`."""
REFUSED_PATIENCE = 5.0
"""Time limit in seconds if the connection is refused, because the server rarely comes back soon."""


@dataclass(eq=False)
class TryAgainError(Exception):
    """An attempt failed and can be repeated; never raised outside of `drive/`."""

    reason: str
    after: float = 0.0
    """Seconds from the server's Retry-After header."""
    patience: float = float("inf")
    """Upper limit for the policy's patience."""
    hint: str = ""
    """A sentence for the user if all attempts fail."""


@dataclass(frozen=True)
class RetryPolicy:
    """Truncated exponential backoff with jitter, for at most `patience` seconds in total."""

    patience: float = 60.0
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    """Tests pass a clock that `sleep` advances."""

    def __post_init__(self) -> None:
        if not (isinstance(self.patience, int | float) and self.patience > 0):
            raise UsageError(f"patience must be a number of seconds above 0, got {self.patience!r}")

    def run(self, attempt: Callable[[], T], what: str) -> T:
        """Call `attempt` until it no longer raises `TryAgainError`, and return its result.

        Raises `UnavailableError` if the next pause would exceed the time limit; `what` completes
        the message "Google Drive did not answer ...".
        """
        start = self.clock()
        for number in itertools.count():
            try:
                return attempt()
            except TryAgainError as error:
                failure = error
            waited, pause = self.clock() - start, max(self._pause(number), failure.after)
            if waited + pause >= min(self.patience, failure.patience):
                break
            self.sleep(pause)
        # Without a cause, whose text may contain an upload's secret URL.
        raise UnavailableError(
            f"Google Drive did not answer {what} ({failure.reason}; tried for {waited:.0f} s). "
            + (failure.hint or "Try again when the connection is back.")
        )

    def _pause(self, number: int) -> float:
        """Return the seconds before another attempt after the one with this number."""
        if number == 0:  # usually a pooled connection had been closed
            return _uniform(0.0, 0.2)
        doublings = min(number, 60)  # a day's attempts exceed any float
        return min(0.5 * 2.0**doublings, _LONGEST_PAUSE) * _uniform(0.5, 1.0)
