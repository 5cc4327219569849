"""Simulated disks for the spool: one that fails at chosen calls, and one that loses power."""

import errno
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


class FailingDisk:
    """A disk that is full for spool files at each operation whose number satisfies `fails`.

    The operations on a spool file are open, write, fsync and truncate. A failing write has written
    its first half.
    """

    def __init__(self, patch: pytest.MonkeyPatch, fails: Callable[[int], bool]) -> None:
        self.operations = 0
        self._fails = fails
        self._files: set[int] = set()
        opening, flushing, disk = Path.open, os.fsync, self

        class File(io.FileIO):
            def write(self, content: Any) -> int:
                if disk.is_full():
                    super().write(memoryview(content)[: len(content) // 2])
                    raise full()
                return super().write(content)

            def truncate(self, size: int | None = None) -> int:
                if disk.is_full():
                    raise full()
                return super().truncate(size)

        def open_file(path: Path, mode: str = "r", *args: Any, **options: Any) -> Any:
            if path.suffix != ".spool" or mode != "xb":
                return opening(path, mode, *args, **options)
            if self.is_full():
                raise full()
            file = File(path, "x")
            self._files.add(file.fileno())
            return file

        def flush(descriptor: int) -> None:
            if descriptor in self._files and self.is_full():
                raise full()
            flushing(descriptor)

        patch.setattr(Path, "open", open_file)
        patch.setattr(os, "fsync", flush)

    def is_full(self) -> bool:
        """Count an operation and return whether it fails."""
        self.operations += 1
        return self._fails(self.operations)


def full() -> OSError:
    """Return the operating system's error for a full disk."""
    return OSError(errno.ENOSPC, "No space left on device")


class VolatileDisk:
    """A folder of which only flushed (`fsync`) content and names survive a power cut.

    A file keeps its content at its last `fsync`; a folder keeps the names, and the files they
    referred to, at its last `fsync`.
    """

    def __init__(self, patch: pytest.MonkeyPatch, folder: Path) -> None:
        self._folder = folder
        self._contents: dict[int, bytes] = {}
        self._names: dict[int, dict[str, int]] = {}
        flushing = os.fsync

        def flush(descriptor: int) -> None:
            flushing(descriptor)
            inode = os.fstat(descriptor).st_ino
            here = Path(f"/proc/self/fd/{descriptor}")
            if here.is_dir():
                self._names[inode] = {path.name: path.stat().st_ino for path in here.iterdir()}
            else:
                self._contents[inode] = here.read_bytes()

        patch.setattr(os, "fsync", flush)

    def after_power_cut(self, where: Path) -> Path:
        """Create the folder `where` with the state that a power cut now would leave."""
        where.mkdir()
        self._restore(self._folder.stat().st_ino, where)
        return where

    def unflushed(self) -> set[str]:
        """Return the names and files that a power cut now would lose, truncate or bring back."""
        found = set()
        for path in (self._folder, *self._folder.rglob("*")):
            inode, place = path.lstat().st_ino, path.relative_to(self._folder)
            if path.is_dir():
                names = {below.name: below.lstat().st_ino for below in path.iterdir()}
                changed = names.items() ^ self._names.get(inode, {}).items()
                found |= {str(place / name) for name, _ in changed}
            elif self._contents.get(inode) != path.read_bytes():
                found.add(str(place))
        return found

    def _restore(self, inode: int, where: Path) -> None:
        for name, below in self._names.get(inode, {}).items():
            if below in self._names or below not in self._contents:
                # A folder, or a file that was never flushed: a folder stands for both.
                (where / name).mkdir()
                self._restore(below, where / name)
            else:
                (where / name).write_bytes(self._contents[below])
