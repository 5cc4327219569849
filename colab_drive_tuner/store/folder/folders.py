"""The folders directly in a store, each of which is whole in itself: its files and its index.

Such a folder bears the token that it was created with. Under its first name, the token is its id;
renamed by hand, or a copy of another one, it is known by token and present name together. So of
two copies in one store each has an id of its own, without anything being written into them.
"""

import contextlib
import hashlib
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from colab_drive_tuner.errors import ChecksumError, RefusedError, StoreError
from colab_drive_tuner.local_files import sync_folder
from colab_drive_tuner.store.folder import disk
from colab_drive_tuner.store.folder.description import (
    TOP,
    Description,
    decode,
    encode,
    encode_properties,
)
from colab_drive_tuner.store.folder.index import NAME, Index

_TRACES = (NAME, "records")
"""What lies in a folder that a store made, even where half of it was left behind."""
_ENDING = re.compile(r"~[0-9A-Za-z_-]{8}(?=\.|$)")
_SETTLED = 2.0
"""Seconds after which no file system gives a second change the same time as the first."""


@dataclass(frozen=True)
class TopFolder:
    """A folder directly in the store, or in its trash."""

    index: Index
    described: Description
    in_trash: bool
    state: tuple[object, ...]
    """What tells whether this is still what lies there."""

    @property
    def token(self) -> str:
        """The id it was created under, which copies of it share."""
        return self.described.id

    @property
    def directory(self) -> str:
        """The name of the directory."""
        return self.index.base.name

    @property
    def _is_at_home(self) -> bool:
        homes = disk.file_names(self.described.name, self.token)
        if self.in_trash:
            return self.directory in [disk.with_ending(home, self.token[:8]) for home in homes]
        # Under the second name it could also be a copy of the one that has the first.
        twin = self.index.base.with_name(homes[0]) if self.directory == homes[1] else None
        return self.directory in homes and not (twin and _token(twin) == self.token)

    @cached_property
    def id(self) -> str:
        """The folder's id in this store."""
        if self._is_at_home:
            return self.token
        return f"{self.token[:100]}-{hashlib.sha256(os.fsencode(self.directory)).hexdigest()[:12]}"

    @cached_property
    def name(self) -> str:
        """What people call it: the directory's name, or what that stands for."""
        if self._is_at_home:
            return self.described.name
        ending = f"~{self.token[:8]}" if self.in_trash else ""
        return self.directory.replace(ending, "", 1)


@dataclass(frozen=True)
class Damaged:
    """A folder that a store made, and that cannot be used as it is."""

    base: Path
    error: StoreError

    @property
    def name(self) -> str:
        """The name of what it was, as far as the directory says it."""
        return _ENDING.sub("", self.base.name)

    @cached_property
    def id(self) -> str:
        """An id for showing it."""
        return f"damaged-{hashlib.sha256(os.fsencode(self.base.name)).hexdigest()[:12]}"


def open_folder(base: Path, trash: Path, *, in_trash: bool = False) -> TopFolder:
    """The folder at `base`; raises `ChecksumError` or `RefusedError` where it cannot be used."""
    home = base / NAME
    disk.require_folder(base)
    try:
        state = _state(home)
    except disk.NOT_THERE:
        raise _without_index(base) from None
    index = Index(base, home, trash)
    described = index.descriptions.read(TOP)
    if described is None:
        raise _without_index(base)
    copy = index.descriptions.read_copy(TOP)
    # Each understood by itself and yet not the same: one of them came out of another folder.
    if copy is not None and copy != encode(described) and decode(copy, TOP) is not None:
        raise disk.damaged(index.descriptions.path(TOP), home / "copies" / "ids" / TOP)
    return TopFolder(index, described, in_trash, state)


def make_folder(base: Path, described: Description, trash: Path) -> None:
    """Make a folder with its index, on the disk when this returns."""
    home = base / NAME
    for kind in ("ids", "copies/ids"):
        (home / kind).mkdir(parents=True)
    disk.write(home / "ids" / TOP, encode(described))
    index = Index(base, home, trash)
    index.descriptions.write_copy(TOP, encode(described))
    if described.properties:
        properties = encode_properties(described.id, described.properties)
        index.kept_properties.write(described.id, properties)
    for folder in (home / "ids", home, base):
        sync_folder(folder)


def is_free(place: Path, name: str, entry_id: str) -> None:
    """Raise `RefusedError` where a folder of that name is not a search of ours, nor empty."""
    visible = place / disk.file_names(name, entry_id)[0]
    if visible.is_symlink():
        raise disk.link_refused(visible)
    # One may be put into the trash at this moment, and another come in its place.
    if visible.is_dir() and not _token(visible) and disk.names(visible) and not _token(visible):
        raise RefusedError(
            f"{visible} is there already, and no index in it says what it is. If it is a search, "
            f"see `colab-drive-tuner doctor`; else move it away, or choose another name."
        )


class TopFolders:
    """The folders in one place, read anew whenever something was added, removed or renamed."""

    def __init__(self, place: Path, trash: Path) -> None:
        self._place, self._trash = place, trash
        self._changed: tuple[int, bool] = (0, False)
        self._known: list[TopFolder | Damaged] = []

    def forget(self) -> None:
        """Read them anew when they are asked for."""
        self._changed = (0, False)

    def is_unchanged(self) -> bool:
        """Whether no folder was added, removed or renamed since `all` was asked."""
        with contextlib.suppress(OSError):
            return self._changed == (self._place.stat().st_mtime_ns, True)
        return False

    def all(self) -> list[TopFolder | Damaged]:
        """Each of them; none where the place does not exist. Whoever uses one asks `is_same`."""
        if self.is_unchanged():
            return self._known
        try:
            changed = self._place.stat().st_mtime_ns
            items = sorted(os.scandir(self._place), key=lambda item: item.name)
        except disk.NOT_THERE:
            return []
        settled = time.time() - changed / 1e9 > _SETTLED
        before = {known.directory: known for known in self.usable(self._known)}
        found: list[TopFolder | Damaged] = []
        for item in items:
            known = before.get(item.name)
            if known is not None and is_same(known):
                found.append(known)
            elif not item.name.startswith(".") and (item.is_symlink() or item.is_dir()):
                found += self._open(self._place / item.name)
        self._known, self._changed = found, (changed, settled)
        return found

    def _open(self, base: Path) -> Iterator[TopFolder | Damaged]:
        """The folder at `base`, if a store made it."""
        if any(os.path.lexists(base / trace) for trace in _TRACES):
            try:
                yield open_folder(base, self._trash, in_trash=self._place == self._trash)
            except StoreError as error:
                yield Damaged(base, error)
            except disk.NOT_THERE:
                pass  # moved away at this moment

    def usable(self, folders: list[TopFolder | Damaged] | None = None) -> list[TopFolder]:
        """Those that are not damaged."""
        return [f for f in (self.all() if folders is None else folders) if isinstance(f, TopFolder)]


def is_same(folder: TopFolder | Damaged) -> bool:
    """Whether what was opened is still what lies there."""
    with contextlib.suppress(OSError):
        return isinstance(folder, TopFolder) and _state(folder.index.home) == folder.state
    return False


def _state(home: Path) -> tuple[object, ...]:
    """What changes when an index is replaced, or what it says about its folder is."""
    disk.require_folder(home.parent)
    found = disk.require_folder(home)
    with contextlib.suppress(*disk.NOT_THERE):
        about = (home / "ids" / TOP).lstat()
        return found.st_dev, found.st_ino, about.st_ino, about.st_mtime_ns, about.st_size
    return found.st_dev, found.st_ino


def _token(base: Path) -> str | None:
    with contextlib.suppress(OSError):
        return open_folder(base, base).token
    return None


def _without_index(base: Path) -> ChecksumError:
    return ChecksumError(
        f"{base} has lost its index, {base / NAME}, which says what each file in it is: it was "
        f"deleted, or left behind by a copy. Put it back from where the folder was copied, or let "
        f"`colab-drive-tuner repair` go on from the files."
    )
