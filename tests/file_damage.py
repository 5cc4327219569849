"""Damage to a file, by its path: lost, emptied, altered, or replaced by something else."""

import os
from pathlib import Path


def lose(path: Path) -> None:
    """Delete the file."""
    path.unlink()


def empty(path: Path) -> None:
    """Empty the file, as a file system does that loses its content but keeps the name."""
    path.write_bytes(b"")


def flip(path: Path, at: int) -> None:
    """Alter one bit of the byte `at`."""
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def put_pipe(path: Path) -> None:
    """Replace the file by a pipe, whose reading would never end."""
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def put_folder(path: Path) -> None:
    """Replace the file by a folder."""
    path.unlink(missing_ok=True)
    path.mkdir()
