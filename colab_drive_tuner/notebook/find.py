"""Lookup of a notebook: the one named, else the one that runs, else the only one in Drive.

Guessing between notebooks would let hyperas read the wrong one without a word, so whatever is not
certain is an error that lists the candidates and says how to choose.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from colab_drive_tuner.errors import (
    AmbiguousNotebookError,
    CredentialsError,
    NotebookError,
    NotebookNotFoundError,
    NotFoundError,
    StoreError,
    UsageError,
)
from colab_drive_tuner.notebook.detect_running import Running, content_in_browser, running_notebook
from colab_drive_tuner.text import visible

if TYPE_CHECKING:
    from pathlib import Path

    from colab_drive_tuner.drive import DriveClient, DriveFile

COLAB_TYPES = ("application/vnd.google.colaboratory", "application/vnd.google.colab")
UPLOADED_TYPES = ("application/x-ipynb+json", "application/json", "application/octet-stream")
_SUFFIX = ".ipynb"
_UNSEEN = "a folder not shared with you"
_ID = re.compile(r"[A-Za-z0-9_-]{19,}")
_ID_IN_LINK = re.compile(
    r"https?://(?:colab\.research|drive|colab\.cloud)\.google\.com(?=/)\S*?"
    r"(?:/drive/|/d/|[?&]id=|fileId=)([A-Za-z0-9_-]{19,})"
)


@dataclass(frozen=True)
class Notebook:
    """A notebook, and where its content is to be had: on this disk, in Drive, or in the browser."""

    name: str
    """As people see it, without `.ipynb`."""
    path: "Path | None" = None
    """Where it is served from on this very disk; then nothing needs to be downloaded."""
    file: "DriveFile | None" = None
    """What Drive says about it."""
    content: bytes | None = None
    """Its content as open in the browser, where Drive has none that we can read."""
    running: bool = False
    """It is the notebook that runs this code."""

    @property
    def local_name(self) -> str:
        """Its file name in a working directory: what no file system takes is replaced by `_`."""
        stem = re.sub(r"[/\x00-\x1f\x7f\ud800-\udfff]", "_", self.name) or "_"
        while len((stem + _SUFFIX).encode()) > 255:
            stem = stem[:-1]
        return stem + _SUFFIX


def find_notebook(name: str | None = None, *, client: "DriveClient | None" = None) -> Notebook:
    """Return the notebook that is named, or the one that runs here.

    Args:
        name: The notebook's name, Drive id or link; None: the one that runs here, or, where the
            runtime cannot say which that is, the only notebook in Drive.
        client: Drive; None: connected to if it has to be asked.

    Raises:
        NotebookNotFoundError: There is no such notebook.
        AmbiguousNotebookError: Several fit; the message lists them.
    """

    def connect() -> "DriveClient":
        from colab_drive_tuner.drive import DriveClient

        return client or DriveClient.connect()

    return locate(name, connect, content_in_browser)


def locate(
    name: str | None,
    connect: Callable[[], "DriveClient"],
    page: Callable[[], dict[str, Any] | None],
) -> Notebook:
    """`find_notebook` for one who knows whom to ask: Drive by `connect()`, the browser by `page()`.

    Both are called only if need be; `connect` may raise what it likes.
    """
    running = running_notebook(page)
    if name is not None:
        if not name.strip():
            raise UsageError("The notebook's name is empty; leave it out to use the running one.")
        if running is not None and stem(running.name) == stem(name):
            if running.path is not None or running.drive_id is not None:
                return _the_running(running, connect, page)
        return _the_named(name, connect())
    if running is not None:
        return _the_running(running, connect, page)
    return _the_only_one(connect())


def stem(name: str) -> str:
    """A notebook's name without `.ipynb`."""
    return name.removesuffix(_SUFFIX)


def is_notebook(file: "DriveFile") -> bool:
    """Whether Drive's type and name say that this is a notebook, Colab's own or an uploaded one."""
    uploaded = file.mime_type in UPLOADED_TYPES and file.name.endswith(_SUFFIX)
    return file.mime_type in COLAB_TYPES or uploaded


def _the_running(
    running: Running,
    connect: Callable[[], "DriveClient"],
    page: Callable[[], dict[str, Any] | None],
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
    content = page()
    if content is not None:
        return Notebook(shown, content=_saved(content, shown), running=True)
    if running.drive_id is None and not running.elsewhere:
        return replace(_the_named(running.name, connect()), running=True)
    raise NotebookNotFoundError(
        f"{why}. Searches work without it; only the hyperas package needs it: save a copy in "
        "Drive and name it with setup(notebook=...)."
    )


def _saved(content: dict[str, Any], name: str) -> bytes:
    """What the browser shows, as a file; all is escaped, for half an emoji would be no UTF-8."""
    try:
        return json.dumps(content, indent=1).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise NotebookError(
            f"The browser shows {name!r} in a form that cannot be saved ({error}); save a copy in "
            "Drive and name it with setup(notebook=...)."
        ) from None


def _the_named(name: str, client: "DriveClient") -> Notebook:
    link = _ID_IN_LINK.match(name.strip())
    if link is not None or _ID.fullmatch(name):
        try:
            file = client.get(link[1] if link else name)
        except NotFoundError:
            if link is not None:
                raise NotebookNotFoundError(
                    f"{client.account()} sees no file in Drive behind {name!r}; check the link, "
                    "or ask its owner to share it."
                ) from None
        else:
            if file.mime_type not in (*COLAB_TYPES, *UPLOADED_TYPES):
                raise NotebookError(
                    f"{file.name!r} (Drive id {file.id}) is not a notebook but "
                    f"{file.mime_type}; name a notebook."
                )
            return Notebook(stem(file.name), file=file)
    found = [file for file in client.find(name) if is_notebook(file)]
    if not found or not name.endswith(_SUFFIX):
        other = stem(name) if name.endswith(_SUFFIX) else name + _SUFFIX
        found += [file for file in client.find(other) if is_notebook(file)]
    if not found:
        raise NotebookNotFoundError(
            f"{client.account()} has no notebook named {name!r} in Drive. Check the name (upper "
            "and lower case count), or give its Drive id or link."
        )
    return _single(found, f"are named {name!r}", client)


def _the_only_one(client: "DriveClient") -> Notebook:
    # Uploaded notebooks have the types of everything else, too: a long list, so only if need be.
    found: list[DriveFile] = []
    for types in ((*COLAB_TYPES, UPLOADED_TYPES[0]), UPLOADED_TYPES):
        found = found or [file for file in client.find(mime_types=types) if is_notebook(file)]
    if not found:
        raise NotebookNotFoundError(
            "This runtime does not say which notebook it runs, and there is none in the Drive of "
            f"{client.account()}; name one with setup(notebook=...)."
        )
    return _single(found, "could be the running one", client)


def _single(files: list["DriveFile"], what: str, client: "DriveClient") -> Notebook:
    """The one that was found; of several the error lists the last modified ones to choose from."""
    if len(files) == 1:
        return Notebook(stem(files[0].name), file=files[0])
    folders: dict[str, str] = {}
    files = sorted(files, key=lambda file: -file.modified)
    lines = []
    for file in files[:10]:
        when = datetime.fromtimestamp(file.modified, UTC).strftime("%Y-%m-%d %H:%M UTC")
        owner = visible(", ".join(file.owners)) or "a shared drive"
        where = " and ".join(_folder(parent, client, folders) for parent in file.parents)
        where = where or _UNSEEN
        lines.append(f"  {file.id}  {file.name!r}, owner {owner}, in {where}, modified {when}")
    if len(files) > 10:
        lines.append(f"  and {len(files) - 10} more")
    raise AmbiguousNotebookError(
        f"{len(files)} notebooks in Drive {what}:\n" + "\n".join(lines) + "\n"
        f"Choose one by its id: setup(notebook={files[0].id!r})."
    )


def _folder(folder_id: str, client: "DriveClient", known: dict[str, str]) -> str:
    if folder_id not in known:
        try:
            known[folder_id] = repr(client.get(folder_id).name)
        except StoreError:
            known[folder_id] = _UNSEEN
    return known[folder_id]
