"""Trash of a folder store: entries that were put there, by themselves or with their folder."""

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
    """Move an entry into the trash, from where a person can move it back."""
    described, visible = index.locate(key)
    trash = disk.make_folders(index.trash.parent, index.trash.name)
    target = disk.trash_name(trash, described.file, described.id[:8])
    # Killed before the move it lies where it was, which is found as if it were moved back.
    index.descriptions.write(key, encode(replace(described, trashed=target)))
    visible.rename(trash / target)
    sync_folder(trash)
    sync_folder(visible.parent)
    # The name may be given away only when nothing can mistake the next owner for this one.
    index.names.give_to_trash(key, described)


def in_trash(index: Index, key: str) -> tuple[Description, Path] | None:
    """Where an entry lies in the trash, by itself or in a folder; None: it does not."""
    described = index.describe(key)
    if described is None:
        return None
    if described.trashed:
        path = index.trash / described.trashed
    else:
        above = in_trash(index, described.parent) if described.parent else None
        if above is None:
            return None
        path = above[1] / described.file
    return (described, path) if os.path.lexists(path) and not path.is_symlink() else None


def list_trash(index: Index, parent: str) -> Iterator[tuple[Description, Path]]:
    """What came out of a folder into the trash, or lies in it there."""
    for key in sorted(index.names.ever_in(parent)):
        with contextlib.suppress(ChecksumError):
            found = in_trash(index, key)
            if found is not None and found[0].parent == parent:
                yield found
