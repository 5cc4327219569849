"""Lookup of ids in a folder store; creation and renaming of its top-level folders."""

import contextlib
import copy
import os
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Self

from colab_drive_tuner.errors import IdTakenError, NotFoundError, RefusedError, StoreError
from colab_drive_tuner.local_files import sync_folder
from colab_drive_tuner.store.folder import disk
from colab_drive_tuner.store.folder.description import ID, ROOT, TOP, Description, encode
from colab_drive_tuner.store.folder.entries import IdLocation
from colab_drive_tuner.store.folder.index import Index
from colab_drive_tuner.store.folder.top_folders import (
    Damaged,
    TopFolder,
    TopFolders,
    is_current,
    make_folder,
    open_folder,
    require_free_name,
)


class IdLookup:
    """Finds ids in the folders of a store; for one search, in the folder with its name.

    It also creates and renames the top-level folders, which changes what is found.
    """

    def __init__(self, root: Path, trash: Path) -> None:
        self._root, self._trash = root, trash
        self.index = Index(root, root / ".store", trash)
        """Index of the root: its own files, and the ids of all top-level folders ever created."""
        self.folders = TopFolders(root, trash)
        self.in_trash = TopFolders(trash, trash)
        self._search: str | None = None
        self._tokens: set[str] = set()
        """Tokens of the folders that had the search's name; copies of them are not searched."""
        self._search_folder: TopFolder | None = None
        """The folder in which the search was first found; still used after it is renamed."""

    def for_search(self, name: str) -> Self:
        """Return a lookup that resolves ids that several copies share in the folder of that name.

        It keeps using the folder that it found first, even if that is renamed.
        """
        lookup = copy.copy(self)
        lookup._search, lookup._tokens, lookup._search_folder = name, set(), None
        return lookup

    def find(
        self, entry_id: str, *, also_trashed: bool = False, of_search: bool = False
    ) -> IdLocation:
        """Return the location of the id; `of_search`: it is in the search's folder or not used yet.

        Then a missing id is not looked for in the folders of all other searches.
        """
        if entry_id == ROOT:
            return IdLocation(self.index, ROOT)
        if not ID.fullmatch(entry_id) or entry_id == TOP:
            raise NotFoundError(f"There is no file {entry_id!r} in {self._root}.")
        own = self._search_folder
        if own is not None and own.index.descriptions.has(entry_id) and is_current(own):
            return IdLocation(own.index, entry_id, own)
        found = self._locate(entry_id, also_trashed, of_search)
        if found.folder is not None and not is_current(found.folder):
            self.folders.forget()
            self.in_trash.forget()
            found = self._locate(entry_id, also_trashed, of_search)
        if found.folder is not None and found.folder.name == self._search:
            if not self._is_search_folder(found.folder):
                self._search_folder = found.folder
        return found

    def _locate(self, entry_id: str, also_trashed: bool, of_search: bool) -> IdLocation:
        """Select one of the folders that contain the id."""
        folders = self.all_usable() if also_trashed else self.folders.usable()
        exactly = [folder for folder in folders if folder.id == entry_id]
        if self._search_folder is not None and self._search_folder.id == entry_id:
            own = [folder for folder in folders if self._is_search_folder(folder)]
            exactly = own or exactly
        if len(exactly) == 1:  # then no folder's index has to be searched
            return IdLocation(exactly[0].index, TOP, exactly[0])
        holders = self._holders(entry_id, folders, of_search)
        if len(holders) > 1:
            places = ", ".join(str(folder.index.base) for folder in holders)
            raise StoreError(
                f"The file {entry_id} is in several copies of a folder: {places}. Keep the one "
                "that you need, and move the others out of the store."
            )
        if holders:
            return IdLocation(holders[0].index, entry_id, holders[0])
        with contextlib.suppress(NotFoundError):
            found = self.top_folder(entry_id, folders)
            return IdLocation(found.index, TOP, found)
        return IdLocation(self.index, entry_id)

    def _holders(self, entry_id: str, folders: list[TopFolder], of_search: bool) -> list[TopFolder]:
        """Return the folders in which the id was used.

        For a search, these are its own folder, else folders with its name, else others except
        copies of one that had its name.
        """

        def having(some: list[TopFolder]) -> list[TopFolder]:
            return [folder for folder in some if folder.index.descriptions.has(entry_id)]

        if self._search is None:
            return having(folders)
        own = [folder for folder in folders if self._is_search_folder(folder)]
        named = [folder for folder in folders if folder.name == self._search]
        self._tokens |= {folder.token for folder in named}
        found = having(own) or having(named)
        if found or (of_search and (own or named)):
            return found
        return having([folder for folder in folders if folder.token not in self._tokens])

    def _is_search_folder(self, folder: TopFolder) -> bool:
        """Return whether it is the search's own folder, whatever its present name."""
        return self._search_folder is not None and folder.state == self._search_folder.state

    def top_folder(self, entry_id: str, folders: list[TopFolder] | None = None) -> TopFolder:
        """Return the top-level folder with this id; a renamed one is found by its token."""
        if self.finish_creates() or folders is None:
            folders = self.folders.usable()
        exactly = [folder for folder in folders if folder.id == entry_id]
        for found in (exactly, [folder for folder in folders if folder.token == entry_id]):
            if len(found) == 1:
                return found[0]
        damaged = self.damaged_folder(entry_id)
        if damaged is not None:
            raise damaged.error
        raise NotFoundError(f"There is no folder {entry_id} in {self._root}, or it was deleted.")

    def damaged_folder(self, entry_id: str) -> Damaged | None:
        """Return the damaged folder with this id; None if there is none."""
        damaged = (folder for folder in self.folders.all() if isinstance(folder, Damaged))
        return next((folder for folder in damaged if folder.id == entry_id), None)

    def all_usable(self) -> list[TopFolder]:
        """Return the usable folders in the root and in the trash."""
        return [*self.folders.usable(), *self.in_trash.usable()]

    def is_used_elsewhere(self, entry_id: str, location: IdLocation) -> bool:
        """Return whether another folder has the id, apart from copies of this one."""
        token = None if location.folder is None else location.folder.token
        others = [folder.index for folder in self.all_usable() if folder.token != token]
        if location.folder is not None:
            others.append(self.index)
        return any(index.descriptions.has(entry_id) for index in others)

    def create_folder(
        self, entry_id: str, name: str, properties: dict[str, str], created: float
    ) -> TopFolder:
        """Create a top-level folder: it is completed first and then moved to its visible path."""
        self.finish_creates()
        known = [folder.token for folder in self.folders.usable()]
        if entry_id in known or self.index.describe(entry_id) is not None:
            raise self.id_taken_error(entry_id, name)
        require_free_name(self._root, name, entry_id)
        self.index.names.ensure_folder("")
        nonce = uuid.uuid4().hex
        described = Description(entry_id, name, "", "", created, True, properties, nonce)
        try:
            self.index.commit(described, lambda path: make_folder(path, described, self._trash))
        except FileExistsError as error:
            self.finish_creates()
            raise self.id_taken_error(entry_id, name) from error
        self._publish(described)
        return self.top_folder(entry_id)

    def finish_creates(self) -> bool:
        """Complete interrupted creates of top-level folders; return whether there were any."""
        folder = self.index.names.folder_of("")
        completed = False
        for name in disk.list_names(folder):
            pending = folder / name
            if not name.endswith(".new") or pending.is_symlink() or not pending.is_dir():
                continue
            with contextlib.suppress(StoreError, FileNotFoundError):
                described = open_folder(pending, self._trash).described
                linked = self.index.describe(described.id)
                if linked is not None and linked.nonce == described.nonce:
                    self._publish(described)
                    completed = True
        return completed

    def _publish(self, described: Description) -> None:
        """Give a created folder its visible name, durably; idempotent."""
        pending = self.index.names.pending_content(described)
        for name in disk.file_names(described.name, described.id):
            try:
                pending.rename(self._root / name)
                break
            except OSError:
                if not os.path.lexists(pending):
                    break  # done by another process
        else:
            raise RefusedError(f"{self._root / name} is in the way of {described.name!r}.")
        sync_folder(self.index.descriptions.folder)
        sync_folder(self._root)
        self.index.descriptions.write_copy(described.id, encode(described))

    def rename_folder(self, folder: TopFolder, name: str) -> TopFolder:
        """Rename a folder; its id stays the same, unless copies of it are in the store."""
        require_free_name(self._root, name, folder.token)
        # Copies share their token and are distinguished only by the names of their directories.
        alone = [other.token for other in self.all_usable()].count(folder.token) == 1
        names = disk.file_names(name, folder.token)
        if not alone and name != names[0]:
            raise RefusedError(
                f"{folder.index.base} cannot be called {name!r} while copies of it are in "
                f"{self._root}: that is not a valid directory name, so choose a plainer one."
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

    def id_taken_error(self, entry_id: str, name: str) -> IdTakenError:
        """Return the error for an id that was used before."""
        return IdTakenError(f"The id {entry_id}, asked for {name!r}, was used in {self._root}.")
