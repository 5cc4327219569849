"""Careful start after a crash: trials run one acknowledged record at a time, up to the crash site.

Training does not wait for the store, so a runtime may die in a trial whose start the chain does not
have. The next session therefore waits until each start is acknowledged before its trial runs, and
each end before the next start: a trial that kills runtimes is then identified (docs/protocol.md,
rule ATTEMPTS).
"""

import time
from collections.abc import Callable

from colab_drive_tuner.checkpoint.record_items import Tid
from colab_drive_tuner.journal import Claim
from colab_drive_tuner.journal.chain.record import DEATHS

CAREFUL_START_PATIENCE = 120.0
"""Total time, in seconds, that a session waits for the store after a crash."""


class CarefulStart:
    """Decides which starts and ends of this session are acknowledged before work continues."""

    def __init__(self, claim: Claim) -> None:
        self._crashed = claim.reason in DEATHS
        self._running, self._careful_seconds = claim.running, claim.careful
        self._run_seconds, self._any_ran, self._patience = 0.0, False, CAREFUL_START_PATIENCE

    def needed(self, tid: Tid) -> bool:
        """Return whether trial `tid` must be acknowledged before it runs."""
        if not self._crashed or self._patience <= 0:
            return False
        if self._running is not None and isinstance(tid, int):
            return tid <= self._running
        return not self._any_ran or self._run_seconds < self._careful_seconds

    def wait(self, flush: Callable[[float], bool]) -> None:
        """Wait for the store, for as much of the total time as is left."""
        begun = time.monotonic()
        flush(self._patience)
        self._patience -= time.monotonic() - begun

    def trial_took(self, seconds: float) -> None:
        """Count the seconds that a trial of this session ran."""
        self._run_seconds += seconds
        self._any_ran = True
