"""Records of the Colab runtimes that this machine has allocated and not released yet.

A record is written before the allocation and removed after the release. Its writer holds a lock on
it, so a record whose lock is free belongs to a process that died. The command that allocates the
runtime may outlive that process, and a pending allocation cannot be released. The command therefore
holds a second lock, which is waited for.
"""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from colab_drive_tuner.machine import state_folder


@contextlib.contextmanager
def runtime_record(session: str, search: str) -> Iterator[Path]:
    """Record that `session` is allocated for `search`, and yield the record's path.

    The caller removes the record after the release. A record that still exists at the end of the
    block is left for the next run.
    """
    record = _folder() / f"{session}.json"
    with FileLock(_lock(record)):
        record.write_text(json.dumps({"search": search}))
        yield record
        if not record.exists():
            _lock(record).unlink(missing_ok=True)
            _pending(record).unlink(missing_ok=True)


@contextlib.contextmanager
def allocation_lock(record: Path) -> Iterator[int]:
    """Wait for a pending allocation of this record, lock it, and yield the lock's descriptor.

    A process that inherits the descriptor keeps the lock after the block.
    """
    import fcntl  # Colab's command line, too, requires a platform that has it

    with _pending(record).open("w") as lock_file:
        fcntl.flock(lock_file, fcntl.LOCK_EX)
        yield lock_file.fileno()


@contextlib.contextmanager
def abandoned_runtimes(search: str | None = None) -> Iterator[list[Path]]:
    """Yield the records left by dead processes, of one search or all; locked during the block."""
    with contextlib.ExitStack() as locks:
        found = []
        for record in sorted(_folder().glob("*.json")):
            lock = FileLock(_lock(record))
            try:
                locks.enter_context(lock.acquire(timeout=0))
                about = json.loads(record.read_text()).get("search")
            except (Timeout, FileNotFoundError):
                continue  # its writer is alive, or has just released the runtime
            except (ValueError, AttributeError):
                about = search  # truncated by a crash; the file's name is sufficient
            if search is None or about == search:
                with allocation_lock(record):
                    found.append(record)
        yield found


def _folder() -> Path:
    folder = state_folder() / "rerun" / "leases"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _lock(record: Path) -> Path:
    return record.with_suffix(".lock")


def _pending(record: Path) -> Path:
    return record.with_suffix(".pending")
