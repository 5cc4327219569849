"""Entries of a folder store: their location, conversion to `Entry` objects, and trash."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from colab_drive_tuner.errors import ChecksumError, StoreError
from colab_drive_tuner.local_files import sync_folder
from colab_drive_tuner.store.folder import disk
from colab_drive_tuner.store.folder.description import ROOT, TOP, Description, encode
from colab_drive_tuner.store.folder.index import DEEPEST, Index
from colab_drive_tuner.store.folder.top_folders import Damaged, TopFolder
from colab_drive_tuner.store.protocol import Entry


@dataclass(frozen=True)
class IdLocation:
    """Location of an id: the index, the key in it, and the top-level folder that has the index."""

    index: Index
    key: str
    folder: TopFolder | None = None

    @property
    def is_top(self) -> bool:
        """Whether the id is that of a top-level folder."""
        return self.key == TOP

    @property
    def inner(self) -> str:
        """The key under which the index lists what is in this folder.

        It is empty for the folder that has the index, so it also tells that from what is in it.
        """
        return "" if self.key in (TOP, ROOT) else self.key

    @property
    def own_key(self) -> str:
        """The key for the properties of the folder that has the index."""
        return ROOT if self.folder is None else self.folder.token

    def entry(self, described: Description, path: Path) -> Entry:
        """Return the entry of a file or folder in this index."""
        above = ROOT if self.folder is None else self.folder.id
        properties = self.index.properties(described)
        return entry_of(described, described.parent or above, path, properties)


def entries_with_properties(location: IdLocation, or_named: str | None = None) -> Iterator[Entry]:
    """Yield the entries of an index that have properties or this name."""
    keys: list[str] = []
    with contextlib.suppress(PermissionError):  # other folders can still be read
        keys += location.index.property_files
        keys += location.index.names.holders(or_named) if or_named is not None else ()
    for key in dict.fromkeys(keys):
        if key == location.own_key:
            continue
        # Deleted, perhaps concurrently, or damaged.
        with contextlib.suppress(StoreError, PermissionError, FileNotFoundError):
            trashed = find_in_trash(location.index, key)
            entry = location.entry(*(trashed or location.index.locate(key)))
            folder_in_trash = location.folder is not None and location.folder.in_trash
            yield replace(entry, trashed=trashed is not None or folder_in_trash)


def entry_of(
    described: Description, parent: str, visible: Path, properties: Mapping[str, str]
) -> Entry:
    """Return the entry of a file or folder at `visible`."""
    return Entry(
        id=described.id,
        name=described.name,
        parent=parent,
        created=described.created,
        size=0 if described.is_folder else visible.lstat().st_size,
        is_folder=described.is_folder,
        properties=properties,
    )


def damaged_entry(entry_id: str, path: Path, parent: str, error: StoreError) -> Entry:
    """Return an entry for a damaged file or folder, of which little is known."""
    is_folder = path.is_dir()
    return Entry(entry_id, path.name, parent, 0.0, is_folder=is_folder, damage=str(error))


def top_entry(folder: TopFolder | Damaged) -> Entry:
    """Return the entry of a folder in the root or in the trash, with its damage if there is any."""
    if isinstance(folder, Damaged):
        return replace(damaged_entry(folder.id, folder.base, ROOT, folder.error), name=folder.name)
    try:
        properties = folder.index.properties(folder.described)
    except (ChecksumError, PermissionError) as error:  # only this folder cannot be used
        reason = disk.translated_error(error, "read its index")
        damaged = damaged_entry(folder.id, folder.base, ROOT, reason)
        return replace(damaged, name=folder.name, trashed=folder.in_trash)
    entry = entry_of(folder.described, ROOT, folder.base, properties)
    return replace(entry, id=folder.id, name=folder.name, trashed=folder.in_trash)


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
    if index.names.holder(described.parent, described.file) == described.id:
        index.names.release(described.parent, described.file)


def find_in_trash(index: Index, key: str, depth: int = 0) -> tuple[Description, Path] | None:
    """Return an entry's description and path in the trash; None if it is not there."""
    described = index.describe(key)
    if described is None or depth > DEEPEST:
        return None
    if described.trashed:
        path = index.trash / described.trashed
    else:
        parent = described.parent
        above = find_in_trash(index, parent, depth + 1) if parent else None
        if above is None:
            return None
        path = above[1] / described.file
    return (described, path) if os.path.lexists(path) and not path.is_symlink() else None


def list_trash(index: Index, parent: str) -> Iterator[tuple[Description, Path]]:
    """Yield the children of a folder that were trashed, by themselves or with it."""
    for described in index.created_in(parent):
        with contextlib.suppress(ChecksumError):
            if found := find_in_trash(index, described.id):
                yield found
