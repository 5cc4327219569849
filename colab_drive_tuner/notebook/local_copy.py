"""The notebook's copy in the working directory, where hyperas reads it; never at a file's expense.

A copy is replaced only where we wrote it and nobody changed it since: of every copy we keep a mark
(its sha256, and which process uses it) in the platform's state folder, outside of the user's
folders. Another file of that name is moved aside. Without marks (a new machine with an old working
directory) a copy of ours counts as the user's, which costs a file too many and never one too few.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from colab_drive_tuner.errors import NotebookError
from colab_drive_tuner.local_files import TEMPORARY_NAME, replace_file, sha256_of
from colab_drive_tuner.machine import process_start_time, state_folder
from colab_drive_tuner.notebook.cells import code_cells


@dataclass(frozen=True)
class Mark:
    """What we know of a copy that we wrote."""

    path: str
    sha256: str
    source: str
    """The notebook's id in Drive, or "" for one that only the browser had."""
    pid: int
    started: str
    """When the process `pid` began, in the system's own words; ids of processes come round."""

    @property
    def in_use(self) -> bool:
        """Whether the process for which the copy was made still lives on this machine."""
        return process_start_time(self.pid) == self.started

    @property
    def intact(self) -> bool:
        """Whether the copy is there and is still what we wrote."""
        path = Path(self.path)
        return path.is_file() and not path.is_symlink() and sha256_of(path) == self.sha256


def write_copy(path: Path, content: bytes, source: str) -> Path | None:
    """Make `path` hold `content`, and mark it; return where a file in its place was moved, if any.

    A file that holds the content already is left as it is, and only marked if we wrote it.
    """
    code_cells(content, path.name)  # raises where it is not a notebook
    aside, digest = None, hashlib.sha256(content).hexdigest()
    try:
        if path.is_dir():
            raise NotebookError(f"{path} is a folder; the notebook's copy belongs there: move it.")
        if path.is_symlink() or path.exists():
            ours = is_ours(path)
            if not path.is_symlink() and path.read_bytes() == content:
                if ours:
                    _set_mark(path, digest, source)
                return None
            if not ours:
                aside = _move_aside(path)
        replace_file(path, lambda sink: sink.write(content))
    except OSError as error:
        raise NotebookError(
            f"The notebook's copy cannot be written to {path} ({error.strerror or error}); change "
            "to a directory that can be written to and run the cell again."
        ) from error
    _set_mark(path, digest, source)
    return aside


def working_directory() -> Path:
    """Where hyperas looks for the copy; raises `NotebookError` where it was removed meanwhile."""
    try:
        return Path.cwd()
    except OSError as error:
        raise NotebookError(
            f"The working directory is gone ({error.strerror}): change to another one, in a "
            "notebook with %cd, and run the cell again."
        ) from error


def abandoned_parts(folder: Path) -> Iterator[Path]:
    """Half-written copies in a folder, of processes that have ended."""
    for part in sorted(folder.glob(".colab-drive-tuner-*.part")):
        match = TEMPORARY_NAME.fullmatch(part.name)
        if match is None or part.is_symlink() or not part.is_file():
            continue  # a file of the user's
        if process_start_time(int(match[1])) is None:
            yield part


def is_ours(path: Path) -> bool:
    """Whether we wrote the file at `path` and nobody changed it since."""
    mark = _mark_of(path)
    return mark is not None and mark.intact


def is_stale(path: Path) -> bool:
    """Whether we wrote the file for a process that has ended, and nobody changed it since."""
    mark = _mark_of(path)
    return mark is not None and mark.intact and not mark.in_use


def touch_mark(path: Path) -> None:
    """Note that this process uses the copy now; nothing happens if it is not ours."""
    mark = _mark_of(path)
    if mark is not None and mark.intact:
        _set_mark(path, mark.sha256, mark.source)


def marks() -> Iterator[Mark]:
    """The marks of all copies that this machine knows of; the copies may be gone or changed."""
    try:
        folder = _marks_folder()
    except OSError:  # no state folder, so no marks
        return
    for path in sorted(folder.glob("*.json")):
        mark = _read_mark(path)
        if mark is not None:
            yield mark


def forget(path: Path) -> None:
    """Remove the mark of a copy that is gone."""
    _mark_path(path).unlink(missing_ok=True)


def _move_aside(path: Path) -> Path:
    """Rename the file to a name that nobody has: `X (kept).ipynb`, `X (kept 2).ipynb`, ..."""
    number = 1
    while True:
        note = " (kept)" if number == 1 else f" (kept {number})"
        room = 255 - len((note + path.suffix).encode())
        stem = path.stem.encode(errors="surrogateescape")[:room].decode(errors="ignore")
        aside = path.with_name(stem + note + path.suffix)
        try:
            aside.touch(exist_ok=False)  # claims the name, so that two cannot take the same one
        except FileExistsError:
            number += 1
            continue
        return path.replace(aside)


def _set_mark(path: Path, sha256: str, source: str) -> None:
    pid = os.getpid()
    mark = Mark(str(_absolute(path)), sha256, source, pid, process_start_time(pid) or "")
    # Where the state folder cannot be written to there are no marks: copies count as the user's.
    with contextlib.suppress(OSError):
        text = json.dumps(asdict(mark)).encode()
        replace_file(_mark_path(path), lambda sink: sink.write(text))


def _mark_of(path: Path) -> Mark | None:
    try:
        return _read_mark(_mark_path(path))
    except OSError:  # no state folder, so no marks
        return None


def _read_mark(path: Path) -> Mark | None:
    try:
        mark = Mark(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    texts = (mark.path, mark.sha256, mark.source, mark.started)
    whole = all(type(text) is str and "\0" not in text for text in texts)
    return mark if whole and type(mark.pid) is int else None


def _mark_path(path: Path) -> Path:
    name = hashlib.sha256(os.fsencode(_absolute(path))).hexdigest()[:32]
    return _marks_folder() / f"{name}.json"


def _marks_folder() -> Path:
    folder = state_folder() / "notebook-copies"
    folder.mkdir(exist_ok=True)
    return folder


def _absolute(path: Path) -> Path:
    """The path with its folder's links resolved, the file's own not: it may be the user's link."""
    return path.parent.resolve() / path.name
