"""What a local disk is asked to promise: bytes that stay, names that fit, errors that say why."""

import contextlib
import errno
import os
import re
import shutil
import uuid
from pathlib import Path

from colab_drive_tuner.errors import (
    NotFoundError,
    QuotaError,
    RefusedError,
    StoreError,
    UnavailableError,
    UsageError,
)

_NOT_IN_FILE_NAMES = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]|^\.')
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_PASSING = {errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.EMFILE, errno.ENFILE}


def sync(folder: Path) -> None:
    """Wait until the names in `folder` are on the disk."""
    if os.name == "nt":  # Windows cannot open a folder, and keeps its names in a journal
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


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


def discard(path: Path) -> None:
    """Remove a file or an empty folder, if it is there."""
    with contextlib.suppress(FileNotFoundError):
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink()


def reserve_name(claims: Path, where: Path, name: str) -> str:
    """A file name for `name` that is free in `where`, claimed by a new file `<it>.json`.

    It is the name itself where a disk can bear it and nobody has it; else it gets a random ending.
    """
    plain = _NOT_IN_FILE_NAMES.sub("_", name) or "_"
    # 255 bytes are what disks take, and the name is followed by endings of ours.
    plain = plain.encode(errors="replace")[:180].decode(errors="ignore")
    stem, dot, ending = plain.partition(".")
    file = plain
    while True:
        if not os.path.lexists(where / file):
            with contextlib.suppress(FileExistsError):
                (claims / f"{file}.json").touch(exist_ok=False)
                return file
        file = f"{stem}~{uuid.uuid4().hex[:8]}{dot}{ending}"


def prepare(root: Path, hidden: Path) -> None:
    """Make the folder of a store, or raise `UsageError` with the reason and leave nothing."""
    made = [path for path in (hidden, root, *root.parents) if not path.exists()]
    probe = hidden / f"probe-{uuid.uuid4().hex}"
    linked = probe.with_suffix(".link")
    problem = "cannot be used as a store"
    try:
        hidden.mkdir(parents=True, exist_ok=True)
        probe.touch()
        problem = (
            "lies on a file system without hard links, as Colab's Drive mount and FAT are, where "
            "nothing can promise that a file is created only once; leave `store` out to use Drive "
            "itself, or name a folder on an ordinary disk"
        )
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
    for name in ("in/root", "marks", "ids"):  # `ids` last: where it stands, all is there
        (hidden / name).mkdir(parents=True, exist_ok=True)
    for path in (hidden / "in", hidden, *(path.parent for path in made)):
        sync(path)


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
    return kind(
        f"Cannot {doing}: {error.strerror}, {error.filename2 or error.filename or 'on this disk'}."
    )
