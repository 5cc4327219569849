"""The machine: its state folder, which outlives processes; its id, processes, files and signals.

Whatever lies there may be damaged, or be something else than it should. What nothing depends on is
put aside under a name of its own and made anew.
"""

import hashlib
import logging
import os
import re
import secrets
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO

from platformdirs import user_state_path

from colab_drive_tuner.errors import StoreError

PART = re.compile(r"\.colab-drive-tuner-(\d{1,10})-[0-9a-f]{16}\.part")
"""The name of a file that is being written, and the process that does."""
_ID = re.compile(rb"[0-9a-f]{32}")

ENDING = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name)
)
"""SIGHUP is missing on Windows."""

log = logging.getLogger(__name__)


def state_folder() -> Path:
    """Where this machine keeps what must outlive a process; raises `StoreError`."""
    place = user_state_path("colab-drive-tuner", appauthor=False)
    try:
        make_folder(place)
    except OSError as error:
        raise StoreError(
            f"The state folder {place} of this machine cannot be made ({error.strerror}): remove "
            f"what is in its way, or set XDG_STATE_HOME to a folder that can be written."
        ) from error
    return place


def make_folder(folder: Path) -> None:
    """Make a folder and those above it; their names are on the disk when this returns."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Wait until the names in `folder` are on the disk."""
    if not hasattr(os, "O_DIRECTORY"):  # Windows opens no folder, and keeps names in a journal
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def replace_file(path: Path, fill: Callable[[BinaryIO], object], *, mode: int = 0o666) -> None:
    """Let `fill` write a temporary file beside `path`, then put it there in one step.

    Whatever goes wrong, `path` holds what it held before and no temporary file is left; after a
    sudden death its name says whose it was (see `PART`).
    """
    temporary = path.with_name(f".colab-drive-tuner-{os.getpid()}-{secrets.token_hex(8)}.part")
    try:
        opener = partial(os.open, mode=mode)
        with open(temporary, "x+b", opener=opener) as sink:
            fill(sink)
            sink.flush()
            os.fsync(sink.fileno())
        temporary.replace(path)
    except BaseException:  # an interrupt, too, leaves no temporary file
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A temporary folder for this user only, whose name says which process uses it."""
    with tempfile.TemporaryDirectory(prefix=f"colab-drive-tuner-{os.getpid()}-") as folder:
        yield Path(folder)


def sha256_of(content: bytes | Path) -> str:
    """The checksum of bytes, or of a file, as hexadecimal digits."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    with content.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def process_started(pid: int) -> str | None:
    """When a process of this machine began; None if there is none, "" if the system won't say."""
    if Path("/proc/self/stat").exists():
        try:
            status = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return None
        return status.rpartition(")")[2].split()[19]  # field 22, counted behind the name
    if os.name == "posix":  # elsewhere signal 0 would end the process
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
        except PermissionError:
            return ""
    return ""


@contextmanager
def caught(
    handle: Callable[[int], None], signals: Sequence[signal.Signals] = ENDING
) -> Iterator[None]:
    """Within the block each of the signals calls `handle`, which may raise; then as before.

    In a thread that is not the main one nothing is caught: signals are that one's affair.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {signum: signal.signal(signum, lambda got, _: handle(got)) for signum in signals}
    try:
        yield
    finally:
        for signum, handler in before.items():
            # None: set by a library in C, which Python cannot give back.
            signal.signal(signum, signal.SIG_DFL if handler is None else handler)


def machine_id() -> str:
    """A random id of this machine's state folder, made when first asked for.

    A damaged one is put aside and made anew. All that follows is that a search held here counts as
    held by another machine until it ends: who may write is decided by the chain, and whether a
    session is dead by the lock. Where the disk takes nothing, the id is this call's only.
    """
    path = state_folder() / "machine"
    known = _read_id(path)
    if known is not None:
        return known
    made = secrets.token_hex(16)
    fresh = path.with_name(f"machine.{secrets.token_hex(8)}")
    try:
        fresh.write_text(made)
        if os.path.lexists(path):
            set_aside(path)
        os.link(fresh, path)
    except FileExistsError:
        pass  # another process was first: its id is the machine's
    except OSError as error:
        log.warning("The id of this machine cannot be kept in %s: %s", path, error)
    finally:
        fresh.unlink(missing_ok=True)
    return _read_id(path) or made


def is_this_machine(machine: str) -> bool:
    """Whether that is this machine's id; writes nothing."""
    return _read_id(state_folder() / "machine") == machine


def has_valid_id(path: Path) -> bool:
    """Whether a file `machine` holds an id."""
    return _read_id(path) is not None


def set_aside(path: Path) -> Path:
    """Rename what cannot be used, so that nothing is lost; returns where it is now."""
    return path.rename(path.with_name(f"{path.name}.damaged-{secrets.token_hex(4)}"))


def _read_id(path: Path) -> str | None:
    try:
        content = path.read_bytes() if path.is_file() else b""  # a pipe would be waited for
    except OSError:
        return None  # not there yet; or a folder, or unreadable: then it is put aside
    return content.decode("ascii") if _ID.fullmatch(content) else None
