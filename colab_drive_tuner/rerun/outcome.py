"""What is left to do for a search, as an exit code that schedulers understand."""

from dataclasses import dataclass
from enum import IntEnum

from colab_drive_tuner.errors import ColabDriveTunerError, SearchNotFoundError
from colab_drive_tuner.search.status import read_status
from colab_drive_tuner.store.protocol import Store


class Outcome(IntEnum):
    """Exit codes of `rerun` and of `status --exit-code` (69 and 75 as in sysexits.h)."""

    FINISHED = 0
    FAILED = 1
    BUSY = 69
    UNFINISHED = 75


class NotebookRunError(ColabDriveTunerError, RuntimeError):
    """A run broke off: its place could not run it; the message says why."""


class RuntimeLostError(NotebookRunError):
    """The runtime vanished in the middle of a run: what reruns are for, and no failure."""


class NoRuntimeError(NotebookRunError):
    """No runtime could be had, so the program was not run: that says nothing about it."""


@dataclass(frozen=True)
class Verdict:
    """How a search stands, and the same in words."""

    outcome: Outcome
    words: str
    done: int = 0
    """Trials that have ended."""


def look(store: Store, name: str, *, own_run_ended: bool = False) -> Verdict:
    """Look at a search without touching it; one that does not exist yet is unfinished.

    After a run of ours has ended, its kernel's lease may still look alive: with `own_run_ended` the
    holder is not taken for somebody else.
    """
    try:
        status = read_status(store, name)
    except SearchNotFoundError:
        return Verdict(Outcome.UNFINISHED, f"Search {name!r} has not begun.")
    progress = f"{status.progress} trials done"
    if status.stopped:
        progress += f", stopped: {status.stopped}"
    if status.finished:
        return Verdict(
            Outcome.FINISHED, f"Search {name!r} is finished: {progress}.", done=status.done
        )
    if status.held and not own_run_ended:
        words = f"Search {name!r} is running ({progress}): {status.holder}."
        return Verdict(Outcome.BUSY, words, done=status.done)
    return Verdict(
        Outcome.UNFINISHED, f"Search {name!r} is unfinished: {progress}.", done=status.done
    )
