"""Download of the running notebook to a local copy, from which hyperas reads the cells."""

from pathlib import Path
from typing import TYPE_CHECKING

from colab_drive_tuner.errors import NotebookError, NotebookWarning
from colab_drive_tuner.local_files import sha256_of
from colab_drive_tuner.notebook.cells import code_cells
from colab_drive_tuner.notebook.detect_running import content_in_browser
from colab_drive_tuner.notebook.find import Notebook, find_notebook
from colab_drive_tuner.notebook.local_copy import refresh_marker, working_directory, write_copy
from colab_drive_tuner.user_warnings import warn_user

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
    if notebook.content is not None:
        content, source = notebook.content, ""
    else:
        file = notebook.file
        if file is None:
            raise ValueError("a Notebook has a path, a file or content")
        if file.sha256 and path.is_file() and sha256_of(path) == file.sha256:
            refresh_marker(path)
            content, source = path.read_bytes(), file.id
        else:
            from colab_drive_tuner.drive import DriveClient

            content = (client or DriveClient.connect()).download(file.id)
            source = file.id
    aside = write_copy(path, content, source)
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
