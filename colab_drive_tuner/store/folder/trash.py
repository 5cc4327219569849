"""Trash of a folder store: entries that were trashed, by themselves or with their folder."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from colab_drive_tuner.errors import ChecksumError
from colab_drive_tuner.local_files import sync_folder
from colab_drive_tuner.store.folder import disk
from colab_drive_tuner.store.folder.description import Description, encode
from colab_drive_tuner.store.folder.index import Index


def trash_entry(index: Index, key: str) -> None:
    """Move an entry to the trash, from where users can move it back."""
    described, visible = index.locate(key)
    trash = disk.ensure_folders(index.trash.parent, index.trash.name)
    target = disk.trash_name(trash, described.file, described.id[:8])
    # After a kill before the move, the entry counts as moved back.
    index.descriptions.write(key, encode(replace(described, trashed=target)))
    visible.rename(trash / target)
    sync_folder(trash)
    sync_folder(visible.parent)
    # Released last, so that the next holder of the name cannot be mistaken for this entry.
    index.names.release_to_trash(key, described)


def find_in_trash(index: Index, key: str) -> tuple[Description, Path] | None:
    """Return an entry's description and path in the trash; None if it is not there."""
    described = index.describe(key)
    if described is None:
        return None
    if described.trashed:
        path = index.trash / described.trashed
    else:
        above = find_in_trash(index, described.parent) if described.parent else None
        if above is None:
            return None
        path = above[1] / described.file
    return (described, path) if os.path.lexists(path) and not path.is_symlink() else None


def list_trash(index: Index, parent: str) -> Iterator[tuple[Description, Path]]:
    """Yield the children of a folder that were trashed, by themselves or with it."""
    for key in sorted(index.names.current_and_trashed(parent)):
        with contextlib.suppress(ChecksumError):
            found = find_in_trash(index, key)
            if found is not None and found[0].parent == parent:
                yield found
