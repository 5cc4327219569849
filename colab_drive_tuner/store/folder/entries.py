"""Entries of the protocol, made from what a folder store knows."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from colab_drive_tuner.errors import StoreError
from colab_drive_tuner.store.folder.description import ROOT, TOP, Description
from colab_drive_tuner.store.folder.folders import Damaged, TopFolder
from colab_drive_tuner.store.folder.index import Index
from colab_drive_tuner.store.folder.trash import in_trash
from colab_drive_tuner.store.protocol import Entry


@dataclass(frozen=True)
class Place:
    """Where an id is known: the index, the key in it, and the folder in the root that has it."""

    index: Index
    key: str
    folder: TopFolder | None = None

    @property
    def is_top(self) -> bool:
        """Whether the id is that of a folder in the root."""
        return self.key == TOP

    @property
    def inner(self) -> str:
        """How the index calls the folder of this id, as a parent; empty: it has the index."""
        return "" if self.key in (TOP, ROOT) else self.key

    @property
    def own_key(self) -> str:
        """Under which key the properties of the folder that has the index are kept."""
        return ROOT if self.folder is None else self.folder.token

    def entry(self, described: Description, path: Path) -> Entry:
        """The entry of a file or folder in this index."""
        above = ROOT if self.folder is None else self.folder.id
        properties = self.index.properties(described)
        return entry_of(described, described.parent or above, path, properties)


def with_properties(place: Place, or_named: str | None = None) -> Iterator[Entry]:
    """The entries of an index that have properties, or that name."""
    named = place.index.names.holders(or_named) if or_named is not None else ()
    for key in dict.fromkeys([*place.index.kept_properties, *named]):
        if key == place.own_key:
            continue
        with contextlib.suppress(StoreError):  # deleted by hand, or damaged
            gone = in_trash(place.index, key)
            entry = place.entry(*(gone or place.index.locate(key)))
            trashed = gone is not None or (place.folder is not None and place.folder.in_trash)
            yield replace(entry, trashed=trashed)


def entry_of(
    described: Description, parent: str, visible: Path, properties: Mapping[str, str]
) -> Entry:
    """The entry of a file or folder that lies at `visible`."""
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
    """An entry of which only the file can be seen."""
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
    """The entry of a folder directly in the root, or in the trash."""
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
