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
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from colab_drive_tuner.errors import (
    IdTakenError,
    NotFoundError,
    RefusedError,
    StoreError,
    UnavailableError,
    UsageError,
)
from colab_drive_tuner.store.folder import disk
from colab_drive_tuner.store.folder.description import (
    ID,
    ROOT,
    TOP,
    Description,
    encode,
)
from colab_drive_tuner.store.folder.folders import (
    Damaged,
    TopFolder,
    TopFolders,
    is_free,
    is_same,
    make_folder,
    open_folder,
    rebuild_index,
)
from colab_drive_tuner.store.folder.index import Index
from colab_drive_tuner.store.protocol import Entry, check_properties


class FolderStore:
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
        self._index = Index(self._root, self._root / ".store", self._trash)
        self._folders = TopFolders(self._root, self._trash)
        self._in_trash = TopFolders(self._trash, self._trash)
        self._seen = self._root.is_dir()
        existing = next(path for path in (self._root, *self._root.parents) if os.path.lexists(path))
        if not existing.is_dir():
            raise UsageError(f"{existing} is a file, so no store can lie in it: name a folder.")
        self._search: str | None = None
        self._last: TopFolder | None = None
        self._tokens: set[str] = set()

    def __repr__(self) -> str:
        return f"FolderStore({str(self._root)!r})"

    @property
    def location(self) -> str:
        """`folder:` and the absolute path, links resolved."""
        return f"folder:{self._root}"

    @property
    def local_path(self) -> Path:
        """The folder."""
        return self._root

    @property
    def trash_location(self) -> str:
        """The path of `.trash`."""
        return str(self._trash)

    def free_space(self) -> int | None:
        """What is free on the disk that the folder lies, or will lie, on."""
        existing = next(path for path in (self._root, *self._root.parents) if path.exists())
        return shutil.disk_usage(existing).free

    def for_search(self, name: str) -> Self:
        """The same store; an id that several copies of a search hold is the one in folder `name`.

        Nor is anything looked for in copies of that folder, or taken from them once it is gone.
        """
        view = copy.copy(self)
        view._search, view._tokens, view._last = name, set(), None
        return view

    def url(self, entry_id: str) -> str:
        """The path under which a person finds it."""
        with self._honest(f"find file {entry_id}"):
            if entry_id == ROOT:
                return str(self._root)
            for folder in self._folders.all():
                if isinstance(folder, Damaged) and folder.id == entry_id:
                    return str(folder.base)
            found = self._find(entry_id)
            return str(found.index.base if found.is_top else found.index.locate(found.key)[1])

    def now(self) -> float:
        """The clock of this machine."""
        return time.time()

    def reserve(self, count: int) -> list[str]:
        """Return `count` random 128-bit ids."""
        return [uuid.uuid4().hex for _ in range(count)]

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
            raise UsageError(f"{entry_id!r} is no id of a folder store; ask `reserve` for one.")
        check_properties(properties or {})
        with self._honest(f"create {name!r}"):
            if parent == ROOT:
                self._prepare()
                place = _Place(self._index, "")
            else:
                place = self._find(parent)
            if self._is_used_elsewhere(entry_id, place):
                raise self._taken(entry_id, name)
            if parent == ROOT and content is None:
                return self._create_folder(entry_id, name, dict(properties or {}))
            described, visible = place.index.create(
                entry_id,
                content,
                name=name,
                parent=place.inner,
                created=self.now(),
                properties=dict(properties or {}),
            )
            return _entry(described, parent, visible, described.properties)

    def read(self, entry_id: str) -> bytes:
        """Return what lies under the file's visible name."""
        with self._honest(f"read file {entry_id}"):
            return disk.read(self._file(entry_id))

    read_unverified = read

    def fetch(self, entry_id: str, path: Path) -> None:
        """Copy a file to `path`, replacing it atomically, in constant memory."""
        with self._honest(f"fetch file {entry_id}"):
            source = disk.open_file(self._file(entry_id))
        with source:
            temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
            try:
                with temporary.open("xb") as target:
                    shutil.copyfileobj(source, target, 1 << 20)
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)

    def stat(self, entry_id: str) -> Entry:
        """Describe a file or folder that still lies under its visible name."""
        with self._honest(f"find file {entry_id}"):
            if entry_id == ROOT:
                about = Description(ROOT, self._root.name, "", "", 0.0, True, {}, "")
                known = self._index.kept_properties.read(ROOT) or {}
                return _entry(about, "", self._root, known)
            found = self._find(entry_id)
            if found.is_top and found.folder is not None:
                return self._top_entry(found.folder)
            return found.entry(*found.index.locate(found.key))

    def list(self, parent: str, *, name: str | None = None) -> builtins.list[Entry]:
        """What lies in a folder, oldest first, never lagging; not what people put there by hand."""
        found: list[Entry] = []
        with self._honest(f"list folder {parent}"):
            if parent == ROOT:
                if not self._root.is_dir():
                    raise self._missing()
                place = _Place(self._index, "")
                self._finish()
                found += map(self._top_entry, self._folders.all())
            else:
                place = self._find(parent)
            for entry_id, about, path in place.index.list(place.inner):
                if isinstance(about, Description):
                    with contextlib.suppress(FileNotFoundError):  # deleted at this moment
                        found.append(place.entry(about, path))
                else:
                    found.append(_damaged(entry_id, path, parent, about))
        found = [entry for entry in found if name is None or entry.name == name]
        return sorted(found, key=lambda entry: (entry.created, entry.id))

    def find_marked(self, properties: Mapping[str, str]) -> builtins.list[Entry]:
        """What has all these properties, of all that was ever created here and still exists."""
        found: list[Entry] = []
        with self._honest("look for marked files"):
            self._finish()
            for folder in (*self._folders.usable(), *self._in_trash.usable()):
                found.append(self._top_entry(folder))
                found += _with_properties(_Place(folder.index, TOP, folder))
            found += _with_properties(_Place(self._index, ""))
        found = [entry for entry in found if properties.items() <= entry.properties.items()]
        return sorted(found, key=lambda entry: (entry.created, entry.id))

    def set_properties(self, entry_id: str, properties: Mapping[str, str]) -> float:
        """Set properties, in a file beside; return the time."""
        check_properties(properties)
        with self._honest(f"set properties of file {entry_id}"):
            if entry_id == ROOT:
                self._prepare()
                self._index.set_properties(ROOT, properties)
            else:
                found = self._find(entry_id)
                if found.folder is not None and found.is_top:
                    found.index.set_properties(found.folder.token, properties)
                else:
                    described, _ = found.index.locate(found.key)
                    found.index.set_properties(described.id, properties)
        return self.now()

    def replace(self, entry_id: str, content: bytes) -> None:
        """Replace a file's content: a reader sees the old one or the new one."""
        with self._honest(f"replace file {entry_id}"):
            path = self._file(entry_id)
            temporary = self._find(entry_id).index.home / f"new-{uuid.uuid4().hex}"
            try:
                disk.write(temporary, content)
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
            disk.sync(path.parent)

    def trash(self, entry_id: str) -> None:
        """Move it into `.trash/`, from where a person can move it back; its name is free again."""
        with self._honest(f"put file {entry_id} into the trash"):
            if entry_id == ROOT:
                raise RefusedError(f"{self._root} is the store itself and is not put into a trash.")
            found = self._find(entry_id)
            if found.folder is None or not found.is_top:
                found.index.trash(found.key)
                return
            trash = disk.make_folders(self._root, ".trash")
            target = disk.with_ending(found.folder.directory, found.folder.token[:8])
            if os.path.lexists(trash / target):
                target = disk.with_ending(found.folder.directory)
            found.index.base.rename(trash / target)
            disk.sync(trash)
            disk.sync(self._root)

    def list_trash(self, parent: str) -> builtins.list[Entry]:
        """What lies in `.trash/` and came out of the folder, or lay in it when it was trashed."""
        found: list[Entry] = []
        with self._honest(f"look for what was in folder {parent}"):
            if parent == ROOT:
                found += map(self._top_entry, self._in_trash.usable())
                place = _Place(self._index, "")
            else:
                place = self._find(parent, also_trashed=True)
            listed = [(about, path) for _, about, path in place.index.list_trash(place.inner)]
            if place.folder is not None and place.folder.in_trash:  # then all that lies in it does
                inside = place.index.list(place.inner)
                listed += [
                    (item, path) for _, item, path in inside if isinstance(item, Description)
                ]
            found += [replace(place.entry(*item), trashed=True) for item in listed]
        return sorted(found, key=lambda entry: (entry.created, entry.id))

    def read_trashed(self, entry_id: str) -> bytes:
        """As `read`, also out of `.trash/`."""
        with self._honest(f"read file {entry_id}"):
            place = self._find(entry_id, also_trashed=True)
            found = place.index.in_trash(place.key)
            return disk.read(place.index.file(place.key) if found is None else found[1])

    def reindex(self, entry_id: str, ids: Mapping[str, str]) -> Entry:
        """See `Store.reindex`; what is left of the old index is kept beside the new one."""
        with self._honest(f"make the index of {entry_id} anew"):
            damaged = [
                f for f in self._folders.all() if f.id == entry_id and isinstance(f, Damaged)
            ]
            if damaged:
                base, name = damaged[0].base, damaged[0].name
            else:
                folder = self._top(entry_id)
                base, name = folder.index.base, folder.name
            self._prepare()
            rebuild_index(base, name, self._trash, ids)
            self._folders.forget()
            return self._top_entry(open_folder(base, self._trash))

    def duplicates(self) -> builtins.list[Entry]:
        """None: a path stands for one folder."""
        return []

    def abandoned(self, before: float) -> builtins.list[Path]:
        """Files that a killed create left, which nobody can find, last touched `before`."""
        indexes = [self._index, *(folder.index for folder in self._folders.usable())]
        with self._honest("look for abandoned files"):
            return [path for index in indexes for path in index.abandoned(before)]

    def _is_used_elsewhere(self, entry_id: str, place: "_Place") -> bool:
        """Whether another folder has the id; not the copies of this one, which share its ids."""
        token = None if place.folder is None else place.folder.token
        others = [
            folder.index
            for folder in (*self._folders.usable(), *self._in_trash.usable())
            if folder.token != token
        ]
        if place.folder is not None:
            others.append(self._index)
        return any(index.descriptions.has(entry_id) for index in others)

    def _prepare(self) -> None:
        """Make the store's own folders, where they are missing and nobody has taken them away."""
        if self._seen and not self._root.is_dir():
            raise self._missing()
        if not self._index.home.is_dir():
            disk.prepare(self._root, self._index.home)
        disk.require_folder(self._index.home)
        self._seen = True

    def _create_folder(self, entry_id: str, name: str, properties: dict[str, str]) -> Entry:
        """Create a folder directly in the root: it is made whole, and then moved to its place."""
        self._finish()
        known = [folder.token for folder in self._folders.usable()]
        if entry_id in known or self._index.describe(entry_id) is not None:
            raise self._taken(entry_id, name)
        is_free(self._root, name, entry_id)
        aside = disk.make_folders(self._index.home, "names", TOP)
        disk.make_folders(self._index.home, "ids")
        nonce = uuid.uuid4().hex
        described = Description(entry_id, name, "", "", self.now(), True, properties, nonce)
        new = aside / f"{nonce}.new"
        try:
            make_folder(new, described, self._trash)
            self._index.commit(aside / f"{nonce}.draft", encode(described), entry_id)
        except BaseException as error:
            shutil.rmtree(new, ignore_errors=True)
            if isinstance(error, FileExistsError):
                self._finish()
                raise self._taken(entry_id, name) from error
            raise
        self._show(new, described)
        return self._top_entry(self._top(entry_id))

    def _finish(self) -> bool:
        """Move to its place whatever folder was created by somebody who could not do that."""
        aside = self._index.home / "names" / TOP
        done = False
        for name in disk.names(aside):
            new = aside / name
            if not name.endswith(".new") or new.is_symlink() or not new.is_dir():
                continue
            with contextlib.suppress(StoreError, FileNotFoundError):
                described = open_folder(new, self._trash).described
                linked = self._index.describe(described.id)
                if linked is not None and linked.nonce == described.nonce:
                    self._show(new, described)
                    done = True
        return done

    def _show(self, new: Path, described: Description) -> None:
        """Give a created folder its visible name and wait for the disk; anybody may do it again."""
        for name in disk.file_names(described.name, described.id)[:2]:
            try:
                new.rename(self._root / name)
                break
            except OSError:
                if not os.path.lexists(new):
                    break  # somebody else has done it
        else:
            raise RefusedError(f"{self._root / name} is in the way of {described.name!r}.")
        disk.sync(self._index.descriptions.folder)
        disk.sync(self._root)
        self._index.descriptions.write_copy(described.id, encode(described))

    def _find(self, entry_id: str, *, also_trashed: bool = False) -> "_Place":
        """The folder and the index that know the id."""
        if not ID.fullmatch(entry_id) or entry_id in (ROOT, TOP):
            raise NotFoundError(f"There is no file {entry_id!r} in {self._root}.")
        last = self._last
        if last is not None and (self._search is not None or self._folders.is_unchanged()):
            if last.index.descriptions.has(entry_id) and is_same(last):
                return _Place(last.index, entry_id, last)
        found = self._choose(entry_id, also_trashed)
        if found.folder is not None and not is_same(found.folder):
            self._folders.forget()
            self._in_trash.forget()
            found = self._choose(entry_id, also_trashed)
        return found

    def _choose(self, entry_id: str, also_trashed: bool) -> "_Place":
        """Of the folders that hold the id the one that is meant."""
        folders = [*self._folders.usable(), *(self._in_trash.usable() if also_trashed else ())]
        holders = [folder for folder in folders if folder.index.descriptions.has(entry_id)]
        if not holders:
            with contextlib.suppress(NotFoundError):
                found = self._top(entry_id, folders)
                return _Place(found.index, TOP, found)
            return _Place(self._index, entry_id)
        if self._search is not None:
            ours = [folder for folder in folders if folder.name == self._search]
            self._tokens |= {folder.token for folder in ours}
            named = [folder for folder in ours if folder in holders]
            holders = named or [one for one in holders if one.token not in self._tokens]
            if not holders:
                place = self._root / self._search
                raise NotFoundError(f"There is no file {entry_id} in {place}, or it was deleted.")
        if len(holders) > 1:
            places = ", ".join(str(folder.index.base) for folder in holders)
            raise StoreError(f"The file {entry_id} lies in several copies of a folder: {places}.")
        copies = [folder for folder in folders if folder.token == holders[0].token]
        if self._search == holders[0].name or (self._search is None and len(copies) == 1):
            self._last = holders[0]
        return _Place(holders[0].index, entry_id, holders[0])

    def _top(self, entry_id: str, folders: "builtins.list[TopFolder] | None" = None) -> TopFolder:
        """The folder directly in the root that bears the id; renamed, it is found by its token."""
        if self._finish() or folders is None:
            folders = self._folders.usable()
        exactly = [folder for folder in folders if folder.id == entry_id]
        for found in (exactly, [folder for folder in folders if folder.token == entry_id]):
            if len(found) == 1:
                return found[0]
        for damaged in self._folders.all():
            if isinstance(damaged, Damaged) and damaged.id == entry_id:
                raise damaged.error
        raise NotFoundError(f"There is no folder {entry_id} in {self._root}, or it was deleted.")

    def _file(self, entry_id: str) -> Path:
        found = None if entry_id == ROOT else self._find(entry_id)
        if found is None or found.is_top:
            path = self._root if found is None else found.index.base
            raise RefusedError(f"{path} is a folder: it has no content.")
        return found.index.file(found.key)

    @staticmethod
    def _top_entry(folder: TopFolder | Damaged) -> Entry:
        if isinstance(folder, Damaged):
            return replace(_damaged(folder.id, folder.base, ROOT, folder.error), name=folder.name)
        return Entry(
            id=folder.id,
            name=folder.name,
            parent=ROOT,
            created=folder.described.created,
            is_folder=True,
            properties=folder.index.properties(folder.described),
            trashed=folder.in_trash,
        )

    def _taken(self, entry_id: str, name: str) -> IdTakenError:
        return IdTakenError(f"The id {entry_id}, asked for {name!r}, was used in {self._root}.")

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


@dataclass(frozen=True)
class _Place:
    """Where an id is known: the index, the key in it, and the folder in the root that has it."""

    index: Index
    key: str
    folder: TopFolder | None = None

    @property
    def is_top(self) -> bool:
        """Whether the id is that of the folder itself."""
        return self.key == TOP

    @property
    def inner(self) -> str:
        """How the index calls the folder of this id, as a parent."""
        return "" if self.is_top else self.key

    def entry(self, described: Description, path: Path) -> Entry:
        """The entry of a file or folder in this index."""
        above = ROOT if self.folder is None else self.folder.id
        properties = self.index.properties(described)
        return _entry(described, described.parent or above, path, properties)


def _with_properties(place: _Place) -> Iterator[Entry]:
    """The entries of an index that have properties."""
    for key in place.index.kept_properties:
        if key == (ROOT if place.folder is None else place.folder.token):
            continue
        with contextlib.suppress(StoreError):  # deleted by hand, or damaged
            gone = place.index.in_trash(key)
            entry = place.entry(*(gone or place.index.locate(key)))
            trashed = gone is not None or (place.folder is not None and place.folder.in_trash)
            yield replace(entry, trashed=trashed)


def _entry(
    described: Description, parent: str, visible: Path, properties: Mapping[str, str]
) -> Entry:
    return Entry(
        id=described.id,
        name=described.name,
        parent=parent,
        created=described.created,
        size=0 if described.is_folder else visible.lstat().st_size,
        is_folder=described.is_folder,
        properties=properties,
    )


def _damaged(entry_id: str, path: Path, parent: str, error: StoreError) -> Entry:
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
