"""What is left to do for a search, as an exit code that schedulers understand."""

from dataclasses import dataclass
from enum import IntEnum

from colab_drive_tuner.errors import SearchNotFoundError
from colab_drive_tuner.search.status import read_status
from colab_drive_tuner.store.protocol import Store


class Outcome(IntEnum):
    """Exit codes of `rerun` and of `status --exit-code` (69 and 75 as in sysexits.h)."""

    FINISHED = 0
    FAILED = 1
    BUSY = 69
    UNFINISHED = 75


@dataclass(frozen=True)
class Verdict:
    """How a search stands, and the same in words."""

    outcome: Outcome
    words: str


def look(store: Store, name: str) -> Verdict:
    """Look at a search without touching it; one that does not exist yet is unfinished."""
    try:
        status = read_status(store, name)
    except SearchNotFoundError:
        return Verdict(Outcome.UNFINISHED, f"Search {name!r} has not begun.")
    progress = f"{status.done} of {status.max_evals} trials done"
    if status.finished:
        return Verdict(Outcome.FINISHED, f"Search {name!r} is finished: {progress}.")
    if status.held:
        return Verdict(Outcome.BUSY, f"Search {name!r} is running ({progress}): {status.holder}.")
    return Verdict(Outcome.UNFINISHED, f"Search {name!r} is unfinished: {progress}.")
