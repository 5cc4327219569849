"""Synchronous acknowledgement after a crash, so that a poison trial is attributed correctly.

Training does not wait for the store, so a runtime may die in a trial that the chain has not heard
of. The session after it makes up for that (PROTOCOL, rule ATTEMPTS): each start is acknowledged
before its trial runs, and each end before the next start, until it is past where the dead one was.
"""

import time
from collections.abc import Callable

from colab_drive_tuner.checkpoint.items import Tid
from colab_drive_tuner.journal import Claim
from colab_drive_tuner.journal.chain.record import DEATHS

CARE_PATIENCE = 120.0
"""How long a careful session waits for the store in all, in seconds, whether it answers or not."""


class Care:
    """After an unclean death: go carefully until past where the dead session can have been."""

    def __init__(self, claim: Claim) -> None:
        self._unclean = claim.reason in DEATHS
        self._running, self._seconds = claim.running, claim.careful
        self._spent, self._begun, self._patience = 0.0, False, CARE_PATIENCE

    def needed(self, tid: Tid) -> bool:
        """Whether trial `tid` must be acknowledged before it runs."""
        if not self._unclean or self._patience <= 0:
            return False
        if self._running is not None and isinstance(tid, int):
            return tid <= self._running
        return not self._begun or self._spent < self._seconds

    def wait(self, flush: Callable[[float], bool]) -> None:
        """Wait for the store, as long as there is patience left."""
        begun = time.monotonic()
        flush(self._patience)
        self._patience -= time.monotonic() - begun

    def ran(self, seconds: float) -> None:
        """A trial has run for so long."""
        self._spent += seconds
        self._begun = True
