"""Verdict on a search, as an exit code that schedulers understand."""

from dataclasses import dataclass
from enum import IntEnum

from colab_drive_tuner.errors import SearchNotFoundError
from colab_drive_tuner.search.results.read_search import open_journal, status_of
from colab_drive_tuner.store.protocol import Store


class Outcome(IntEnum):
    """Exit codes of `rerun` and of `status --exit-code` (69 and 75 as in sysexits.h)."""

    FINISHED = 0
    FAILED = 1
    BUSY = 69
    UNFINISHED = 75


@dataclass(frozen=True)
class Verdict:
    """How a search stands, for schedulers and for people."""

    outcome: Outcome
    message: str
    done: int = 0
    """Trials that have ended."""
    account: str | None = None
    """Whose search it is: the account of its last owner; None: nobody's yet."""


def read_verdict(store: Store, name: str, *, own_run_ended: bool = False) -> Verdict:
    """The verdict on a search, which is only read; one that does not exist yet is unfinished.

    Args:
        store: Where the search is kept.
        name: The search's name.
        own_run_ended: Whether a run of ours has just ended: its kernel's lease may still look
            alive, and its holder is then not taken for somebody else.
    """
    try:
        journal = open_journal(store, name)
    except SearchNotFoundError:
        return Verdict(Outcome.UNFINISHED, f"Search {name!r} has not begun.")
    status = status_of(store, name, journal)
    progress = f"{status.progress} trials done"
    if status.stopped:
        progress += f", stopped: {status.stopped}"
    if status.finished:
        outcome, message = Outcome.FINISHED, f"Search {name!r} is finished: {progress}."
    elif status.held and not own_run_ended:
        outcome = Outcome.BUSY
        message = f"Search {name!r} is running ({progress}): {status.holder}."
    else:
        outcome, message = Outcome.UNFINISHED, f"Search {name!r} is unfinished: {progress}."
    return Verdict(outcome, message, status.done, journal.account)
