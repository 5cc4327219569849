"""Download of a notebook to a copy in the working directory, where hyperas reads it.

No user file is lost: a copy is replaced only if this package wrote it and it has not been changed
since. To know that, a marker for every copy (its sha256, and the process that uses it) is kept in
the platform's state folder, outside the user's folders. Any other file of that name is renamed.
Without markers (a new machine with an old working directory) a copy counts as the user's: a
superfluous file is kept, but none is lost.
"""

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from colab_drive_tuner.errors import NotebookError, NotebookWarning
from colab_drive_tuner.local_files import replace_file, sha256_of
from colab_drive_tuner.machine import process_start_time, state_folder
from colab_drive_tuner.notebook.cells import code_cells
from colab_drive_tuner.notebook.detect_running import content_in_browser
from colab_drive_tuner.notebook.find import Notebook, find_notebook
from colab_drive_tuner.warn_user import warn_user

if TYPE_CHECKING:
    from colab_drive_tuner.drive import DriveClient


def download_notebook(name: str | None = None, *, client: "DriveClient | None" = None) -> Path:
    """Copy a notebook into the working directory, and return the path of the copy.

    A notebook that is served from this disk is not copied; its own path is returned. An existing
    file is overwritten only if this package wrote it and it has not been changed since; any other
    file is renamed, and a `NotebookWarning` names it.

    Args:
        name: The notebook's name, Drive id or link; None: the running notebook.
        client: The connection to Drive; None: connect if it is needed.

    Returns:
        The path of the notebook on this disk.

    Raises:
        NotebookNotFoundError: There is no such notebook.
        AmbiguousNotebookError: Several notebooks match; the message lists them.
        NotebookError: The file is not a notebook, or the directory is not writable; no file has
            been replaced.
    """
    notebook = find_notebook(name, client=client)
    path = save_copy(notebook, client)
    warn_if_stale(notebook, path)
    return path


def save_copy(notebook: Notebook, client: "DriveClient | None" = None) -> Path:
    """Like `download_notebook`, for a notebook that has already been found."""
    if notebook.path is not None:
        return notebook.path
    path = working_directory() / notebook.local_name
    file = notebook.file
    if file is None:
        content = notebook.content or b""
    elif file.sha256 and path.is_file() and sha256_of(path) == file.sha256:
        content = path.read_bytes()
    else:
        from colab_drive_tuner.drive import DriveClient

        content = (client or DriveClient.connect()).download(file.id)
    aside = write_copy(path, content, file.id if file else "")
    if aside is not None:
        warn_user(
            f"{path.name} was not written by colab_drive_tuner, or has been changed since: it was "
            f"renamed to {aside.name}, and {path.name} is now the notebook from Drive.",
            NotebookWarning,
        )
    return path


def warn_if_stale(notebook: Notebook, path: Path) -> None:
    """Warn if the browser shows other code than the copy of the running notebook."""
    if not notebook.running or notebook.file is None:
        return
    if has_unsaved_changes(path.read_bytes()):
        warn_user(
            f"{notebook.name!r} has changes that are not saved in Drive yet, so the hyperas "
            "package would read outdated cells. Save it (Ctrl+S) and run the setup cell again.",
            NotebookWarning,
        )


def has_unsaved_changes(saved: bytes) -> bool:
    """Whether a browser page is open whose code cells differ from the saved notebook's."""
    opened = content_in_browser()
    try:
        return opened is not None and code_cells(opened, "page") != code_cells(saved, "file")
    except NotebookError:
        return False  # one of the two could not be parsed


@dataclass(frozen=True)
class CopyMarker:
    """Record of a copy that this package wrote."""

    path: str
    sha256: str
    source: str
    """The notebook's id in Drive, or "" if the content came from the browser."""
    pid: int
    started: str
    """Start time of the process `pid`, in the system's format; process ids are reused."""

    @property
    def in_use(self) -> bool:
        """Whether the process that made the copy is still running on this machine."""
        return process_start_time(self.pid) == self.started

    @property
    def intact(self) -> bool:
        """Whether the copy exists and is unchanged."""
        path = Path(self.path)
        return path.is_file() and not path.is_symlink() and sha256_of(path) == self.sha256


def write_copy(path: Path, content: bytes, source: str) -> Path | None:
    """Write the copy and its marker; return the new path of a file that was in its place."""
    code_cells(content, path.name)  # raises if it is not a notebook
    aside, digest = None, sha256_of(content)
    try:
        if path.is_dir():
            raise NotebookError(
                f"{path} is a folder, but the notebook's copy has to be written there: move it."
            )
        if path.is_symlink() or path.exists():
            ours = is_ours(path)
            if not path.is_symlink() and path.read_bytes() == content:
                if ours:  # this process uses it now
                    _write_marker(path, digest, source)
                return None
            if not ours:
                aside = _move_aside(path)
        replace_file(path, lambda sink: sink.write(content))
    except OSError as error:
        if aside is not None:
            with contextlib.suppress(OSError):  # then it keeps its new name
                aside.replace(path)
        raise NotebookError(
            f"The notebook's copy cannot be written to {path} ({error.strerror or error}); change "
            "to a writable directory and run the cell again."
        ) from error
    _write_marker(path, digest, source)
    return aside


def working_directory() -> Path:
    """Return the working directory; raise `NotebookError` if it has been removed."""
    try:
        return Path.cwd()
    except OSError as error:
        raise NotebookError(
            f"The working directory has been removed ({error.strerror}): change to another one, "
            "in a notebook with %cd, and run the cell again."
        ) from error


def is_ours(path: Path) -> bool:
    """Whether this package wrote the file and it has not been changed since."""
    return _intact_marker(path) is not None


def is_stale(path: Path) -> bool:
    """Whether the file is ours, unchanged, and was written for a process that has ended."""
    marker = _intact_marker(path)
    return marker is not None and not marker.in_use


def copy_markers() -> Iterator[CopyMarker]:
    """Read all markers of this machine; the copies themselves may be gone or changed."""
    try:
        folder = _markers_folder()
    except OSError:  # without a state folder there are no markers
        return
    for path in sorted(folder.glob("*.json")):
        marker = _read_marker(path)
        if marker is not None:
            yield marker


def remove_marker(path: Path) -> None:
    """Remove the marker of a copy that no longer exists."""
    _marker_path(path).unlink(missing_ok=True)


def _move_aside(path: Path) -> Path:
    """Rename the file to the first free name of `X (kept).ipynb`, `X (kept 2).ipynb`, ..."""
    number = 1
    while True:
        note = " (kept)" if number == 1 else f" (kept {number})"
        aside = path.with_name(path.stem + note + path.suffix)
        try:
            aside.touch(exist_ok=False)  # reserves the name
        except FileExistsError:
            number += 1
            continue
        try:
            return path.replace(aside)
        except OSError:
            aside.unlink()
            raise


def _write_marker(path: Path, sha256: str, source: str) -> None:
    pid = os.getpid()
    marker = CopyMarker(str(_absolute(path)), sha256, source, pid, process_start_time(pid) or "")
    # Without a writable state folder there is no marker: the copy then counts as the user's.
    with contextlib.suppress(OSError):
        text = json.dumps(asdict(marker)).encode()
        replace_file(_marker_path(path), lambda sink: sink.write(text))


def _intact_marker(path: Path) -> CopyMarker | None:
    """Return the marker of an unchanged copy; None for any other file."""
    try:
        marker = _read_marker(_marker_path(path))
    except OSError:  # without a state folder there are no markers
        return None
    return marker if marker is not None and marker.intact else None


def _read_marker(path: Path) -> CopyMarker | None:
    try:
        marker = CopyMarker(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    texts = (marker.path, marker.sha256, marker.source, marker.started)
    whole = all(type(text) is str and "\0" not in text for text in texts)
    return marker if whole and type(marker.pid) is int else None


def _marker_path(path: Path) -> Path:
    name = sha256_of(os.fsencode(_absolute(path)))[:32]
    return _markers_folder() / f"{name}.json"


def _markers_folder() -> Path:
    folder = state_folder() / "notebook-copies"
    folder.mkdir(exist_ok=True)
    return folder


def _absolute(path: Path) -> Path:
    """Resolve the links of the folder, but not of the file, which may be a user's link."""
    return path.parent.resolve() / path.name
