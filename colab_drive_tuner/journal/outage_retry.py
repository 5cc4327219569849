"""Retries of a call to the store until it is answered; the user hears of outages and their end."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from colab_drive_tuner.errors import ColabDriveTunerError, UnavailableError

T = TypeVar("T")
_RETRY_SECONDS = (0.5, 1.0, 2.0, 5.0, 10.0)
_REFUSED_SECONDS = 30.0
"""Pauses after no answer, and after a definite no, which a person may take back."""


class OutageRetry:
    """Asks for as long as the owner of a search lives; `kept_in` is where what is pending lies."""

    def __init__(self, kept_in: Path, notify: Callable[[str], None]) -> None:
        self.offline_since: float | None = None
        """`time.monotonic()` when the store stopped answering; None: it answers."""
        self.trouble: ColabDriveTunerError | None = None
        """What it said last instead of an answer; None: it answers."""
        self.outages: list[tuple[float, float]] = []
        """From when to when the store did not answer, by this machine's clock."""
        self._kept_in, self._notify = kept_in, notify
        self._ended = threading.Event()

    def until_answered(self, ask: Callable[[], T], deadline: float | None = None) -> T | None:
        """What the store answers; None if that took too long, or `end` was called.

        `deadline` is a `time.monotonic()`; None: for ever.
        """
        attempt = 0
        while not self._ended.is_set():
            try:
                answer = ask()
            except ColabDriveTunerError as error:
                self.trouble = error
                if self.offline_since is None:
                    self.offline_since = time.monotonic()
                    self._notify(
                        f"{error} Training goes on; what is pending is kept in {self._kept_in}."
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
                if self.offline_since is not None:
                    now = time.time()
                    self.outages.append((now - (time.monotonic() - self.offline_since), now))
                    self.offline_since = None
                    self._notify("The store answers again; what was pending is being recorded.")
                return answer
        return None

    def end(self) -> None:
        """Ask no more: whoever is asking is let go."""
        self._ended.set()
