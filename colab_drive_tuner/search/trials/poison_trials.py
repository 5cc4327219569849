"""Poison trials, which kill runtimes or workers: found by a careful start, and given up.

Training does not wait for the store, so a runtime may die in a trial whose start the chain does not
have. The next session therefore waits until each start is acknowledged before its trial runs, and
each end before the next start: a trial that kills runtimes is then identified (docs/protocol.md,
rule ATTEMPTS). One that killed `max_attempts` runtimes or workers ends as failed.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, cast

from colab_drive_tuner.checkpoint.document_schema import TrialDocument
from colab_drive_tuner.checkpoint.history import History
from colab_drive_tuner.checkpoint.record_items import Tid
from colab_drive_tuner.checkpoint.trials_and_sessions import RecordedTrial
from colab_drive_tuner.journal import Claim
from colab_drive_tuner.journal.chain.record import DEATHS
from colab_drive_tuner.search.trial_documents import FINISHED, as_new

CAREFUL_START_PATIENCE = 120.0
"""Total time, in seconds, that a session waits for the store after a crash."""


class CarefulStart:
    """Decides which starts and ends of this session are acknowledged before work continues."""

    def __init__(self, claim: Claim) -> None:
        self._crashed = claim.reason in DEATHS
        self._running, self._careful_seconds = claim.running, claim.careful_seconds
        self._run_seconds, self._any_ran, self._patience = 0.0, False, CAREFUL_START_PATIENCE

    def needed(self, tid: Tid | None = None) -> bool:
        """Return whether trial `tid` (None: of a study) must be acknowledged before it runs."""
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


def give_up_reason(deaths: int, *victims: str) -> str:
    """Return the reason to record and show: "3 workers or runtimes died while ..."."""
    died = " or ".join(victim if deaths == 1 else f"{victim}s" for victim in victims)
    return f"{deaths} {died} died while this trial was running"


def given_up_result(reason: str) -> dict[str, Any]:
    """Return the result of a trial that is given up."""
    return {"status": "fail", "reason": f"given up: {reason}", "given_up": True}


def given_up_document(entry: RecordedTrial, reason: str, history: History) -> TrialDocument:
    """Return the document of a trial that the current session of `history` gives up."""
    session = history.timeline[-1]
    now = datetime.fromtimestamp(session.began, UTC).replace(tzinfo=None)
    ended = {"state": FINISHED, "owner": session.where, "book_time": now, "refresh_time": now}
    document = as_new(entry.decoded()) | ended | {"result": given_up_result(reason)}
    return cast(TrialDocument, document)


def given_up_message(search: str, tid: Tid, reason: str) -> str:
    """Return the message to the user about a trial that is given up."""
    return (
        f"Trial {tid} of search {search!r} is given up: {reason}. "
        "resume_search(..., retry_failed=True) runs it again."
    )
