"""Named subfolders of a search's folder, such as `best/`, `backups/` and `runs/`.

Listings lag, so the id of a new folder is also stored as a property of its parent: reads by id are
up to date.
"""

import contextlib

from colab_drive_tuner.errors import ForeignFileError, NotFoundError, StoreError
from colab_drive_tuner.journal.folder.file_ownership import owned_entry
from colab_drive_tuner.store.protocol import Store

BACKUPS, BEST_MODELS, RUNS = "backups", "best", "runs"
"""Names of the subfolders."""


def find_subfolders(store: Store, parent: str, name: str) -> list[str]:
    """Return the ids of the folders of that name, preferred first; several after a lost race."""
    found = []
    key = f"cdt_{name}"
    marked = store.stat(parent).properties.get(key)
    if marked:
        # NotFoundError: the user moved the folder to the trash, so its files are not wanted.
        # ForeignFileError: someone else set the property; the file it names is not touched.
        with contextlib.suppress(NotFoundError, ForeignFileError):
            found.append(owned_entry(store, marked, {parent}, key, name=name, is_folder=True).id)
    listed = [e.id for e in store.list(parent, name=name) if e.is_folder and e.id != marked]
    return found + listed


def find_or_create_subfolder(store: Store, parent: str, name: str) -> str:
    """Return the id of the folder of that name; create it, and record its id, if there is none.

    Two runtimes may each create one: all are read.
    """
    if found := find_subfolders(store, parent, name):
        return found[0]
    try:
        made = store.create(store.reserve(1)[0], None, name=name, parent=parent)
        store.set_properties(parent, {f"cdt_{name}": made.id})
    except StoreError:
        if found := find_subfolders(store, parent, name):  # another runtime created it
            return found[0]
        raise
    return made.id
