"""Location of an id in a folder store: the folder and the index that know it; new folders."""

import contextlib
import copy
import os
import shutil
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Self

from colab_drive_tuner.errors import IdTakenError, NotFoundError, RefusedError, StoreError
from colab_drive_tuner.local_files import sync_folder
from colab_drive_tuner.store.folder import disk
from colab_drive_tuner.store.folder.description import ID, ROOT, TOP, Description, encode
from colab_drive_tuner.store.folder.entries import Place
from colab_drive_tuner.store.folder.folders import (
    Damaged,
    TopFolder,
    TopFolders,
    is_free,
    is_same,
    make_folder,
    open_folder,
)
from colab_drive_tuner.store.folder.index import Index


class Locator:
    """Finds ids in the folders of a store; for one search, in the folder of its name."""

    def __init__(self, root: Path, trash: Path) -> None:
        self._root, self._trash = root, trash
        self.index = Index(root, root / ".store", trash)
        """That of the root: its own files, and each id that a folder was made under."""
        self.folders = TopFolders(root, trash)
        self.in_trash = TopFolders(trash, trash)
        self._search: str | None = None
        self._tokens: set[str] = set()
        """Those of the folders that the search's name stood for; their copies are not looked at."""
        self._last: TopFolder | None = None
        self._home: TopFolder | None = None
        """The folder in which something of the search was found first; renamed, it is the same."""

    def for_search(self, name: str) -> Self:
        """One that finds an id of several copies in the folder of that name.

        What it found there once it finds in that very folder, also when it is renamed meanwhile.
        """
        view = copy.copy(self)
        view._search, view._tokens, view._last, view._home = name, set(), None, None
        return view

    def everywhere(self) -> list[TopFolder]:
        """The folders directly in the store, and in its trash, that can be used."""
        return [*self.folders.usable(), *self.in_trash.usable()]

    def damaged(self, entry_id: str) -> Damaged | None:
        """The folder of that id, if it is one that cannot be used as it is."""
        found = [folder for folder in self.folders.all() if folder.id == entry_id]
        return found[0] if found and isinstance(found[0], Damaged) else None

    def is_used_elsewhere(self, entry_id: str, place: Place) -> bool:
        """Whether another folder has the id; not the copies of this one, which share its ids."""
        token = None if place.folder is None else place.folder.token
        others = [folder.index for folder in self.everywhere() if folder.token != token]
        if place.folder is not None:
            others.append(self.index)
        return any(index.descriptions.has(entry_id) for index in others)

    def create_folder(
        self, entry_id: str, name: str, properties: dict[str, str], created: float
    ) -> TopFolder:
        """Create a folder directly in the root: it is made whole, and then moved to its place."""
        self.finish()
        known = [folder.token for folder in self.folders.usable()]
        if entry_id in known or self.index.describe(entry_id) is not None:
            raise self.taken(entry_id, name)
        is_free(self._root, name, entry_id)
        aside = self.index.names.made("")
        disk.make_folders(self.index.home, "ids")
        nonce = uuid.uuid4().hex
        described = Description(entry_id, name, "", "", created, True, properties, nonce)
        new = aside / f"{nonce}.new"
        try:
            make_folder(new, described, self._trash)
            self.index.commit(aside / f"{nonce}.draft", encode(described), entry_id)
        except BaseException as error:  # an interrupt, too, leaves nothing half made
            shutil.rmtree(new, ignore_errors=True)
            if isinstance(error, FileExistsError):
                self.finish()
                raise self.taken(entry_id, name) from error
            raise
        self._show(new, described)
        return self.top(entry_id)

    def finish(self) -> bool:
        """Move to its place whatever folder was created by somebody who could not do that."""
        aside = self.index.names.of("")
        done = False
        for name in disk.names(aside):
            new = aside / name
            if not name.endswith(".new") or new.is_symlink() or not new.is_dir():
                continue
            with contextlib.suppress(StoreError, FileNotFoundError):
                described = open_folder(new, self._trash).described
                linked = self.index.describe(described.id)
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
        sync_folder(self.index.descriptions.folder)
        sync_folder(self._root)
        self.index.descriptions.write_copy(described.id, encode(described))

    def rename_folder(self, folder: TopFolder, name: str) -> TopFolder:
        """Give a folder another name; the id stays, unless copies of the folder lie beside it."""
        is_free(self._root, name, folder.token)
        there = self.everywhere()
        # Copies have one token, and are told apart by the names of their directories alone.
        alone = [one.token for one in there].count(folder.token) == 1
        names = disk.file_names(name, folder.token)
        if not alone and name != names[0]:
            raise RefusedError(
                f"{folder.index.base} cannot be called {name!r} while copies of it lie in "
                f"{self._root}: a disk cannot bear that name as it is, so choose a plainer one."
            )
        for file in names if alone else names[:1]:
            base = self._root / file
            if not os.path.lexists(base):
                folder.index.base.rename(base)
                break
        else:
            raise RefusedError(f"{base} is in the way of {name!r}: choose another name.")
        sync_folder(self._root)
        self.folders.forget()
        if alone:
            described = replace(folder.described, name=name)
            open_folder(base, self._trash).index.descriptions.rewrite(TOP, encode(described))
        return open_folder(base, self._trash)

    def find(self, entry_id: str, *, also_trashed: bool = False) -> Place:
        """The folder and the index that know the id."""
        if entry_id == ROOT:
            return Place(self.index, ROOT)
        if not ID.fullmatch(entry_id) or entry_id == TOP:
            raise NotFoundError(f"There is no file {entry_id!r} in {self._root}.")
        last = self._last
        if last is not None and (self._search is not None or self.folders.is_unchanged()):
            if last.index.descriptions.has(entry_id) and is_same(last):
                return Place(last.index, entry_id, last)
        found = self._choose(entry_id, also_trashed)
        if found.folder is not None and not is_same(found.folder):
            self.folders.forget()
            self.in_trash.forget()
            found = self._choose(entry_id, also_trashed)
        return found

    def _choose(self, entry_id: str, also_trashed: bool) -> Place:
        """Of the folders that hold the id the one that is meant."""
        folders = self.everywhere() if also_trashed else self.folders.usable()
        holders = [folder for folder in folders if folder.index.descriptions.has(entry_id)]
        home = [folder for folder in folders if self._is_home(folder)]
        if not holders:
            with contextlib.suppress(NotFoundError):
                is_home = home and self._home is not None and self._home.id == entry_id
                found = home[0] if is_home else self.top(entry_id, folders)
                self._note_home(found)
                return Place(found.index, TOP, found)
            return Place(self.index, entry_id)
        if self._search is not None:
            ours = [folder for folder in folders if folder.name == self._search]
            self._tokens |= {folder.token for folder in ours}
            holders = (
                [folder for folder in home if folder in holders]
                or [folder for folder in ours if folder in holders]
                or [folder for folder in holders if folder.token not in self._tokens]
            )
            if not holders:
                place = self._root / self._search
                raise NotFoundError(f"There is no file {entry_id} in {place}, or it was deleted.")
        if len(holders) > 1:
            places = ", ".join(str(folder.index.base) for folder in holders)
            raise StoreError(f"The file {entry_id} lies in several copies of a folder: {places}.")
        copies = [folder for folder in folders if folder.token == holders[0].token]
        self._note_home(holders[0])
        if self._is_home(holders[0]) or (self._search is None and len(copies) == 1):
            self._last = holders[0]
        return Place(holders[0].index, entry_id, holders[0])

    def _note_home(self, found: TopFolder) -> None:
        if found.name == self._search and not self._is_home(found):
            self._home = found

    def _is_home(self, folder: TopFolder) -> bool:
        """Whether it is the search's very folder, whatever its name is now."""
        return self._home is not None and folder.state == self._home.state

    def top(self, entry_id: str, folders: list[TopFolder] | None = None) -> TopFolder:
        """The folder directly in the root that bears the id; renamed, it is found by its token."""
        if self.finish() or folders is None:
            folders = self.folders.usable()
        exactly = [folder for folder in folders if folder.id == entry_id]
        for found in (exactly, [folder for folder in folders if folder.token == entry_id]):
            if len(found) == 1:
                return found[0]
        damaged = self.damaged(entry_id)
        if damaged is not None:
            raise damaged.error
        raise NotFoundError(f"There is no folder {entry_id} in {self._root}, or it was deleted.")

    def taken(self, entry_id: str, name: str) -> IdTakenError:
        """The error to raise where the id was used before."""
        return IdTakenError(f"The id {entry_id}, asked for {name!r}, was used in {self._root}.")
