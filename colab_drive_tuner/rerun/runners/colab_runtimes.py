"""Colab's command line, and records of the runtimes that this machine has allocated through it.

A record is written before the allocation and removed after the release. Its writer holds a lock on
it, so a record whose lock is free belongs to a process that died. The command that allocates the
runtime may outlive that process, and a pending allocation cannot be released. The command therefore
holds a second lock, which is waited for.
"""

import contextlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from colab_drive_tuner.environment_variables import Variable
from colab_drive_tuner.errors import MissingExtraError, NotebookRunError, UsageError
from colab_drive_tuner.machine import state_folder
from colab_drive_tuner.rerun.stopping import run_command

_RELEASE_SECONDS = 120.0


def colab_command() -> list[str]:
    """Find Colab's command line: as configured, in this environment, on the PATH, or by uvx."""
    try:
        named = shlex.split(Variable.COLAB_COMMAND.get())
    except ValueError as error:
        raise UsageError(f"{Variable.COLAB_COMMAND} is not a command: {error}.") from None
    if named:
        if shutil.which(named[0]) is None:
            raise UsageError(f"{Variable.COLAB_COMMAND} names {named[0]!r}, which cannot be run.")
        return named
    scripts = Path(sys.executable).parent  # this environment, which may not be activated
    found = shutil.which("colab", path=os.pathsep.join([str(scripts), os.environ.get("PATH", "")]))
    if found:
        return [found]
    if shutil.which("uvx"):
        return ["uvx", "--from", "google-colab-cli", "colab"]
    raise MissingExtraError(
        "Running on Colab needs its command line: `pip install google-colab-cli` with Python 3.12 "
        "or newer, and sign in once with `colab new` and `colab stop`. If it is installed under "
        f"another name, set {Variable.COLAB_COMMAND}."
    )


def run_colab(arguments: Sequence[str], output: Path, seconds: float, **options: Any) -> int | None:
    """Run Colab's command line; return its exit code, or None after a timeout."""
    with output.open("wb") as file, contextlib.suppress(subprocess.TimeoutExpired):
        return run_command([*colab_command(), *arguments], file, timeout=seconds, **options)
    return None


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
def _abandoned_runtimes(search: str | None = None) -> Iterator[list[Path]]:
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


def release_abandoned(search: str | None = None, *, pause: float = 10.0) -> list[str]:
    """Release the runtimes of killed runs (of one search or all), and return their names."""
    with _abandoned_runtimes(search) as records:
        for record in records:
            release(record, pause)
        return [record.stem for record in records]


def release(record: Path, pause: float) -> None:
    """Release the runtime and remove its record; if the release fails, the record is kept."""
    file, session = record.with_suffix(".txt"), ["-s", record.stem]
    for attempt in range(3):
        if attempt:
            time.sleep(pause)
            # `status` drops a session whose runtime has vanished.
            run_colab(["status", *session], file, _RELEASE_SECONDS)
        code = run_colab(["stop", *session], file, _RELEASE_SECONDS)
        if code == 0:
            file.unlink()
            record.unlink()
            return
    text = file.read_text(errors="replace")[-1500:].strip()
    raise NotebookRunError(
        f"The Colab runtime {record.stem} could not be released ({code or 'no answer'}); the next "
        f"run tries again, and it releases itself when idle. To do it now: `colab stop -s "
        f"{record.stem}`.\n{text}"
    )


def _folder() -> Path:
    folder = state_folder() / "rerun" / "leases"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _lock(record: Path) -> Path:
    return record.with_suffix(".lock")


def _pending(record: Path) -> Path:
    return record.with_suffix(".pending")
