"""The running notebook, and a local copy of it where hyperas looks for one."""

from pathlib import Path
from typing import TYPE_CHECKING

from colab_drive_tuner.errors import NotebookError, NotebookWarning
from colab_drive_tuner.local_files import sha256_of
from colab_drive_tuner.notebook.cells import code_cells
from colab_drive_tuner.notebook.detect_running import content_in_browser
from colab_drive_tuner.notebook.find import Notebook, find_notebook
from colab_drive_tuner.notebook.local_copy import touch_mark, working_directory, write_copy
from colab_drive_tuner.user_warnings import warn_user

if TYPE_CHECKING:
    from colab_drive_tuner.drive import DriveClient

__all__ = [
    "Notebook",
    "download_notebook",
    "find_notebook",
    "page_differs",
    "save_copy",
    "warn_if_stale",
]


def download_notebook(name: str | None = None, *, client: "DriveClient | None" = None) -> Path:
    """Return the path of the notebook on this disk, after a copy into the working directory.

    A notebook that is served from this very disk is not copied. A copy replaces only one that this
    package wrote and nobody changed; another file of its name is kept under a new name, and a
    `NotebookWarning` says which.

    Args:
        name: The notebook's name, Drive id or link; None: the one that runs here.
        client: Drive; None: connected to if it has to be asked.

    Raises:
        NotebookNotFoundError: There is no such notebook.
        AmbiguousNotebookError: Several fit; the message lists them.
        NotebookError: The file is not a notebook, or the directory cannot be written to; nothing
            has been replaced.
    """
    notebook = find_notebook(name, client=client)
    path = save_copy(notebook, client)
    warn_if_stale(notebook, path)
    return path


def save_copy(notebook: Notebook, client: "DriveClient | None" = None) -> Path:
    """`download_notebook` for a notebook that has been found."""
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
            touch_mark(path)
            content, source = path.read_bytes(), file.id
        else:
            from colab_drive_tuner.drive import DriveClient

            content = (client or DriveClient.connect()).download(file.id)
            source = file.id
    aside = write_copy(path, content, source)
    if aside is not None:
        warn_user(
            f"{path.name} was not a copy that we made, or somebody changed it: it is kept as "
            f"{aside.name}, and {path.name} is now the notebook from Drive.",
            NotebookWarning,
        )
    return path


def warn_if_stale(notebook: Notebook, path: Path) -> None:
    """Warn where the page shows other code than the copy of the running notebook has."""
    if not notebook.running or notebook.file is None:
        return
    if page_differs(path.read_bytes()):
        warn_user(
            f"{notebook.name!r} has changes that are not saved in Drive yet, so the hyperas "
            "package would read old cells. Save it (Ctrl+S) and run the setup cell again.",
            NotebookWarning,
        )


def page_differs(saved: bytes) -> bool:
    """Whether a page is open that shows other code than this content of the notebook has."""
    opened = content_in_browser()
    try:
        return opened is not None and code_cells(opened, "page") != code_cells(saved, "file")
    except NotebookError:
        return False  # what cannot be compared is not called stale
