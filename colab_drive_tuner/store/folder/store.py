"""The `Store` protocol over a local folder.

    <root>/mnist-cnn/            a search: its files under their own names, and its index (index.py)
    <root>/.store/               an index of the root: ids that were used, files directly in it
    <root>/.trash/               what was put into the trash

Nothing that a search needs lies outside of its folder, so it can be renamed, copied and moved like
any other. An id means a file of the folder that is asked; where copies of one search lie in the
same store, `for_search` says which of them is meant.
"""

import builtins
import contextlib
import copy
import os
import shutil
import uuid
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
from colab_drive_tuner.local_files import replace_file, sync_folder
from colab_drive_tuner.store.folder import disk
from colab_drive_tuner.store.folder.description import ID, ROOT, TOP, Description
from colab_drive_tuner.store.folder.entries import (
    Place,
    damaged_entry,
    entry_of,
    top_entry,
    with_properties,
)
from colab_drive_tuner.store.folder.folders import open_folder
from colab_drive_tuner.store.folder.id_lookup import Locator
from colab_drive_tuner.store.folder.index import NAME
from colab_drive_tuner.store.folder.rebuilding import rebuild_index
from colab_drive_tuner.store.folder.trash import in_trash, list_trash, trash_entry
from colab_drive_tuner.store.protocol import Entry, Store, check_properties, oldest_first


class FolderStore(Store):
    """A `Store` in the local folder `root`, which is made when something is first created in it.

    Safe for any number of processes on a file system with hard links; one without them (Colab's
    Drive mount, FAT) is refused by `UsageError` before anything is kept there.
    """

    account = "local"
    root = ROOT
    is_shared = False

    def __init__(self, root: Path | str) -> None:
        self._root = Path(root).expanduser().resolve()
        self._trash = self._root / ".trash"
        self.local_path, self.location = self._root, f"folder:{self._root}"
        self.trash_location = str(self._trash)
        self.environment = {Variable.STORE: str(self._root)}
        self._ids = Locator(self._root, self._trash)
        self._seen = self._root.is_dir()
        existing = next(path for path in (self._root, *self._root.parents) if os.path.lexists(path))
        if not existing.is_dir():
            raise UsageError(f"{existing} is a file, so no store can lie in it: name a folder.")
        if os.path.lexists(self._root / NAME / "ids" / TOP):  # no error where nobody may look
            raise UsageError(
                f"{self._root} is the folder of one search. Name the folder in which searches lie: "
                f"{self._root.parent}"
            )

    def __repr__(self) -> str:
        return f"FolderStore({str(self._root)!r})"

    @property
    def option(self) -> str:
        """Its path, unless the environment names it."""
        given = Variable.STORE.get()
        known = given and Path(given).expanduser().resolve() == self._root
        return "" if known else str(self._root)

    def free_space(self) -> int | None:
        """What is free on the disk that the folder lies, or will lie, on."""
        existing = next(path for path in (self._root, *self._root.parents) if path.exists())
        return shutil.disk_usage(existing).free

    def for_search(self, name: str) -> Self:
        """The same store; an id that several copies of a search hold is the one in folder `name`.

        Nor is anything looked for in copies of that folder, or taken from them once it is gone.
        """
        view = copy.copy(self)
        view._ids = self._ids.for_search(name)
        return view

    def url(self, entry_id: str) -> str:
        """The path under which a person finds it."""
        with self._honest(f"find file {entry_id}"):
            if (damaged := self._ids.damaged(entry_id)) is not None:
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
        """Create a file, or a folder, once in the world; on disk for good when this returns."""
        if not ID.fullmatch(entry_id) or entry_id in (ROOT, TOP):
            raise UsageError(f"{entry_id!r} is not an id of a folder store; ask `reserve` for one.")
        check_properties(properties or {})
        with self._honest(f"create {name!r}"):
            if parent == ROOT:
                self._prepare()
            place = self._ids.find(parent)
            if self._ids.is_used_elsewhere(entry_id, place):
                raise self._ids.taken(entry_id, name)
            if parent == ROOT and content is None:
                made = self._ids.create_folder(entry_id, name, dict(properties or {}), self.now())
                return top_entry(made)
            described, visible = place.index.create(
                entry_id,
                content,
                name=name,
                parent=place.inner,
                created=self.now(),
                properties=dict(properties or {}),
            )
            return entry_of(described, parent, visible, described.properties)

    def read(self, entry_id: str) -> bytes:
        """Return what lies under the file's visible name."""
        with self._honest(f"read file {entry_id}"):
            return disk.read(self._file(entry_id))

    def fetch(self, entry_id: str, path: Path) -> None:
        """Copy a file to `path`, replacing it atomically, in constant memory."""
        with self._honest(f"fetch file {entry_id}"):
            source = disk.open_file(self._file(entry_id))
        with source:
            replace_file(path, lambda sink: shutil.copyfileobj(source, sink, 1 << 20))

    def stat(self, entry_id: str) -> Entry:
        """Describe a file or folder that still lies under its visible name."""
        with self._honest(f"find file {entry_id}"):
            if entry_id == ROOT:
                about = Description(ROOT, self._root.name, "", "", 0.0, True, {}, "")
                known = self._ids.index.kept_properties.read(ROOT) or {}
                return entry_of(about, "", self._root, known)
            found = self._ids.find(entry_id)
            if found.is_top and found.folder is not None:
                return top_entry(found.folder)
            return found.entry(*found.index.locate(found.key))

    def list(self, parent: str, *, name: str | None = None) -> builtins.list[Entry]:
        """What lies in a folder, oldest first, never lagging; not what people put there by hand."""
        if parent == ROOT and not self._root.is_dir():
            raise self._missing()
        found: list[Entry] = []
        with self._honest(f"list folder {parent}"):
            if parent == ROOT:
                self._ids.finish()
                found += map(top_entry, self._ids.folders.all())
            place = self._ids.find(parent)
            for entry_id, about, path in place.index.list(place.inner):
                if isinstance(about, Description):
                    with contextlib.suppress(FileNotFoundError):  # deleted at this moment
                        found.append(place.entry(about, path))
                else:
                    found.append(damaged_entry(entry_id, path, parent, about))
        found = [entry for entry in found if name is None or entry.name == name]
        return oldest_first(found)

    def find_marked(
        self, properties: Mapping[str, str], *, or_named: str | None = None
    ) -> builtins.list[Entry]:
        """What has all these properties, of all that was ever created here and still exists."""
        found: list[Entry] = []
        with self._honest("look for marked files"):
            self._ids.finish()
            folders = self._ids.everywhere()
            found += map(top_entry, folders)
            places = [Place(folder.index, TOP, folder) for folder in folders]
            for place in (*places, self._ids.find(ROOT)):
                found += with_properties(place, or_named)
        found = [
            entry
            for entry in found
            if properties.items() <= entry.properties.items() or entry.name == or_named
        ]
        return oldest_first(found)

    def set_properties(self, entry_id: str, properties: Mapping[str, str]) -> None:
        """Set properties, in a file beside."""
        check_properties(properties)
        with self._honest(f"set properties of file {entry_id}"):
            if entry_id == ROOT:
                self._prepare()
            found = self._ids.find(entry_id)
            key = found.index.locate(found.key)[0].id if found.inner else found.own_key
            found.index.set_properties(key, properties)

    def rename(self, entry_id: str, name: str, properties: Mapping[str, str] | None = None) -> None:
        """Rename a folder directly in the root: first its directory, then the properties are set.

        Raises `RefusedError` where something of that name is in the way.
        """
        check_properties(properties or {})
        with self._honest(f"rename {entry_id} to {name!r}"):
            found = self._ids.find(entry_id)
            if found.folder is None or not found.is_top:
                raise RefusedError(
                    f"{self.url(entry_id)} is not renamed: it is not a search's folder."
                )
            renamed = self._ids.rename_folder(found.folder, name)
            if properties:
                renamed.index.set_properties(renamed.token, properties)

    def replace(self, entry_id: str, content: bytes) -> None:
        """Replace a file's content: a reader sees the old one or the new one."""
        with self._honest(f"replace file {entry_id}"):
            path = self._file(entry_id)
            temporary = self._ids.find(entry_id).index.home / f"new-{uuid.uuid4().hex}"
            try:
                disk.write(temporary, content)
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
            sync_folder(path.parent)

    def trash(self, entry_id: str) -> None:
        """Move it into `.trash/`, from where a person can move it back; its name is free again."""
        with self._honest(f"put file {entry_id} into the trash"):
            if entry_id == ROOT:
                raise RefusedError(f"{self._root} is the store itself and is not put into a trash.")
            found = self._ids.find(entry_id)
            if found.folder is None or not found.is_top:
                trash_entry(found.index, found.key)
                return
            trash = disk.make_folders(self._root, ".trash")
            target = disk.trash_name(trash, found.folder.directory, found.folder.token[:8])
            found.index.base.rename(trash / target)
            sync_folder(trash)
            sync_folder(self._root)

    def list_trash(self, parent: str) -> builtins.list[Entry]:
        """What lies in `.trash/` and came out of the folder, or lay in it when it was trashed."""
        found: list[Entry] = []
        with self._honest(f"look for what was in folder {parent}"):
            if parent == ROOT:
                found += map(top_entry, self._ids.in_trash.usable())
            place = self._ids.find(parent, also_trashed=True)
            listed = list(list_trash(place.index, place.inner))
            if place.folder is not None and place.folder.in_trash:  # then all that lies in it does
                inside = place.index.list(place.inner)
                listed += [
                    (item, path) for _, item, path in inside if isinstance(item, Description)
                ]
            found += [replace(place.entry(*item), trashed=True) for item in listed]
        return oldest_first(found)

    def read_trashed(self, entry_id: str) -> bytes:
        """As `read`, also out of `.trash/`."""
        with self._honest(f"read file {entry_id}"):
            place = self._ids.find(entry_id, also_trashed=True)
            found = in_trash(place.index, place.key)
            return disk.read(place.index.file(place.key) if found is None else found[1])

    def reindex(self, entry_id: str, ids: Mapping[str, str]) -> Entry:
        """See `Store.reindex`; what is left of the old index is kept beside the new one."""
        with self._honest(f"make the index of {entry_id} anew"):
            damaged = self._ids.damaged(entry_id)
            if damaged is not None:
                base, name = damaged.base, damaged.name
            else:
                folder = self._ids.top(entry_id)
                base, name = folder.index.base, folder.name
            self._prepare()
            others = [one for one in self._ids.everywhere() if one.index.base != base]
            same = (one for one in others if any(map(one.index.descriptions.has, ids.values())))
            original = next((one.described for one in same), None)
            rebuild_index(base, name, self._trash, ids, original)
            self._ids.folders.forget()
            return top_entry(open_folder(base, self._trash))

    def abandoned(self, before: float) -> builtins.list[Path]:
        """Files that a killed create left, which nobody can find, last touched `before`."""
        indexes = [self._ids.index, *(folder.index for folder in self._ids.folders.usable())]
        with self._honest("look for abandoned files"):
            return [path for index in indexes for path in index.abandoned(before)]

    def _prepare(self) -> None:
        """Make the store's own folders, where they are missing and nobody has taken them away."""
        if self._seen and not self._root.is_dir():
            raise self._missing()
        if not self._ids.index.home.is_dir():
            disk.prepare(self._root, self._ids.index.home)
        disk.require_folder(self._ids.index.home)
        self._seen = True

    def _file(self, entry_id: str) -> Path:
        found = self._ids.find(entry_id)
        if not found.inner:
            raise RefusedError(f"{found.index.base} is a folder: it has no content.")
        return found.index.file(found.key)

    def _missing(self) -> StoreError:
        if self._seen:
            return UnavailableError(
                f"{self._root} is not there any more; was a disk unplugged, or the folder deleted? "
                f"Bring it back and run the cell again."
            )
        return NotFoundError(
            f"There is no folder {self._root}: name the folder that searches are kept in, or begin "
            f"one there."
        )

    @contextlib.contextmanager
    def _honest(self, doing: str) -> Iterator[None]:
        """Turn what the operating system says into the errors that the protocol names."""
        try:
            yield
        except OSError as error:
            if not self._root.is_dir() and not isinstance(error, UnavailableError):
                raise self._missing() from error
            if isinstance(error, StoreError):
                raise
            raise disk.meaning(error, doing) from error
        self._seen = self._seen or self._root.is_dir()
