"""What must survive this process on this machine: ends of trials not yet acknowledged (rule SPOOL).

One directory per store and search in the platform's state folder, with a lock that the owner
holds, so that the next process here knows for certain whether the one before is dead. A segment is
a file of checksummed entries, flushed to disk before the items in it are first sent, and removed
when they are seen in the chain. A torn last entry is what a kill leaves; it is passed over.
"""

import hashlib
import mmap
import os
import secrets
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import msgpack
from filelock import FileLock, Timeout
from platformdirs import user_state_path

_DIGEST = 16
_LENGTH = struct.Struct("<I")
_BESIDE = b"\xc1"
"""Marks a value that belongs to the item after it; no msgpack item begins with this byte."""
_RUNNING = struct.Struct("=q")
_TOGETHER = 8
"""Entries that are written by one call: few enough to be joined in memory that is used again."""


Spooled = tuple[bytes, Sequence[bytes]]
"""An item, and the large values beside it."""


def state_folder() -> Path:
    """Where this machine keeps what must outlive a process."""
    return user_state_path("colab-drive-tuner", appauthor=False, ensure_exists=True)


def machine_id() -> str:
    """A random id of this machine's state folder, made when first asked for."""
    path = state_folder() / "machine"
    if not path.exists():
        fresh = path.with_name(f"machine.{secrets.token_hex(8)}")
        fresh.write_text(secrets.token_hex(16))
        try:
            os.link(fresh, path)
        except FileExistsError:
            pass  # another process was first: its id is the machine's
        finally:
            fresh.unlink()
    return path.read_text()


@dataclass(frozen=True)
class Leftover:
    """A segment that an earlier session could not see acknowledged."""

    path: Path
    epoch: str
    """The epoch of the chain (see `Head.epoch`) in which its items were made."""
    items: tuple["Spooled", ...]


class Segment:
    """A spool file that is being written; the items of one record, or of an outage so far."""

    def __init__(self, path: Path, epoch: str) -> None:
        self.path = path
        self._file = path.open("xb", buffering=0)
        self._write(b"".join(_entry(epoch.encode())))
        _sync_folder(path.parent)

    def add(self, items: Iterable[Spooled]) -> None:
        """Write the items, and the values beside them, and flush them to the disk.

        Where the disk fails (OSError), the file is as it was before.
        """
        end = self._file.tell()
        try:
            entries: list[bytes] = []
            for item, beside in items:
                entries += (*(_BESIDE + value for value in beside), item)
            for start in range(0, len(entries), _TOGETHER):
                some = map(_entry, entries[start : start + _TOGETHER])
                self._write(b"".join(chain.from_iterable(some)))
            os.fsync(self._file.fileno())
        except OSError:
            self._file.truncate(end)
            self._file.seek(end)
            raise

    def _write(self, content: bytes) -> None:
        left = memoryview(content)
        while left:  # a disk that is almost full takes a part
            left = left[self._file.write(left) :]

    def close(self) -> None:
        """Close the file and leave it there."""
        self._file.close()

    def remove(self) -> None:
        """Its items are in the chain: the file is not needed any more."""
        self.close()
        self.path.unlink(missing_ok=True)


class Spool:
    """The local directory of one search in one store."""

    def __init__(self, location: str, name: str) -> None:
        key = hashlib.sha256(msgpack.packb([location, name])).hexdigest()[:24]
        self.folder = state_folder() / "spool" / key
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "about.txt").write_text(f"{name}\n{location}\n", "utf-8", "backslashreplace")
        self._lock = FileLock(self.folder / "lock", thread_local=False)
        self._running: memoryview | None = None

    def acquire(self) -> bool:
        """Take the lock for this process; False while another live process has it."""
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            return False
        return True

    def release(self) -> None:
        """Give the lock back, and forget which trial was running."""
        self._let_go()
        self._lock.release(force=True)

    def segment(self, epoch: str) -> Segment:
        """Begin a new file."""
        return Segment(self.folder / f"{secrets.token_hex(8)}.spool", epoch)

    def leftovers(self) -> list[Leftover]:
        """What earlier sessions left, oldest first; a torn tail is passed over."""
        paths = sorted(self.folder.glob("*.spool"), key=lambda path: path.stat().st_mtime_ns)
        found = []
        for path in paths:
            epoch, *entries = _entries(path.read_bytes()) or [b""]
            found.append(Leftover(path, epoch.decode("ascii", "replace"), tuple(_paired(entries))))
        return found

    def keep(self, leftover: Leftover) -> Path:
        """Put aside what the chain does not want; returns where it can be found."""
        return leftover.path.rename(leftover.path.with_suffix(".kept"))

    def note_running(self, tid: int) -> None:
        """Remember which trial runs; survives the death of the process, not of the machine."""
        if self._running is None:
            with (self.folder / "running").open("w+b", buffering=0) as file:
                file.write(_RUNNING.pack(tid))
                # A write would wait for whatever the disk is busy with; memory does not.
                self._running = memoryview(mmap.mmap(file.fileno(), _RUNNING.size)).cast("q")
        self._running[0] = tid

    def note_owner(self, owner: str) -> None:
        """Remember that a claim of this session was made under the lock."""
        with (self.folder / "owners").open("a", encoding="ascii") as file:
            file.write(f"{owner}\n")

    def knows(self, owner: str) -> bool:
        """Whether a session claimed under this lock: dead for certain where the lock is free.

        The machine alone does not tell: where two folders bear one name, the processes of a
        machine may have found them in different order, and each has a lock of its own.
        """
        path = self.folder / "owners"
        return path.exists() and owner in path.read_text("ascii").split()

    def last_running(self) -> int | None:
        """The trial that the last session here noted; None if it noted none, or ended cleanly."""
        path = self.folder / "running"
        content = path.read_bytes() if path.exists() else b""
        return _RUNNING.unpack(content)[0] if len(content) == _RUNNING.size else None

    def forget_session(self) -> None:
        """It ended cleanly: nothing was cut off, and its claim is released."""
        self._let_go()
        for name in ("running", "owners"):
            (self.folder / name).unlink(missing_ok=True)

    def _let_go(self) -> None:
        self._running = None  # the last reference unmaps it


def _entry(content: bytes) -> tuple[bytes, bytes, bytes]:
    """The parts of an entry: length, digest, content."""
    return _LENGTH.pack(len(content)), hashlib.sha256(content).digest()[:_DIGEST], content


def _entries(data: bytes) -> list[bytes]:
    """The whole entries from the start of a segment."""
    entries, offset = [], 0
    while offset + _LENGTH.size + _DIGEST <= len(data):
        (length,) = _LENGTH.unpack_from(data, offset)
        start = offset + _LENGTH.size + _DIGEST
        content = data[start : start + length]
        if hashlib.sha256(content).digest()[:_DIGEST] != data[offset + _LENGTH.size : start]:
            break
        entries.append(content)
        offset = start + length
    return entries


def _paired(entries: list[bytes]) -> Iterator[Spooled]:
    """Each item with the values that were written before it."""
    beside: list[bytes] = []
    for entry in entries:
        if entry.startswith(_BESIDE):
            beside.append(entry[len(_BESIDE) :])
        else:
            yield entry, tuple(beside)
            beside = []


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
