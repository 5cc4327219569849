"""File-system primitives: durable writes, reads that follow no links, safe names, errors."""

import contextlib
import errno
import os
import re
import shutil
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from colab_drive_tuner.errors import (
    ChecksumError,
    NotFoundError,
    QuotaError,
    RefusedError,
    StoreError,
    UnavailableError,
    UsageError,
)
from colab_drive_tuner.local_files import sync_folder

_NOT_IN_FILE_NAMES = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]|^\.')
_LARGEST = 1 << 32
"""Largest content that is read into memory, in bytes: msgpack holds no larger value."""
_KINDS: dict[int, type[StoreError]] = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), QuotaError),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), RefusedError),
    **dict.fromkeys((errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN), UnavailableError),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), UnavailableError),
    errno.ENOENT: NotFoundError,
}
_LINK_ERRORS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
# Follow no symbolic links and never block on a pipe; Windows has only O_BINARY.
_SAFE_FLAGS = sum(
    getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY")
)
NO_HARD_LINKS = (
    "is on a file system without hard links, such as Colab's Drive mount or FAT, which cannot "
    "guarantee that a file is created only once; leave `store` out to use Drive itself, or name "
    "a folder on an ordinary disk"
)


MISSING = FileNotFoundError, NotADirectoryError
"""Exceptions for a missing path; the second one if a parent is a file."""


def write(path: Path, content: bytes | Path) -> None:
    """Write a file and sync its content, but not its name."""
    with path.open("wb") as target:
        if isinstance(content, Path):
            with content.open("rb") as source:
                shutil.copyfileobj(source, target, 1 << 20)
        else:
            target.write(content)
        target.flush()
        os.fsync(target.fileno())


def write_new(path: Path, content: bytes) -> None:
    """Write a small file that must not exist yet, without syncing it."""
    with path.open("xb", buffering=0) as file:
        try:
            file.write(content)
        except BaseException:  # an empty claim on a name would be kept forever
            remove(path)
            raise


@contextlib.contextmanager
def written_aside(home: Path, content: bytes) -> Iterator[Path]:
    """Write a temporary file in an index, for the block to move to its place."""
    temporary = home / f"new-{uuid.uuid4().hex}"
    try:
        write(temporary, content)
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def ensure_folders(home: Path, *names: str) -> Path:
    """Return the folder `home/<names…>`, created durably if it is missing."""
    for name in names:
        path = home / name
        try:
            require_folder(path)
        except FileNotFoundError:
            path.mkdir(exist_ok=True)
            sync_folder(home)
        home = path
    return home


def open_file(path: Path) -> BinaryIO:
    """Open a file for reading; raise `RefusedError` for links and anything but a plain file."""
    try:
        handle = os.open(path, os.O_RDONLY | _SAFE_FLAGS)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise symlink_error(path) from error
        raise
    follows = not hasattr(os, "O_NOFOLLOW")
    if not stat.S_ISREG(os.fstat(handle).st_mode) or (follows and path.is_symlink()):
        os.close(handle)
        raise RefusedError(f"{path} is not a plain file, so it is not read.")
    return os.fdopen(handle, "rb", buffering=0)


def read(path: Path) -> bytes:
    """Return the bytes of a file, opened by `open_file`."""
    with open_file(path) as file:
        if os.fstat(file.fileno()).st_size > _LARGEST:
            raise RefusedError(f"{path} is larger than any file of a search, so it is not read.")
        return file.read()


def read_small(path: Path, largest: int = 1 << 16) -> bytes | None:
    """Return up to `largest` bytes of a file; None if it does not exist."""
    try:
        with open_file(path) as file:
            return file.read(largest)
    except MISSING:
        return None


def list_names(folder: Path) -> list[str]:
    """Return the sorted names in a folder; empty if there is no folder."""
    with contextlib.suppress(*MISSING):
        return sorted(path.name for path in folder.iterdir())
    return []


def require_folder(path: Path) -> os.stat_result:
    """Return the status of a folder; refuse a link to one."""
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode):
        raise symlink_error(path)
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
    return found


def require_readable(folder: Path) -> None:
    """Raise `PermissionError` if this user may not read something in a folder or below it."""

    def refuse(error: OSError) -> None:
        raise error

    for place, _, files in os.walk(folder, onerror=refuse):
        for path in (Path(place) / file for file in files):
            if not path.is_symlink() and not os.access(path, os.R_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))


def symlink_error(path: Path) -> RefusedError:
    """Return the error for a symbolic link in a store."""
    return RefusedError(
        f"{path} is a symbolic link. A store follows none: anybody who can write to the folder "
        "could point it at any other file. Put the file or folder itself there."
    )


def link(source: Path, target: Path) -> None:
    """Give a file a second name, which must be free."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno in _LINK_ERRORS:
            raise UsageError(
                f"The folder {target.parent} {NO_HARD_LINKS}: {error.strerror}."
            ) from error
        raise


def remove(path: Path) -> None:
    """Delete a file or an empty folder, if it exists."""
    with contextlib.suppress(*MISSING):
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink()


def file_names(name: str, entry_id: str) -> tuple[str, str]:
    """Return two file names for `name`: a sanitized one, and one with a part of the id."""
    plain = _NOT_IN_FILE_NAMES.sub("_", name) or "_"
    # File systems allow 255 bytes, and suffixes are added to the name.
    plain = plain.encode(errors="replace")[:160].decode(errors="ignore")
    return plain, with_ending(plain, entry_id[:8])


def with_ending(file: str, ending: str = "") -> str:
    """Insert `~` and an ending (by default a random one) before a file name's suffix."""
    stem, dot, suffix = file.partition(".")
    return f"{stem}~{ending or uuid.uuid4().hex[:8]}{dot}{suffix}"


def trash_name(trash: Path, file: str, ending: str) -> str:
    """Return a free name in the trash: with this ending, or else with a random one."""
    name = with_ending(file, ending)
    return with_ending(file) if os.path.lexists(trash / name) else name


def create_store_folders(root: Path, hidden: Path) -> None:
    """Create a store's folders, or raise `UsageError` with the reason and leave nothing behind."""
    made = [path for path in (hidden, root, *root.parents) if not path.exists()]
    probe = hidden / f"probe-{uuid.uuid4().hex}"
    linked = probe.with_suffix(".link")
    problem = "cannot be used as a store"
    try:
        hidden.mkdir(parents=True, exist_ok=True)
        probe.touch()
        problem = NO_HARD_LINKS
        with contextlib.suppress(FileExistsError):  # a network file system may retry the call
            os.link(probe, linked)
    except OSError as error:
        for path in (linked, probe, *made):
            with contextlib.suppress(OSError):  # never created, or in use
                remove(path)
        raise UsageError(
            f"The folder {root} {problem}: {error.strerror}. Choose another one."
        ) from error
    linked.unlink()
    probe.unlink()
    for path in (hidden, *(path.parent for path in made)):
        sync_folder(path)


def translated_error(error: OSError, doing: str) -> StoreError:
    """Return the `StoreError` for an `OSError`; `doing` completes "Cannot ..."."""
    if isinstance(error, StoreError):
        return error
    if error.errno == errno.ENOTDIR and error.filename:
        place = os.fsdecode(error.filename)
        return RefusedError(f"Cannot {doing}: {place} is not a folder. Move it away.")
    if error.errno == errno.ELOOP and error.filename:
        return symlink_error(Path(os.fsdecode(error.filename)))
    kind = StoreError if error.errno is None else _KINDS.get(error.errno, StoreError)
    return kind(
        f"Cannot {doing}: {error.strerror}, {error.filename2 or error.filename or 'on this disk'}."
    )


def damaged_error(*paths: Path) -> ChecksumError:
    """Return the error for index files whose content is invalid."""
    return ChecksumError(
        f"{' and '.join(map(str, paths))} cannot be decoded: damaged, or edited by hand. Restore "
        "it from a copy of the folder, or let `colab-drive-tuner repair` rebuild it from the "
        "other files."
    )
