"""Implementation of the `Store` protocol for a local folder.

    <root>/mnist-cnn/            a search: its files under their own names, and its index (index.py)
    <root>/.store/               index of the root: used ids, and files directly in the root
    <root>/.trash/               trashed files and folders

Everything that belongs to a search is in its folder, so users can rename, copy and move the folder.
An id refers to a file of the folder in which it is looked up; if a store contains several copies of
a search, `for_search` selects one of them.
"""

import builtins
import contextlib
import copy
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Self

from colab_drive_tuner.environment_variables import Variable
from colab_drive_tuner.errors import (
    NotFoundError,
    RefusedError,
    StoreError,
    UnavailableError,
    UsageError,
)
from colab_drive_tuner.local_files import replace_file, resolve_path, sync_folder
from colab_drive_tuner.store.folder import disk
from colab_drive_tuner.store.folder.description import ID, ROOT, TOP, Description
from colab_drive_tuner.store.folder.entries import (
    IdLocation,
    damaged_entry,
    entries_with_properties,
    entry_of,
    find_in_trash,
    list_trash,
    top_entry,
    trash_entry,
)
from colab_drive_tuner.store.folder.id_lookup import IdLookup
from colab_drive_tuner.store.folder.index import INDEX_FOLDER
from colab_drive_tuner.store.folder.rebuilding import rebuild_index
from colab_drive_tuner.store.folder.top_folders import open_folder
from colab_drive_tuner.store.protocol import Entry, Store, check_properties, oldest_first


class FolderStore(Store):
    """A `Store` in the local folder `root`, which is created with the first file in it.

    Any number of processes may use it if the file system has hard links; one without them (Colab's
    Drive mount, FAT) is refused by `UsageError` before anything is written.
    """

    account = "local"
    root = ROOT
    is_shared = False

    def __init__(self, root: Path | str) -> None:
        self._root = resolve_path(root)
        self._trash = self._root / ".trash"
        # The name may hold bytes that are not UTF-8, in which a location is noted.
        text = os.fsencode(self._root).decode("utf-8", "backslashreplace")
        self.local_path, self.location = self._root, f"folder:{text}"
        self.trash_location = str(self._trash)
        self.environment = {Variable.STORE: str(self._root)}
        self._ids = IdLookup(self._root, self._trash)
        self._existed = self.exists
        existing = next(path for path in (self._root, *self._root.parents) if os.path.lexists(path))
        if not existing.is_dir():
            raise UsageError(f"{existing} is a file, so it cannot contain a store: name a folder.")
        for path in (self._root, *self._root.parents):
            if os.path.lexists(path / INDEX_FOLDER / "ids" / TOP):  # False without permission
                place = "is" if path == self._root else f"is in {path},"
                raise UsageError(
                    f"{self._root} {place} the folder of one search. Name the folder that contains "
                    f"it: {path.parent}"
                )

    def __repr__(self) -> str:
        return f"FolderStore({str(self._root)!r})"

    @property
    def exists(self) -> bool:
        try:
            return self._root.is_dir()
        except OSError as error:  # no answer, no permission, or a name that is too long
            raise disk.translated_error(error, "look at the store") from error

    def check_usable(self) -> str:
        """Return whether files can be created in the folder, or in the one that will contain it."""
        inner = os.walk(self._ids.index.home)  # another user may have created it
        paths = [Path(folder, name) for folder, names, _ in inner for name in names]
        for path in (self._existing_ancestor(), *paths):
            if not os.access(path, os.W_OK | os.X_OK):
                raise RefusedError(
                    f"{self._root} cannot hold searches: {path} cannot be written to."
                )
        return f"{self._root} can be written to."

    @property
    def option(self) -> str:
        """The path, unless the environment names it."""
        with contextlib.suppress(UsageError):
            if (given := Variable.STORE.get()) and resolve_path(given) == self._root:
                return ""
        return str(self._root)

    def free_space(self) -> int | None:
        """Return the free space of the disk that contains, or will contain, the folder."""
        with self._translated_errors("look for free space"):
            return shutil.disk_usage(self._existing_ancestor()).free

    def now(self) -> float:
        """Return the time, by the clock of the file system's server if that differs."""
        ours = super().now()
        with (
            contextlib.suppress(OSError),  # no folder yet, or only to be read
            tempfile.TemporaryFile(dir=self._ids.index.home) as probe,
        ):
            theirs = os.fstat(probe.fileno()).st_mtime
            # Files' times are too coarse to order what is created within some milliseconds.
            return theirs if abs(theirs - ours) > 1 else ours
        return ours

    def for_search(self, name: str) -> Self:
        """Return this store, resolving ids that several copies of a search share in folder `name`.

        It does not look into copies of that folder, not even after the folder itself is deleted.
        """
        store = copy.copy(self)
        store._ids = self._ids.for_search(name)
        return store

    def url(self, entry_id: str) -> str:
        with self._translated_errors(f"find file {entry_id}"):
            if (damaged := self._ids.damaged_folder(entry_id)) is not None:
                return str(damaged.base)
            found = self._ids.find(entry_id)
            return str(found.index.locate(found.key)[1] if found.inner else found.index.base)

    def create(
        self,
        entry_id: str,
        content: bytes | Path | None,
        *,
        name: str,
        parent: str,
        properties: Mapping[str, str] | None = None,
    ) -> Entry:
        """Create a file or folder once; it is durable on the disk when this returns."""
        if not ID.fullmatch(entry_id) or entry_id in (ROOT, TOP):
            raise UsageError(f"{entry_id!r} is not an id of a folder store; ask `reserve` for one.")
        check_properties(properties or {})
        with self._translated_errors(f"create {name!r}"):
            if parent == ROOT:
                self._ensure_root_exists()
            location = self._ids.find(parent)
            if self._ids.is_used_elsewhere(entry_id, location):
                raise self._ids.id_taken_error(entry_id, name)
            if parent == ROOT and content is None:
                made = self._ids.create_folder(entry_id, name, dict(properties or {}), self.now())
                return top_entry(made)
            described, visible = location.index.create(
                entry_id,
                content,
                name=name,
                parent=location.inner,
                created=self.now(),
                properties=dict(properties or {}),
            )
            return entry_of(described, parent, visible, described.properties)

    def read(self, entry_id: str) -> bytes:
        with self._translated_errors(f"read file {entry_id}"):
            return disk.read(self._file(entry_id))

    def fetch(self, entry_id: str, path: Path) -> None:
        with self._translated_errors(f"fetch file {entry_id}"):
            source = disk.open_file(self._file(entry_id))
        with source:
            replace_file(path, lambda sink: shutil.copyfileobj(source, sink, 1 << 20))

    def is_used(self, entry_id: str) -> bool:
        with contextlib.suppress(NotFoundError), self._translated_errors(f"find file {entry_id}"):
            found = self._ids.find(entry_id, also_trashed=True)
            return found.index.descriptions.has(found.key)
        return False

    def stat(self, entry_id: str) -> Entry:
        """Return the entry of a file or folder that still exists at its visible path."""
        with self._translated_errors(f"find file {entry_id}"):
            if entry_id == ROOT:
                known = self._ids.index.property_files.read(ROOT) or {}
                kept = {key: value for key, value in known.items() if value}  # empty: removed
                return Entry(ROOT, self._root.name, "", 0.0, is_folder=True, properties=kept)
            found = self._ids.find(entry_id)
            if found.is_top and found.folder is not None:
                return top_entry(found.folder)
            return found.entry(*found.index.locate(found.key))

    def list(self, parent: str, *, name: str | None = None) -> builtins.list[Entry]:
        """List a folder's children, oldest first; never lags, and omits files added by hand."""
        if parent == ROOT and not self.exists:
            raise self._missing_root()
        found: list[Entry] = []
        with self._translated_errors(f"list folder {parent}"):
            if parent == ROOT:
                self._ids.finish_creates()
                folders = self._ids.folders.all()
                found += [top_entry(one) for one in folders if name in (None, one.name)]
            location = self._ids.find(parent)
            for entry_id, about, path in location.index.list(location.inner):
                if isinstance(about, Description):
                    with contextlib.suppress(FileNotFoundError):  # deleted concurrently
                        found.append(location.entry(about, path))
                else:
                    found.append(damaged_entry(entry_id, path, parent, about))
        found = [entry for entry in found if name is None or entry.name == name]
        return oldest_first(found)

    def find_marked(
        self, properties: Mapping[str, str], *, or_named: str | None = None
    ) -> builtins.list[Entry]:
        found: list[Entry] = []
        with self._translated_errors("look for marked files"):
            self._ids.finish_creates()
            folders = self._ids.all_usable()
            found += map(top_entry, folders)
            locations = [IdLocation(folder.index, TOP, folder) for folder in folders]
            for location in (*locations, self._ids.find(ROOT)):
                found += entries_with_properties(location, or_named)
        found = [
            entry
            for entry in found
            if properties.items() <= entry.properties.items() or entry.name == or_named
        ]
        return oldest_first(found)

    def set_properties(self, entry_id: str, properties: Mapping[str, str]) -> None:
        """Set properties, which are stored in a separate file."""
        check_properties(properties)
        with self._translated_errors(f"set properties of file {entry_id}"):
            if entry_id == ROOT:
                self._ensure_root_exists()
            found = self._ids.find(entry_id)
            key = found.index.locate(found.key)[0].id if found.inner else found.own_key
            found.index.set_properties(key, properties)

    def rename(self, entry_id: str, name: str, properties: Mapping[str, str] | None = None) -> None:
        """Rename a folder directly in the root: first its directory, then the properties are set.

        Raises `RefusedError` if the new name is in use.
        """
        check_properties(properties or {})
        with self._translated_errors(f"rename {entry_id} to {name!r}"):
            found = self._ids.find(entry_id)
            if found.folder is None or not found.is_top:
                raise RefusedError(
                    f"{self.url(entry_id)} is not renamed: it is not a search's folder."
                )
            renamed = self._ids.rename_folder(found.folder, name)
            if properties:
                renamed.index.set_properties(renamed.token, properties)

    def replace(self, entry_id: str, content: bytes) -> None:
        with self._translated_errors(f"replace file {entry_id}"):
            path, home = self._file(entry_id), self._ids.find(entry_id).index.home
            with disk.written_aside(home, content) as temporary:
                temporary.replace(path)
            sync_folder(path.parent)

    def trash(self, entry_id: str) -> None:
        """Move it into `.trash/`, from where users can move it back; its name becomes free."""
        with self._translated_errors(f"put file {entry_id} into the trash"):
            if entry_id == ROOT:
                raise RefusedError(f"{self._root} is the store itself and is not put into a trash.")
            found = self._ids.find(entry_id)
            if found.folder is None or not found.is_top:
                trash_entry(found.index, found.key)
                return
            trash = disk.ensure_folders(self._root, ".trash")
            target = disk.trash_name(trash, found.folder.base.name, found.folder.token[:8])
            found.index.base.rename(trash / target)
            sync_folder(trash)
            sync_folder(self._root)

    def restore(self, entry_id: str) -> None:
        with self._translated_errors(f"restore {entry_id} from the trash"):
            folder = self._ids.top_folder(entry_id, self._ids.in_trash.usable())
            self._ids.rename_folder(folder, folder.name)

    def list_trash(self, parent: str) -> builtins.list[Entry]:
        found: list[Entry] = []
        with self._translated_errors(f"look for what was in folder {parent}"):
            if parent == ROOT:
                found += map(top_entry, self._ids.in_trash.usable())
            location = self._ids.find(parent, also_trashed=True)
            listed = list(list_trash(location.index, location.inner))
            if location.folder is not None and location.folder.in_trash:
                children = location.index.list(location.inner)  # all were trashed with the folder
                listed += [
                    (about, path) for _, about, path in children if isinstance(about, Description)
                ]
            found += [replace(location.entry(*item), trashed=True) for item in listed]
        return oldest_first(found)

    def read_trashed(self, entry_id: str) -> bytes:
        with self._translated_errors(f"read file {entry_id}"):
            location = self._ids.find(entry_id, also_trashed=True)
            found = find_in_trash(location.index, location.key)
            return disk.read(location.index.file(location.key) if found is None else found[1])

    def reindex(self, entry_id: str, ids: Mapping[str, str]) -> Entry:
        with self._translated_errors(f"rebuild the index of {entry_id}"):
            broken = self._ids.damaged_folder(entry_id) or self._ids.top_folder(entry_id)
            self._ensure_root_exists()
            # The folder may be a copy of another one, which then has some of the ids.
            originals = (
                folder.described
                for folder in self._ids.all_usable()
                if folder.base != broken.base
                and any(map(folder.index.descriptions.has, ids.values()))
            )
            rebuild_index(broken.base, broken.name, self._trash, ids, next(originals, None))
            self._ids.folders.forget()
            return top_entry(open_folder(broken.base, self._trash))

    def names_in(self, folder: str) -> set[str]:
        with self._translated_errors(f"list folder {folder}"):
            return {path.name for path in Path(self.url(folder)).iterdir()}

    def encloses(self, other: Store, folder: str) -> bool:
        """Whether `other` is a folder inside that folder, the trash or the root's index."""
        path = other.local_path
        own = (Path(self.url(folder)), self._trash, self._ids.index.home)
        return path is not None and any(path.is_relative_to(one) for one in own)

    def abandoned(self, before: float) -> builtins.list[Path]:
        indexes = [self._ids.index, *(folder.index for folder in self._ids.folders.usable())]
        with self._translated_errors("look for abandoned files"):
            return [path for index in indexes for path in index.abandoned(before)]

    def _existing_ancestor(self) -> Path:
        """Return the root, or the nearest folder above it that exists."""
        return next(path for path in (self._root, *self._root.parents) if path.exists())

    def _ensure_root_exists(self) -> None:
        """Create the store's own folders, unless the root existed and has disappeared."""
        if self._existed and not self.exists:
            raise self._missing_root()
        if not self._ids.index.home.is_dir():
            disk.create_store_folders(self._root, self._ids.index.home)
        disk.require_folder(self._ids.index.home)
        self._existed = True

    def _file(self, entry_id: str) -> Path:
        found = self._ids.find(entry_id, of_search=True)
        if not found.inner:
            raise RefusedError(f"{found.index.base} is a folder: it has no content.")
        return found.index.file(found.key)

    def _missing_root(self) -> StoreError:
        if self._existed:
            return UnavailableError(
                f"{self._root} no longer exists; was a disk unplugged, or the folder deleted? "
                f"Restore it and run the cell again."
            )
        return NotFoundError(
            f"There is no folder {self._root}: name the folder that searches are kept in, or begin "
            f"one there."
        )

    @contextlib.contextmanager
    def _translated_errors(self, doing: str) -> Iterator[None]:
        """Translate an `OSError` into the errors of the protocol."""
        try:
            yield
        except OSError as error:
            if not self.exists and not isinstance(error, UnavailableError):
                raise self._missing_root() from error
            if isinstance(error, StoreError):
                raise
            raise disk.translated_error(error, doing) from error
        self._existed = self._existed or self.exists
