"""Files on the local disk: atomic replacement, durable folders, scratch folders, checksums."""

import errno
import hashlib
import os
import re
import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO

from colab_drive_tuner.errors import UsageError

TEMPORARY_NAME = re.compile(r"\.colab-drive-tuner-(\d{1,10})-[0-9a-f]{16}\.part")
"""Names of the temporary files of `replace_file`; the group is the id of the writing process."""


def expand_user(path: Path | str) -> Path:
    """Replace a `~` at the start of a path; raise `UsageError` if that home folder is unknown."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UsageError(
            f"{str(path)!r} begins with a home folder that this machine does not know: write the "
            f"whole path, or ./{path} for what has that name here."
        ) from None


def resolve_path(path: Path | str) -> Path:
    """Return the absolute path, without links; raise `UsageError` if that cannot be known."""
    try:
        return expand_user(path).resolve()
    except FileNotFoundError:
        raise UsageError(
            f"The path {str(path)!r} is relative, but the working directory has been deleted: "
            "write the whole path, or change to a folder that exists."
        ) from None


def make_folder(folder: Path) -> None:
    """Create a folder and its parents; their names are on the disk when this returns."""
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
    """Replace `path` atomically with a temporary file that `fill` writes next to it.

    On any error `path` is unchanged and the temporary file is removed. A killed process leaves the
    file behind; its name contains the process id (see `TEMPORARY_NAME`).
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise FileExistsError(errno.EEXIST, "it is a device or pipe, not a file", str(path))
    temporary = path.with_name(f".colab-drive-tuner-{os.getpid()}-{secrets.token_hex(8)}.part")
    try:
        opener = partial(os.open, mode=mode)
        with open(temporary, "x+b", opener=opener) as sink:
            fill(sink)
            sink.flush()
            os.fsync(sink.fileno())
        temporary.replace(path)
    except BaseException:  # including KeyboardInterrupt
        temporary.unlink(missing_ok=True)
        raise


def read_file(path: Path, largest: int) -> bytes:
    """Return the content of a file of somebody else, who may have put a pipe or a giant there.

    Raises `OSError` for anything but a file, and for more than `largest` bytes.
    """
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is not a file", str(path))
    if path.stat().st_size > largest:
        raise OSError(errno.EFBIG, f"it is larger than {largest >> 20} MiB", str(path))
    return path.read_bytes()


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Create a temporary folder, private to this user, with the process id in its name."""
    with tempfile.TemporaryDirectory(prefix=f"colab-drive-tuner-{os.getpid()}-") as folder:
        yield Path(folder)


def sha256_of(content: bytes | Path) -> str:
    """Return the SHA-256 of bytes or of a file, as hexadecimal digits."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    with content.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def set_aside(path: Path) -> Path:
    """Rename a damaged file instead of deleting it; return its new path."""
    return path.rename(path.with_name(f"{path.name}.damaged-{secrets.token_hex(4)}"))
