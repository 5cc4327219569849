"""Search for what older runs left behind, here, in Drive and in the store; it only looks.

A file is known by our mark or by its content, never by its name alone: people have notebooks called
"Copy of quickstart" and modules called temp_model.py. `leftovers.remove` does the rest.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from colab_drive_tuner.errors import CredentialsError, NotebookWarning, NotFoundError, StoreError
from colab_drive_tuner.notebook.detect_running import running_notebook
from colab_drive_tuner.notebook.find import Notebook, is_notebook, stem
from colab_drive_tuner.notebook.local_copy import marks, working_directory
from colab_drive_tuner.troubleshoot.clean.leftovers import Leftover
from colab_drive_tuner.troubleshoot.clean.local_leftovers import (
    abandoned_copies,
    hyperas_modules,
    notebook_copies,
    spools,
    temporary_folders,
)
from colab_drive_tuner.troubleshoot.clean.search_leftovers import search_leftovers
from colab_drive_tuner.troubleshoot.doctor.context import CheckContext
from colab_drive_tuner.user_warnings import warn_user

if TYPE_CHECKING:
    from colab_drive_tuner.drive import DriveClient, DriveFile
    from colab_drive_tuner.store.protocol import Store


def find_leftovers(
    directory: Path | None = None,
    *,
    notebook: Notebook | None = None,
    client: "DriveClient | None" = None,
    store: "Store | Path | str | None" = None,
) -> list[Leftover]:
    """List what is stale in a directory (the working directory), in Drive and in the store.

    Changes nothing. `store` is where searches are kept, as `open_store` has it; raises
    `NotFoundError` where it was named, by argument or environment, and is not there.

    `notebook` is the running one, else it is found out, or taken to be the one whose copy lies
    here: neither it nor a copy in use is ever listed, but its duplicates in Drive are. Without
    `client` Drive is asked where nobody needs to be prompted for it.
    """
    context = CheckContext(store)
    if context.folder_spec is not None and context.made_store is None:
        context.store.stat(context.store.root)  # raises: a slip has no leftovers
    folder = (directory or working_directory()).resolve()
    found = [*notebook_copies(folder, notebook), *abandoned_copies(folder)]
    found += [*hyperas_modules(folder), *temporary_folders()]
    if client is not None:
        context.client = client
    with _else_warning("Duplicates in Drive"):
        running = _in_drive(folder, notebook, context.client)
        if running is not None:
            found += _duplicates(running, context.client)
    with _else_warning("Leftovers of searches"):
        if (where := context.made_store) is not None:
            found += [*search_leftovers(where), *spools(where)]
    return found


@contextmanager
def _else_warning(what: str) -> Iterator[None]:
    """Warn where something cannot be listed; where nobody is signed in there is nothing to list."""
    try:
        yield
    except CredentialsError:
        pass
    except (StoreError, OSError) as error:
        warn_user(f"{what} are not listed: {error}", NotebookWarning)


def _in_drive(folder: Path, notebook: Notebook | None, client: "DriveClient") -> "DriveFile | None":
    """What Drive says about the running notebook, or about the one whose copy lies here."""
    if notebook is not None:
        return notebook.file
    running = running_notebook(lambda: None)
    copies = {mark.source for mark in marks() if Path(mark.path).parent == folder}
    wanted = running.drive_id if running is not None else None
    if wanted is None and len(copies) == 1:
        (wanted,) = copies
    try:
        return client.get(wanted) if wanted else None
    except NotFoundError:
        return None


def _duplicates(running: "DriveFile", client: "DriveClient") -> Iterator[Leftover]:
    """Notebooks that look like copies of the running one: in its folder, or of exactly its name."""
    seen = {running.id}
    nearby = [file for parent in running.parents for file in client.list_folder(parent)]
    for file in [*nearby, *client.find(running.name)]:
        if file.id in seen or not is_notebook(file):
            continue
        seen.add(file.id)
        if _is_named_like_copy(file.name, running.name):
            yield Leftover(
                kind="possible duplicate",
                id=file.id,
                where=f"{file.name!r} in Drive, {file.web_view_link or file.id}",
                reason=(
                    f"It is named like a copy of the running notebook {running.name!r}; people "
                    "name notebooks so themselves, so look at it first."
                ),
                ours=False,
                still=partial(_is_unchanged, client, file),
                put_away=partial(_trash, client, file),
            )


def _trash(client: "DriveClient", file: "DriveFile") -> str:
    client.trash(file.id)
    return "the trash of Drive, for 30 days"


def _is_unchanged(client: "DriveClient", file: "DriveFile") -> bool:
    now = client.get(file.id)
    return not now.trashed and (now.sha256, now.name) == (file.sha256, file.name)


def _is_named_like_copy(name: str, original: str) -> bool:
    """Whether a name is the original's, or has words before it, or a number behind.

    Drive writes "Copy of" in the language of its user, and all it proves is that it is to be shown.
    """
    pattern = rf"(?:.+ )?{re.escape(stem(original))}(?:\.ipynb)?(?: \(\d+\))?(?:\.ipynb)?"
    return re.fullmatch(pattern, name) is not None
