"""Interrupted copies of searches: their marks, and whether a copy is still in progress."""

from collections.abc import Iterator
from contextlib import suppress
from functools import partial

from colab_drive_tuner.errors import NotFoundError
from colab_drive_tuner.journal.folder.lookup import KIND, FolderKind, exists, search_folder
from colab_drive_tuner.journal.folder.marked_folders import holds_records
from colab_drive_tuner.journal.spool.spool import Spool
from colab_drive_tuner.machine import is_this_machine
from colab_drive_tuner.store.protocol import Entry, Store
from colab_drive_tuner.troubleshoot.clean.leftovers import Leftover, left_in_store, trash_and_free

FROM, MAKER = "cdt_from", "cdt_by"
"""Marks of a copy: the id of the original's first record, and the machine that writes the copy."""
_SUFFIX = "~copying-"
SETTLED_SECONDS = 3600.0
"""Age in seconds from which no process is assumed to be still creating a folder or file."""


def copying_name(name: str, nonce: str) -> str:
    """Return the temporary folder name of a copy in progress."""
    return f"{name}{_SUFFIX}{nonce}"


def name_of_copy(folder: Entry) -> str:
    """Return the final name of a copy in progress."""
    return folder.name.rpartition(_SUFFIX)[0] or folder.name


def is_abandoned(store: Store, folder: Entry, *, locked: bool = False) -> bool:
    """Whether no process continues this copy; `locked`: the caller holds the lock of its name."""
    if not is_this_machine(folder.properties.get(MAKER, "")):
        return folder.created < store.now() - SETTLED_SECONDS
    if locked:
        return True
    spool = Spool(store.location, name_of_copy(folder))
    if not spool.acquire():
        return False
    spool.release()
    return True


def copy_leftovers(store: Store, folder: Entry) -> Iterator[Leftover]:
    """Yield the folder if it is an abandoned copy."""
    if not is_abandoned(store, folder):
        return
    copied = search_folder(folder)
    yield left_in_store(
        store,
        "unfinished copy",
        folder.id,
        folder.name,
        "A `copy` or `move` of a search was interrupted before it was complete.",
        partial(_is_still_abandoned, store, folder),
        # The first record is written last: a folder with one may be a search with a forged mark.
        ours=not (exists(store, copied.first) or holds_records(store, folder)),
        discard=partial(trash_and_free, store, copied, name_of_copy(folder)),
    )


def _is_still_abandoned(store: Store, folder: Entry) -> bool:
    with suppress(NotFoundError):
        now = store.stat(folder.id)
        return now.properties.get(KIND) == FolderKind.COPYING and is_abandoned(store, folder)
    return False
