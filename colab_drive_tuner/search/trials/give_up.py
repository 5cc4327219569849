"""Giving up poison trials: those that killed `max_attempts` runtimes or workers end as failed."""

from datetime import UTC, datetime
from typing import Any, cast

from colab_drive_tuner.checkpoint.document_validation import TrialDocument
from colab_drive_tuner.checkpoint.history import History
from colab_drive_tuner.checkpoint.record_items import Tid
from colab_drive_tuner.checkpoint.trials_and_sessions import RecordedTrial
from colab_drive_tuner.search.trial_documents import FINISHED, as_new


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


def is_given_up(document: TrialDocument) -> bool:
    """Return whether the trial was given up."""
    return document["result"].get("given_up") is True
