"""Folders inside a search's folder, found again although listings lag.

A listing may show a new folder only minutes later, so its id is also marked on its parent, which is
read by id and therefore up to date.
"""

import contextlib

from colab_drive_tuner.errors import ForeignFileError, NotFoundError
from colab_drive_tuner.journal.owned import owned_entry
from colab_drive_tuner.store.protocol import Entry, Store

TID, EPOCH = "cdt_tid", "cdt_epoch"
"""Marks on a file in such a folder: the trial it is of, and the history that the trial belongs to.
"""


def find_folders(store: Store, parent: str, name: str) -> list[str]:
    """The ids of the folders of that name, best known first; more than one after a lost race."""
    found = []
    key = f"cdt_{name}"
    marked = store.stat(parent).properties.get(key)
    if marked:
        # Not found: a person put it into the trash, so what lies in it is not wanted any more.
        # Not ours: somebody set the property, and what it names is left alone.
        with contextlib.suppress(NotFoundError, ForeignFileError):
            found.append(owned_entry(store, marked, {parent}, key, name=name, is_folder=True).id)
    listed = [e.id for e in store.list(parent, name=name) if e.is_folder and e.id != marked]
    return found + listed


def make_folder(store: Store, parent: str, name: str) -> Entry:
    """Create a folder and mark its id on its parent."""
    made = store.create(store.reserve(1)[0], None, name=name, parent=parent)
    store.set_properties(parent, {f"cdt_{name}": made.id})
    return made
