"""File-system primitives: durable writes, reads that follow no link, safe names, plain errors."""

import contextlib
import errno
import os
import re
import shutil
import stat
import uuid
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
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_PASSING = {errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.EMFILE, errno.ENFILE}
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
# Neither a link is followed nor a pipe waited for; Windows has the last of these only.
_PLAINLY = sum(
    getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY")
)
NO_LINKS = (
    "lies on a file system without hard links, as Colab's Drive mount and FAT are, where nothing "
    "can promise that a file is created only once; leave `store` out to use Drive itself, or name "
    "a folder on an ordinary disk"
)


NOT_THERE = FileNotFoundError, NotADirectoryError
"""What says that nothing lies under a path; the second one that a file lies in a folder's place."""


def write(path: Path, content: bytes | Path) -> None:
    """Write a file and wait until its bytes (not yet its name) are on the disk."""
    with path.open("wb") as target:
        if isinstance(content, Path):
            with content.open("rb") as source:
                shutil.copyfileobj(source, target, 1 << 20)
        else:
            target.write(content)
        target.flush()
        os.fsync(target.fileno())


def write_new(path: Path, content: bytes) -> None:
    """Write a small file that must not exist yet, without waiting for the disk."""
    with path.open("xb", buffering=0) as file:
        file.write(content)


def make_folders(home: Path, *names: str) -> Path:
    """The folder `home/<names…>`, made on the disk where it is missing."""
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
    """Open a file for reading; anything but a plain file is refused, and no link is followed."""
    try:
        handle = os.open(path, os.O_RDONLY | _PLAINLY)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise link_refused(path) from error
        raise
    follows = not hasattr(os, "O_NOFOLLOW")
    if not stat.S_ISREG(os.fstat(handle).st_mode) or (follows and path.is_symlink()):
        os.close(handle)
        raise RefusedError(f"{path} is not a plain file, so it is not read.")
    return os.fdopen(handle, "rb", buffering=0)


def read(path: Path) -> bytes:
    """The bytes of a file, as `open_file` opens it."""
    with open_file(path) as file:
        return file.read()


def read_small(path: Path, largest: int = 1 << 16) -> bytes | None:
    """The bytes of a file of ours, or None where there is none; the start of one that is larger."""
    try:
        with open_file(path) as file:
            return file.read(largest)
    except NOT_THERE:
        return None


def names(folder: Path) -> list[str]:
    """What lies in a folder, in order; nothing where there is no folder."""
    with contextlib.suppress(*NOT_THERE):
        return sorted(path.name for path in folder.iterdir())
    return []


def require_folder(path: Path) -> os.stat_result:
    """The state of a folder; a link to one is refused, whoever made it and wherever it leads."""
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode):
        raise link_refused(path)
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
    return found


def link_refused(path: Path) -> RefusedError:
    """The error for a symbolic link inside of a store."""
    return RefusedError(
        f"{path} is a symbolic link. A store follows none: whoever may write to the folder could "
        "point it at any other file. Put the file or folder itself there."
    )


def link(source: Path, target: Path) -> None:
    """Give a file a second name, which must be free."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno in _NO_LINKS:
            raise UsageError(f"The folder {target.parent} {NO_LINKS}: {error.strerror}.") from error
        raise


def discard(path: Path) -> None:
    """Remove a file or an empty folder, if it is there."""
    with contextlib.suppress(*NOT_THERE):
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink()


def file_names(name: str, entry_id: str) -> tuple[str, str]:
    """File names for `name`: itself as far as a disk can bear it, and with an end of the id's."""
    plain = _NOT_IN_FILE_NAMES.sub("_", name) or "_"
    # 255 bytes are what disks take, and the name is followed by endings of ours.
    plain = plain.encode(errors="replace")[:160].decode(errors="ignore")
    return plain, with_ending(plain, entry_id[:8])


def with_ending(file: str, ending: str = "") -> str:
    """A file name with `~` and an ending, a random one where none is given, before its suffix."""
    stem, dot, suffix = file.partition(".")
    return f"{stem}~{ending or uuid.uuid4().hex[:8]}{dot}{suffix}"


def trash_name(trash: Path, file: str, ending: str) -> str:
    """A name in the trash that is free: the file's with that ending, else with a random one."""
    name = with_ending(file, ending)
    return with_ending(file) if os.path.lexists(trash / name) else name


def prepare(root: Path, hidden: Path) -> None:
    """Make the folder of a store, or raise `UsageError` with the reason and leave nothing."""
    made = [path for path in (hidden, root, *root.parents) if not path.exists()]
    probe = hidden / f"probe-{uuid.uuid4().hex}"
    linked = probe.with_suffix(".link")
    problem = "cannot be used as a store"
    try:
        hidden.mkdir(parents=True, exist_ok=True)
        probe.touch()
        problem = NO_LINKS
        with contextlib.suppress(FileExistsError):  # the answer of a network's disk to a retry
            os.link(probe, linked)
    except OSError as error:
        for path in (linked, probe, *made):
            with contextlib.suppress(OSError):  # never made, or in use by somebody else
                discard(path)
        raise UsageError(
            f"The folder {root} {problem}: {error.strerror}. Choose another one."
        ) from error
    linked.unlink()
    probe.unlink()
    for path in (hidden, *(path.parent for path in made)):
        sync_folder(path)


def meaning(error: OSError, doing: str) -> StoreError:
    """The error of ours that says what the operating system said, about `doing`."""
    kind: type[StoreError] = StoreError
    if error.errno in _NO_ROOM:
        kind = QuotaError
    elif error.errno in _FORBIDDEN:
        kind = RefusedError
    elif error.errno in _PASSING:
        kind = UnavailableError
    elif error.errno == errno.ENOENT:
        kind = NotFoundError
    elif error.errno == errno.ENOTDIR and error.filename:
        place = os.fsdecode(error.filename)
        return RefusedError(f"Cannot {doing}: {place} is no folder. Move away what lies there.")
    elif error.errno == errno.ELOOP and error.filename:
        return link_refused(Path(os.fsdecode(error.filename)))
    return kind(
        f"Cannot {doing}: {error.strerror}, {error.filename2 or error.filename or 'on this disk'}."
    )


def damaged(*paths: Path) -> ChecksumError:
    """The error for small files of ours that do not say what was written into them."""
    return ChecksumError(
        f"{' and '.join(map(str, paths))} cannot be understood: damaged, or edited by hand. Put it "
        "back from a copy of the folder; or let `colab-drive-tuner repair` go on from what lies "
        "beside it."
    )
