"""The server's clock, learned from its answers: a runtime's own clock may be wrong by hours."""

import threading
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime


class ServerClock:
    """The newest Date header plus the monotonic time since; exact to about a second."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._offset: float | None = None

    def learn(self, date: str | None, sent: float) -> None:
        """Take in the Date header of an answer whose request left at `sent` (monotonic)."""
        try:
            stamp = parsedate_to_datetime(date or "").timestamp()
        except ValueError:
            return
        arrived = self._monotonic()
        offset = stamp - arrived
        with self._lock:
            # Whole seconds are cut off and transit adds up, so the truth is at or above each
            # estimate: the highest is best, unless the clocks have really moved apart.
            moved = self._offset is not None and offset < self._offset - 2
            if self._offset is None or offset > self._offset or (moved and arrived - sent < 1):
                self._offset = offset

    def now(self) -> float | None:
        """Seconds since 1970 by the server's clock; None before the first answer."""
        with self._lock:
            return None if self._offset is None else self._offset + self._monotonic()
