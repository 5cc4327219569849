"""Top-level folders of a store, each of which is self-contained: its files and its index.

A folder contains the token that it was created with. Under its original name, the token is its id;
if it was renamed by hand or is a copy, its id consists of the token and its present name. So two
copies in one store have different ids, without any write to either of them.
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
)
from colab_drive_tuner.store.folder.index import INDEX_FOLDER, Index

_STORE_FOLDERS = (INDEX_FOLDER, "records")
"""Folders by which a store's folder is recognized, even if it is incomplete."""
_ENDING = re.compile(r"~[0-9A-Za-z_-]{8}(?=\.|$)")
_SETTLED = 2.0
"""Seconds after which no file system gives a second change the same time as the first."""


@dataclass(frozen=True)
class TopFolder:
    """A folder directly in the store's root, or in its trash."""

    index: Index
    described: Description
    in_trash: bool
    state: tuple[object, ...]
    """Signature that changes when the folder is replaced; see `is_current`."""

    @property
    def token(self) -> str:
        """The id it was created under, which its copies share."""
        return self.described.id

    @property
    def base(self) -> Path:
        """The path of the directory."""
        return self.index.base

    @property
    def _has_original_name(self) -> bool:
        names = disk.file_names(self.described.name, self.token)
        if self.in_trash:
            return self.base.name in [disk.with_ending(name, self.token[:8]) for name in names]
        # With the second name it could also be a copy of the folder that has the first.
        original = self.index.base.with_name(names[0]) if self.base.name == names[1] else None
        return self.base.name in names and not (original and _token_of(original) == self.token)

    @cached_property
    def id(self) -> str:
        """The folder's id in this store."""
        if self._has_original_name:
            return self.token
        return f"{self.token[:100]}-{hashlib.sha256(os.fsencode(self.base.name)).hexdigest()[:12]}"

    @cached_property
    def name(self) -> str:
        """The displayed name: the directory's name, or the name that this stands for."""
        if self._has_original_name:
            return self.described.name
        ending = f"~{self.token[:8]}" if self.in_trash else ""
        return self.base.name.replace(ending, "", 1)


@dataclass(frozen=True)
class Damaged:
    """A folder that was created by a store and cannot be used as it is."""

    base: Path
    error: StoreError

    @property
    def name(self) -> str:
        """The name, as far as it can be derived from the directory."""
        return _ENDING.sub("", self.base.name)

    @cached_property
    def id(self) -> str:
        """An id for display only."""
        return f"damaged-{hashlib.sha256(os.fsencode(self.base.name)).hexdigest()[:12]}"


def open_folder(base: Path, trash: Path, *, in_trash: bool = False) -> TopFolder:
    """Open the folder at `base`; raises `ChecksumError` or `RefusedError` if it is unusable."""
    home = base / INDEX_FOLDER
    index = Index(base, home, trash)
    disk.require_folder(base)
    try:
        state = _state(home)
        described = index.descriptions.read(TOP)
        copy = index.descriptions.read_copy(TOP)
    except disk.MISSING:
        raise _missing_index_error(base) from None
    except PermissionError as error:
        raise disk.translated_error(error, "read its index") from error
    if described is None:
        raise _missing_index_error(base)
    # Both are valid but different, so one of them belongs to another folder.
    if copy is not None and decode(copy, TOP) not in (None, described):
        raise disk.damaged_error(index.descriptions.path(TOP), home / "copies" / "ids" / TOP)
    return TopFolder(index, described, in_trash, state)


def make_folder(base: Path, described: Description, trash: Path) -> None:
    """Create a folder with its index, durably."""
    home = base / INDEX_FOLDER
    for kind in ("ids", "copies/ids"):
        (home / kind).mkdir(parents=True)
    disk.write(home / "ids" / TOP, encode(described))
    index = Index(base, home, trash)
    index.descriptions.write_copy(TOP, encode(described))
    if described.properties:
        index.write_properties(described.id, described.properties)
    for folder in (home / "ids", home, base):
        sync_folder(folder)


def require_free_name(place: Path, name: str, entry_id: str) -> None:
    """Raise `RefusedError` if a folder of that name is neither a search nor empty."""
    visible = place / disk.file_names(name, entry_id)[0]
    if visible.is_symlink():
        raise disk.symlink_error(visible)
    # Checked twice: the folder may be trashed, and another one created, concurrently.
    if (
        visible.is_dir()
        and not _token_of(visible)
        and disk.list_names(visible)
        and not _token_of(visible)
    ):
        raise RefusedError(
            f"{visible} already exists, and no index in it describes it. If it is a search, "
            f"see `colab-drive-tuner doctor`; else move it away, or choose another name."
        )


class TopFolders:
    """Cache of the folders in the root or trash; invalid once one is added, removed or renamed."""

    def __init__(self, place: Path, trash: Path) -> None:
        self._place, self._trash = place, trash
        self._changed: tuple[int, bool] = (0, False)
        self._known: list[TopFolder | Damaged] = []
        self._others: list[Path] = []
        """Folders without an index; a copy that is being made gets its own later."""

    def forget(self) -> None:
        """Discard the cached list."""
        self._changed = (0, False)

    def all(self) -> list[TopFolder | Damaged]:
        """Return all folders, none if there is no root; check `is_current` before using one."""
        try:
            changed = self._place.stat().st_mtime_ns
            if self._changed == (changed, True) and not any(map(_has_index, self._others)):
                return self._known  # no folder was added, removed or renamed
            folders = sorted(
                item.name
                for item in os.scandir(self._place)
                if not item.name.startswith(".") and (item.is_symlink() or item.is_dir())
            )
        except disk.MISSING:
            return []
        settled = time.time() - changed / 1e9 > _SETTLED
        before = {known.base.name: known for known in self._known}
        found: list[TopFolder | Damaged] = []
        others = []
        for name in folders:
            known, base = before.get(name), self._place / name
            if known is not None and is_current(known):
                found.append(known)
            elif _has_index(base):
                found += self._open(base)
            else:
                others.append(base)
        # A damaged folder may be restored at any time.
        complete = all(isinstance(folder, TopFolder) for folder in found)
        self._known, self._others, self._changed = found, others, (changed, settled and complete)
        return found

    def _open(self, base: Path) -> Iterator[TopFolder | Damaged]:
        """Yield the folder at `base`, unless it was moved away."""
        try:
            yield open_folder(base, self._trash, in_trash=self._place == self._trash)
        except StoreError as error:
            yield Damaged(base, error)
        except disk.MISSING:
            pass

    def usable(self) -> list[TopFolder]:
        """Return the folders that are not damaged."""
        return [folder for folder in self.all() if isinstance(folder, TopFolder)]


def _has_index(base: Path) -> bool:
    """Return whether a store created the folder at `base`."""
    return any(os.path.lexists(base / trace) for trace in _STORE_FOLDERS)


def is_current(folder: TopFolder | Damaged) -> bool:
    """Return whether the folder on the disk is still the one that was opened."""
    with contextlib.suppress(OSError):
        return isinstance(folder, TopFolder) and _state(folder.index.home) == folder.state
    return False


def _state(home: Path) -> tuple[object, ...]:
    """Return a signature that changes when the index or the folder's description is replaced."""
    disk.require_folder(home.parent)
    found = disk.require_folder(home)
    with contextlib.suppress(*disk.MISSING):
        about = (home / "ids" / TOP).lstat()
        return found.st_dev, found.st_ino, about.st_ino, about.st_mtime_ns, about.st_size
    return found.st_dev, found.st_ino


def _token_of(base: Path) -> str | None:
    with contextlib.suppress(OSError):
        return open_folder(base, base).token
    return None


def _missing_index_error(base: Path) -> ChecksumError:
    return ChecksumError(
        f"{base} has lost its index, {base / INDEX_FOLDER}, which describes the files in it: it "
        f"was deleted, or not copied with the folder. Restore it from the original folder, or let "
        f"`colab-drive-tuner repair` rebuild it from the files."
    )
