"""The machine and its processes: state folder, machine id, process start times, signal handlers.

The state folder outlives processes. Its files may be damaged or replaced: files that are not
essential are renamed (`set_aside`) and created again.
"""

import errno
import logging
import multiprocessing
import os
import re
import secrets
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from platformdirs import user_state_path

from colab_drive_tuner.errors import StoreError
from colab_drive_tuner.local_files import make_folder, read_file, set_aside

LARGEST_NOTE = 1 << 20
"""Maximum size in bytes of a note in the state folder; a larger one is damaged."""
_ID = re.compile(rb"[0-9a-f]{32}")

TERMINATION_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name)
)
"""SIGHUP is missing on Windows."""
_PARENT_CHECK_SECONDS = 1.0
"""Interval at which a worker checks that the process which started it is alive."""

log = logging.getLogger(__name__)


def state_folder(part: str = "") -> Path:
    """Return the folder for this machine's persistent state, creating it; raises `StoreError`.

    With `part`, return a folder in it that this user can write to.
    """
    try:
        # Without a home directory, older versions of platformdirs return a relative `~`.
        folder = user_state_path("colab-drive-tuner", appauthor=False).expanduser() / part
    except RuntimeError as error:  # as in a container that runs under a number without an account
        raise StoreError(
            "This user has no home directory, so there is no folder for this machine's state: set "
            "XDG_STATE_HOME to a folder that can be written."
        ) from error
    try:
        make_folder(folder)
        if part and not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise StoreError(
            f"The state folder {folder} of this machine cannot be used ({error.strerror}): remove "
            f"what is in its way, or set XDG_STATE_HOME to a folder that can be written."
        ) from error
    return folder


def process_start_time(pid: int) -> str | None:
    """Return a process's start time; None if it does not exist, "" if the system hides it."""
    if Path("/proc/self/stat").exists():
        try:
            status = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        except OSError:
            return None
        fields = status.rpartition(")")[2].split()  # after the name, which may hold any bytes
        return None if fields[0] in "ZX" else fields[19]  # a zombie is dead
    if os.name == "posix":  # on Windows, signal 0 would terminate the process
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
        except PermissionError:
            return ""
    return ""


def exit_with(parent: int) -> None:
    """Exit once `parent`, which started this process, has died: no orphan keeps memory or a GPU.

    Does nothing if another process started this one.
    """
    known = multiprocessing.parent_process()
    if known is not None and known.pid == parent:
        _start_exit_with(parent, os.getpid())


@cache  # once in each process; a fork has another id
def _start_exit_with(parent: int, _: int) -> None:
    threading.Thread(target=_exit_with, args=(parent,), daemon=True).start()


def _exit_with(parent: int, *, by_handle: bool = os.name == "nt") -> None:
    known = multiprocessing.parent_process()
    if by_handle and known is not None:
        known.join()
    else:
        # An orphan gets another parent; behind a fork server it keeps that one.
        alive = os.getppid(), process_start_time(parent)
        while alive[1] is not None and (os.getppid(), process_start_time(parent)) == alive:
            time.sleep(_PARENT_CHECK_SECONDS)
    os._exit(1)


@contextmanager
def signal_handlers(
    handle: Callable[[int], None], signals: Sequence[signal.Signals] = TERMINATION_SIGNALS
) -> Iterator[None]:
    """Call `handle`, which may raise, for each of the signals; restore the old handlers at exit.

    Does nothing outside of the main thread, where Python does not allow signal handlers.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {signum: signal.signal(signum, lambda got, _: handle(got)) for signum in signals}
    try:
        yield
    finally:
        for signum, handler in before.items():
            # None: set by a C library, which Python cannot restore.
            signal.signal(signum, signal.SIG_DFL if handler is None else handler)


def machine_id() -> str:
    """Return this machine's random id, created in the state folder at the first call.

    A damaged id is set aside and replaced. A search held under the old id then counts as held by
    another machine until it ends. This is safe: the chain decides who may write, and the lock
    shows whether a session is dead. If the disk cannot be written, the id is valid for this call
    only.
    """
    path = state_folder() / "machine"
    known = read_id(path)
    if known is not None:
        return known
    created = secrets.token_hex(16)
    fresh = path.with_name(f"machine.{secrets.token_hex(8)}")
    try:
        fresh.write_text(created)
        if os.path.lexists(path):
            set_aside(path)
        os.link(fresh, path)
    except FileExistsError:
        pass  # another process was first; its id is used
    except OSError as error:
        log.warning("The id of this machine cannot be kept in %s: %s", path, error)
    finally:
        fresh.unlink(missing_ok=True)
    return read_id(path) or created


def is_this_machine(machine: str) -> bool:
    """Return whether `machine` is this machine's id; never creates one."""
    return read_id(state_folder() / "machine") == machine


def read_id(path: Path) -> str | None:
    """Return the machine id in a file; None if it contains no valid one."""
    try:
        content = read_file(path, LARGEST_NOTE)
    except OSError:
        return None  # missing, not a file, too large, or unreadable
    return content.decode("ascii") if _ID.fullmatch(content) else None
