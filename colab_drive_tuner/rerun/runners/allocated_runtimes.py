"""Leases of Colab runtimes: which ones this machine has taken and not given back yet.

A note is written before a runtime is asked for and removed after it was released. Its writer holds
a lock on it, so that a note whose lock is free belongs to a process that died. The command that
allocates may outlive that process, and what it is still about to take could not be released yet: it
holds a lock of its own, and is waited for.
"""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from colab_drive_tuner.machine import state_folder


@contextlib.contextmanager
def lease(session: str, search: str) -> Iterator[Path]:
    """Note that `session` is being allocated for `search`.

    Whoever has released it removes the note; one that is still there at the end is left for the
    next run.
    """
    note = _folder() / f"{session}.json"
    with FileLock(_lock(note)):
        note.write_text(json.dumps({"search": search}))
        yield note
        if not note.exists():
            _lock(note).unlink(missing_ok=True)
            _pending(note).unlink(missing_ok=True)


@contextlib.contextmanager
def allocation(note: Path) -> Iterator[int]:
    """Wait until nothing allocates for this note, and lock it by the descriptor that is yielded.

    Whoever inherits the descriptor keeps the lock; here it is closed at the end of the block.
    """
    import fcntl  # where it is missing, Colab's command line does not run either

    with _pending(note).open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield held.fileno()


@contextlib.contextmanager
def abandoned(search: str | None = None) -> Iterator[list[Path]]:
    """The notes of dead processes, about one search or all; held until the end of the block."""
    with contextlib.ExitStack() as held:
        found = []
        for note in sorted(_folder().glob("*.json")):
            lock = FileLock(_lock(note))
            try:
                held.enter_context(lock.acquire(timeout=0))
                about = json.loads(note.read_text()).get("search")
            except (Timeout, FileNotFoundError):
                continue  # its writer lives, or has just released it
            except (ValueError, AttributeError):
                about = search  # torn by a crash: its name is all that is needed
            if search is None or about == search:
                with allocation(note):
                    found.append(note)
        yield found


def _folder() -> Path:
    folder = state_folder() / "rerun" / "leases"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _lock(note: Path) -> Path:
    return note.with_suffix(".lock")


def _pending(note: Path) -> Path:
    return note.with_suffix(".pending")
