"""Exit codes of `rerun` and `status --exit-code`, computed from the status of a search."""

from dataclasses import dataclass
from enum import IntEnum

from colab_drive_tuner.errors import SearchNotFoundError
from colab_drive_tuner.search.results.read_search import open_journal, status_of
from colab_drive_tuner.store.protocol import Store


class ExitCode(IntEnum):
    """Exit codes of `rerun` and of `status --exit-code` (69 and 75 as in sysexits.h)."""

    FINISHED = 0
    FAILED = 1
    BUSY = 69
    UNFINISHED = 75


@dataclass(frozen=True)
class RerunStatus:
    """Status of a search, as an exit code for schedulers and a message for people."""

    exit_code: ExitCode
    message: str
    done: int = 0
    """Number of trials that have ended."""
    account: str | None = None
    """The account of the search's last owner; None if it has had no owner."""
    missing: str = ""
    """If the store does not hold the search: a message with names like it."""


def read_rerun_status(store: Store, name: str, *, own_run_ended: bool = False) -> RerunStatus:
    """Read the status of a search; one that does not exist yet is unfinished.

    With `own_run_ended`, a run of this process has just ended: the lease of its kernel may not have
    expired yet, so a held search is not reported as busy.
    """
    try:
        journal = open_journal(store, name)
    except SearchNotFoundError as missing:
        message = f"Search {name!r} has not begun."
        return RerunStatus(ExitCode.UNFINISHED, message, missing=str(missing))
    status = status_of(store, name, journal)
    progress = f"{status.progress} trials done"
    if status.stopped:
        progress += f", stopped: {status.stopped}"
    if status.finished:
        code, message = ExitCode.FINISHED, f"Search {name!r} is finished: {progress}."
    elif status.held and not own_run_ended:
        code = ExitCode.BUSY
        message = f"Search {name!r} is running ({progress}): {status.holder}."
    else:
        code, message = ExitCode.UNFINISHED, f"Search {name!r} is unfinished: {progress}."
    return RerunStatus(code, message, status.done, journal.account)
