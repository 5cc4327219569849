"""Retry policy: how long, and after which pauses, a call that failed is made again.

Every call of ours may be repeated: reads and updates by their nature, creations because they carry
a reserved id. So nothing here has to know what a call does.
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import tenacity

from colab_drive_tuner.errors import UnavailableError

T = TypeVar("T")

REFUSED_PATIENCE = 5.0
"""Seconds after which an address where nobody listens is given up: it rarely comes back sooner."""


@dataclass(eq=False)
class TryAgainError(Exception):
    """One attempt failed, and the next may not; never leaves `drive/`."""

    reason: str
    after: float = 0.0
    """What the server asked for in Retry-After, in seconds."""
    patience: float = float("inf")
    """Shortens the policy's own."""
    hint: str = ""
    """A sentence for the user, should it never succeed."""


@dataclass(frozen=True)
class RetryPolicy:
    """Truncated exponential backoff with jitter, for at most `patience` seconds in all."""

    patience: float = 60.0
    longest_pause: float = 16.0
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    """Replaced in tests, which pass a clock that `sleep` moves."""
    uniform: Callable[[float, float], float] = random.Random().uniform  # noqa: S311  # no secret
    """Of its own: a repetition must not change what training draws from the global `random`."""

    def run(self, attempt: Callable[[], T], what: str) -> T:
        """Return what `attempt` returns, once it no longer raises `TryAgainError`.

        Raises `UnavailableError` as soon as the next pause would end after the deadline; `what`
        completes its sentence "Google Drive did not answer ...".
        """
        start = self.clock()

        def enough(state: tenacity.RetryCallState) -> bool:
            patience = min(self.patience, _failure(state).patience)
            return self.clock() + state.upcoming_sleep - start >= patience

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(TryAgainError),
            wait=self._pause,
            stop=enough,
            sleep=self.sleep,
            reraise=True,
        )
        try:
            return retrying(attempt)
        except TryAgainError as failure:
            waited = self.clock() - start
            # Without a cause: the text of the network's own error may hold an upload's secret link.
            raise UnavailableError(
                f"Google Drive did not answer {what} ({failure.reason}; tried for {waited:.0f} s). "
                + (failure.hint or "Try again when the connection is back.")
            ) from None

    def _pause(self, state: tenacity.RetryCallState) -> float:
        # The first repeat comes at once: most often a pooled connection had been closed meanwhile.
        if state.attempt_number == 1:
            backoff = self.uniform(0.0, 0.2)
        else:
            backoff = min(0.5 * 2.0 ** (state.attempt_number - 1), self.longest_pause)
            backoff *= self.uniform(0.5, 1.0)
        return max(backoff, _failure(state).after)


def _failure(state: tenacity.RetryCallState) -> TryAgainError:
    assert state.outcome is not None  # noqa: S101  # tenacity asks only after an attempt
    failure = state.outcome.exception()
    assert isinstance(failure, TryAgainError)  # noqa: S101  # nothing else is tried again
    return failure
