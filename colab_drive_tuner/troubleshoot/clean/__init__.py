"""Leftovers of older runs on this machine, in Drive and in the store: listed, removed on request.

A file is identified by this package's mark or by its content, never by its name alone: people have
notebooks called "Copy of quickstart" and modules called temp_model.py.
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
from colab_drive_tuner.notebook.local_copy import copy_markers, working_directory
from colab_drive_tuner.store.protocol import Store
from colab_drive_tuner.troubleshoot.clean.local_leftovers import (
    abandoned_copies,
    hyperas_modules,
    notebook_copies,
    spools,
    temporary_folders,
)
from colab_drive_tuner.troubleshoot.clean.removal import Leftover, describe, remove
from colab_drive_tuner.troubleshoot.clean.search_leftovers import leftovers_of_searches
from colab_drive_tuner.troubleshoot.doctor.context import CheckContext
from colab_drive_tuner.warn_user import warn_user

if TYPE_CHECKING:
    from colab_drive_tuner.drive import DriveClient, DriveFile


__all__ = ["Leftover", "describe", "find_leftovers", "remove"]


def find_leftovers(
    *,
    notebook: Notebook | None = None,
    client: "DriveClient | None" = None,
    store: Store | Path | str | None = None,
) -> list[Leftover]:
    """List the leftovers in the working directory, in Drive and in the store.

    The running notebook (None: it is detected, or inferred from the only notebook copy in the
    directory) and copies in use are never listed, but its duplicates in Drive are. Drive is
    searched only if that needs no sign-in prompt. A named store that does not exist is a
    `NotFoundError`. Nothing is changed.
    """
    context = CheckContext(store)
    if context.store_spec is not None and context.existing_store is None:
        context.store.list(context.store.root)  # raises if the named store does not exist
    folder = working_directory().resolve()
    found = [*notebook_copies(folder, notebook), *abandoned_copies(folder)]
    found += [*hyperas_modules(folder), *temporary_folders()]
    if client is not None:
        context.client = client
    with _warn_on_failure("Duplicates in Drive"):
        running = _find_in_drive(folder, notebook, context.client)
        if running is not None:
            found += _notebook_duplicates(running, context.client)
    with _warn_on_failure("Leftovers of searches"):
        if (searches := context.existing_store) is not None:
            found += [*leftovers_of_searches(searches), *spools(searches)]
    return found


@contextmanager
def _warn_on_failure(what: str) -> Iterator[None]:
    """Turn a failure to list `what` into a warning; without a sign-in, list nothing."""
    try:
        yield
    except CredentialsError:
        pass
    except (StoreError, OSError) as error:
        warn_user(f"{what} are not listed: {error}", NotebookWarning)


def _find_in_drive(
    folder: Path, notebook: Notebook | None, client: "DriveClient"
) -> "DriveFile | None":
    """Return the Drive file of the running notebook, or of the only copy in the folder."""
    if notebook is not None:
        return notebook.file
    running = running_notebook(browser=False)
    copies = {marker.source for marker in copy_markers() if Path(marker.path).parent == folder}
    wanted = running.drive_id if running is not None else None
    if wanted is None and len(copies) == 1:
        (wanted,) = copies
    try:
        return client.get(wanted) if wanted else None
    except NotFoundError:
        return None


def _notebook_duplicates(running: "DriveFile", client: "DriveClient") -> Iterator[Leftover]:
    """Yield notebooks named like copies in the running one's folder, or named exactly like it."""
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
                    "also choose such names themselves, so look at it first."
                ),
                ours=False,
                still_stale=partial(_is_unchanged, client, file),
                discard=partial(_trash, client, file),
            )


def _trash(client: "DriveClient", file: "DriveFile") -> str:
    client.trash(file.id)
    return "the trash of Drive, for 30 days"


def _is_unchanged(client: "DriveClient", file: "DriveFile") -> bool:
    now = client.get(file.id)
    return not now.trashed and (now.sha256, now.name) == (file.sha256, file.name)


def _is_named_like_copy(name: str, original: str) -> bool:
    """Whether a name is the original's, optionally with words before it or a number after it.

    Drive writes "Copy of" in its user's language. A match is only shown, never removed by itself.
    """
    pattern = rf"(?:.+ )?{re.escape(stem(original))}(?:\.ipynb)?(?: \(\d+\))?(?:\.ipynb)?"
    return re.fullmatch(pattern, name) is not None
