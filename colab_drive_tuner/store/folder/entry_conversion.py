"""Conversion of a folder store's descriptions to `Entry` objects."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from colab_drive_tuner.errors import StoreError
from colab_drive_tuner.store.folder.description import ROOT, TOP, Description
from colab_drive_tuner.store.folder.index import Index
from colab_drive_tuner.store.folder.top_folders import Damaged, TopFolder
from colab_drive_tuner.store.folder.trash import find_in_trash
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
        """The index's key for this id as a parent; empty if the folder itself has the index."""
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
    named = location.index.names.holders(or_named) if or_named is not None else ()
    for key in dict.fromkeys([*location.index.property_files, *named]):
        if key == location.own_key:
            continue
        with contextlib.suppress(StoreError):  # deleted by hand, or damaged
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
    """Return an entry for a damaged file or folder."""
    try:
        state = path.lstat()
        created, size, is_folder = state.st_mtime, state.st_size, path.is_dir()
    except FileNotFoundError:
        created, size, is_folder = 0.0, 0, False
    return Entry(
        id=entry_id,
        name=path.name,
        parent=parent,
        created=created,
        size=0 if is_folder else size,
        is_folder=is_folder,
        damage=str(error),
    )


def top_entry(folder: TopFolder | Damaged) -> Entry:
    """Return the entry of a folder in the root or in the trash."""
    if isinstance(folder, Damaged):
        return replace(damaged_entry(folder.id, folder.base, ROOT, folder.error), name=folder.name)
    return Entry(
        id=folder.id,
        name=folder.name,
        parent=ROOT,
        created=folder.described.created,
        is_folder=True,
        properties=folder.index.properties(folder.described),
        trashed=folder.in_trash,
    )
