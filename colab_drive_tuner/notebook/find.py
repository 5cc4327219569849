"""Lookup of a notebook: by name, else the running one, else the only one in Drive.

A wrong guess would let hyperas silently read another notebook. An ambiguous lookup is therefore an
error that lists the candidates and says how to choose one.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from colab_drive_tuner.errors import (
    AmbiguousNotebookError,
    CredentialsError,
    NotebookError,
    NotebookNotFoundError,
    NotFoundError,
    StoreError,
    UsageError,
)
from colab_drive_tuner.notebook.detect_running import (
    RunningNotebook,
    content_in_browser,
    running_notebook,
)
from colab_drive_tuner.text import utc_time, visible

if TYPE_CHECKING:
    from pathlib import Path

    from colab_drive_tuner.drive import DriveClient, DriveFile

COLAB_TYPES = ("application/vnd.google.colaboratory", "application/vnd.google.colab")
UPLOADED_TYPES = ("application/x-ipynb+json", "application/json", "application/octet-stream")
_SUFFIX = ".ipynb"
_UNKNOWN_FOLDER = "a folder not shared with you"
_ID = re.compile(r"[A-Za-z0-9_-]{19,}")
_ID_IN_LINK = re.compile(
    r"(?:https?://)?(?:colab\.research|drive|colab\.cloud)\.google\.com(?=/)\S*?"
    r"(?:/drive/|/d/|[?&]id=|fileId=)([A-Za-z0-9_-]{19,})"
)


@dataclass(frozen=True)
class Notebook:
    """A notebook with the location of its content: this disk, Drive or the browser."""

    name: str
    """The displayed name, without `.ipynb`."""
    path: "Path | None" = None
    """Its path, if it is served from this disk; then no download is needed."""
    file: "DriveFile | None" = None
    content: bytes | None = None
    """Its content as open in the browser, if there is no readable file in Drive."""
    running: bool = False
    """Whether it is the notebook that runs this code."""

    @property
    def local_name(self) -> str:
        """File name for the local copy; characters that file systems reject become `_`."""
        stem = re.sub(r"[/\x00-\x1f\x7f\ud800-\udfff]", "_", self.name) or "_"
        while len((stem + _SUFFIX).encode()) > 255:
            stem = stem[:-1]
        return stem + _SUFFIX


def find_notebook(name: str | None = None, *, client: "DriveClient | None" = None) -> Notebook:
    """Find a notebook by its name, or the running notebook.

    Args:
        name: The notebook's name, Drive id or link; None: the running notebook, or, if it cannot be
            detected, the only notebook in Drive.
        client: The connection to Drive; None: connect if it is needed.

    Returns:
        The notebook.

    Raises:
        NotebookNotFoundError: There is no such notebook.
        AmbiguousNotebookError: Several notebooks match; the message lists them.
    """

    def connect() -> "DriveClient":
        from colab_drive_tuner.drive import DriveClient

        return client or DriveClient.connect()

    return locate(name, connect, browser=True)


def locate(name: str | None, connect: Callable[[], "DriveClient"], *, browser: bool) -> Notebook:
    """Like `find_notebook`; connects to Drive and reads the browser's content only if needed."""
    running = running_notebook(browser=browser)
    if name is not None:
        if not isinstance(name, str):
            raise UsageError(f"The notebook's name must be a text, not {name!r}.")
        if not name.strip():
            raise UsageError("The notebook's name is empty; leave it out to use the running one.")
        if running is not None and stem(running.name) == stem(name):
            if running.path is not None or running.drive_id is not None:
                return _resolve_running(running, connect, browser=browser)
        return _resolve_named(name, connect())
    if running is not None:
        return _resolve_running(running, connect, browser=browser)
    return _only_notebook(connect())


def stem(name: str) -> str:
    """Return a notebook's name without `.ipynb`."""
    return name.removesuffix(_SUFFIX)


def is_notebook(file: "DriveFile") -> bool:
    """Whether a file is a notebook by its type and name: one of Colab's, or an uploaded one."""
    uploaded = file.mime_type in UPLOADED_TYPES and file.name.endswith(_SUFFIX)
    return file.mime_type in COLAB_TYPES or uploaded


def _resolve_running(
    running: RunningNotebook, connect: Callable[[], "DriveClient"], *, browser: bool
) -> Notebook:
    if running.path is not None:
        return Notebook(stem(running.name), path=running.path, running=True)
    shown = stem(running.name)
    why = (
        f"The running notebook {shown!r} was not opened from Drive (from GitHub, perhaps, or in an "
        "editor on another computer)"
    )
    if running.drive_id is not None:
        try:
            client = connect()
            file = client.get(running.drive_id)
            return Notebook(stem(file.name), file=file, running=True)
        except CredentialsError:
            why = f"Nobody is signed in to Drive, where the running notebook {shown!r} is saved"
        except NotFoundError:
            why = (
                f"The running notebook {shown!r} (Drive id {running.drive_id}) cannot be seen by "
                f"{client.account()}: another account may have opened it"
            )
    content = content_in_browser() if browser else None
    if content is not None:
        encoded = json.dumps(content, indent=1).encode()  # ASCII: half an emoji is no UTF-8
        return Notebook(shown, content=encoded, running=True)
    if running.drive_id is None and not running.elsewhere:
        return replace(_resolve_named(running.name, connect()), running=True)
    raise NotebookNotFoundError(
        f"{why}. Searches work without it. To use the hyperas package, which needs it, save a copy "
        "in Drive and name it with setup(notebook=...)."
    )


def _resolve_named(name: str, client: "DriveClient") -> Notebook:
    if (notebook := _notebook_by_id(name, client)) is not None:
        return notebook
    found = _notebooks_named(name, client)
    if not found or not name.endswith(_SUFFIX):
        other = stem(name) if name.endswith(_SUFFIX) else name + _SUFFIX
        found |= _notebooks_named(other, client)
    if not found and "://" in name:
        raise NotebookNotFoundError(
            f"{name!r} is not a link to a notebook in Drive. Save a copy in Drive, and give that "
            "one's name or link."
        )
    if not found:
        raise NotebookNotFoundError(
            f"{client.account()} has no notebook named {name!r} in Drive. Check the name (it is "
            "case-sensitive), or give its Drive id or link."
        )
    return _require_single(list(found.values()), f"are named {name!r}", client)


def _notebook_by_id(name: str, client: "DriveClient") -> Notebook | None:
    """Return the notebook that a link or an id leads to; None if `name` is only a name."""
    link = _ID_IN_LINK.match(name.strip())
    if link is None and not _ID.fullmatch(name):
        return None
    try:
        file = client.target(client.get(link[1] if link else name))
    except NotFoundError:
        if link is None:
            return None
        raise NotebookNotFoundError(
            f"{client.account()} cannot see the file in Drive that {name!r} links to; check the "
            "link, or ask its owner to share it."
        ) from None
    if file.mime_type not in (*COLAB_TYPES, *UPLOADED_TYPES):
        raise NotebookError(
            f"{file.name!r} (Drive id {file.id}) is not a notebook but a file of type "
            f"{file.mime_type}; name a notebook."
        )
    return Notebook(stem(file.name), file=file)


def _notebooks_named(name: str, client: "DriveClient") -> dict[str, "DriveFile"]:
    """Return the notebooks of exactly this name by their ids, also those that shortcuts lead to."""
    found = map(client.target, client.find(name))
    return {file.id: file for file in found if is_notebook(file) and not file.trashed}


def _only_notebook(client: "DriveClient") -> Notebook:
    # Uploaded notebooks share their types with many other files, so they are listed only if needed.
    found: list[DriveFile] = []
    for types in ((*COLAB_TYPES, UPLOADED_TYPES[0]), UPLOADED_TYPES):
        found = found or [
            file
            for file in client.find(mime_types=types)
            if is_notebook(file) and not _is_executed(file)
        ]
    if not found:
        raise NotebookNotFoundError(
            "The running notebook cannot be detected in this runtime, and there is no notebook in "
            f"the Drive of {client.account()}; name one with setup(notebook=...)."
        )
    return _require_single(found, "could be the running one", client)


def _is_executed(file: "DriveFile") -> bool:
    """Whether it is a notebook that `rerun` has kept after a run, in `runs/` of a search."""
    return any(key.startswith("cdt_") for key in file.properties)


def _require_single(files: list["DriveFile"], problem: str, client: "DriveClient") -> Notebook:
    """Return the only file; for several raise an error that lists the ten last modified ones."""
    if len(files) == 1:
        return Notebook(stem(files[0].name), file=files[0])
    folders: dict[str, str] = {}
    files = sorted(files, key=lambda file: -file.modified)
    lines = []
    for file in files[:10]:
        owner = visible(", ".join(file.owners)) or "a shared drive"
        where = " and ".join(_folder(parent, client, folders) for parent in file.parents)
        where = where or _UNKNOWN_FOLDER
        when = utc_time(file.modified)
        lines.append(f"  {file.id}  {file.name!r}, owner {owner}, in {where}, modified {when}")
    if len(files) > 10:
        lines.append(f"  and {len(files) - 10} more")
    raise AmbiguousNotebookError(
        f"{len(files)} notebooks in Drive {problem}:\n" + "\n".join(lines) + "\n"
        f"Choose one by its id: setup(notebook={files[0].id!r})."
    )


def _folder(folder_id: str, client: "DriveClient", known: dict[str, str]) -> str:
    if folder_id not in known:
        try:
            known[folder_id] = repr(client.get(folder_id).name)
        except StoreError:
            known[folder_id] = _UNKNOWN_FOLDER
    return known[folder_id]
