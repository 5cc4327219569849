"""Retry through an outage of the store: for as long as the session lives, telling the user."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from colab_drive_tuner.errors import ColabDriveTunerError, UnavailableError

T = TypeVar("T")
_RETRY_SECONDS = (0.5, 1.0, 2.0, 5.0, 10.0)
"""Successive pauses while the store does not answer; the last one repeats."""
_REFUSED_SECONDS = 30.0
"""Pause after a definite refusal, whose cause the user may remove."""


class OutageRetry:
    """Retries calls until `end`, and notifies the user when an outage starts and ends.

    It repeats whole operations of the writer; drive/requests/retry_and_refusal.py retries single
    requests, for a limited time. `kept_in` is the spool folder that holds the pending items.
    """

    def __init__(self, kept_in: Path, notify: Callable[[str], None]) -> None:
        self.trouble: ColabDriveTunerError | None = None
        """The last error while the store does not answer; None while it answers."""
        self.outages: list[tuple[float, float]] = []
        """Start and end of each past outage, by this machine's clock."""
        self._kept_in, self._notify = kept_in, notify
        self._offline_since: float | None = None
        self._notified: set[type[ColabDriveTunerError]] = set()
        """Kinds of errors that the user was told of in this outage."""
        self._ended = threading.Event()

    def until_answered(self, call: Callable[[], T], deadline: float | None = None) -> T | None:
        """Repeat `call` until it succeeds; return None past the deadline or after `end`.

        `deadline` is a `time.monotonic()` value; None means no deadline.
        """
        attempt = 0
        while not self._ended.is_set():
            try:
                answer = call()
            except ColabDriveTunerError as error:
                self.trouble = error
                if self._offline_since is None:
                    self._offline_since = time.monotonic()
                if type(error) not in self._notified:  # a refusal may follow an outage
                    self._notified.add(type(error))
                    self._notify(
                        f"{error} Training continues; pending results are kept in {self._kept_in}."
                    )
                pause = _RETRY_SECONDS[min(attempt, len(_RETRY_SECONDS) - 1)]
                if not isinstance(error, UnavailableError):
                    pause = _REFUSED_SECONDS
                if deadline is not None and time.monotonic() + pause > deadline:
                    return None
                self._ended.wait(pause)
                attempt += 1
            else:
                self.trouble = None
                if self._offline_since is not None:
                    now = time.time()
                    self.outages.append((now - (time.monotonic() - self._offline_since), now))
                    self._offline_since = None
                    self._notified.clear()
                    self._notify("The store answers again; pending results are being recorded.")
                return answer
        return None

    def end(self) -> None:
        """Stop retrying; calls in progress return None."""
        self._ended.set()
