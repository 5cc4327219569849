"""Visible names in a folder's index: the id that has each name, and unfinished creates.

names/<parent>/<file>.id       the id that has this visible name in that folder: its claim
names/<parent>/<n>.new         content that does not have its visible name yet
names/<parent>/<n>.draft       a description whose id is not linked yet
"""

import os
from collections.abc import Iterator
from pathlib import Path

from colab_drive_tuner.store.folder import disk
from colab_drive_tuner.store.folder.description import ID, TOP, Description

CLAIM = ".id"


class VisibleNames:
    """The hidden files in `<home>/names`; a parent is an id, or empty for the folder itself."""

    def __init__(self, home: Path) -> None:
        self._home = home

    def folder_of(self, parent: str) -> Path:
        """Return the path for the names in a folder."""
        return self._home / "names" / (parent or TOP)

    def ensure_folder(self, parent: str) -> Path:
        """Like `folder_of`, but create the folder if it is missing."""
        return disk.ensure_folders(self._home, "names", parent or TOP)

    def pending_content(self, described: Description) -> Path:
        """Return the path of an entry's content until that has its visible name."""
        return self.folder_of(described.parent) / f"{described.nonce}.new"

    def holder(self, parent: str, file: str) -> str | None:
        """Return the id that has a visible name; None if no id has it."""
        key = disk.read_small(self.folder_of(parent) / f"{file}{CLAIM}", 129)
        return None if key is None else key.decode("ascii", "replace")

    def claim(self, folder: Path, parent: str, name: str, entry_id: str) -> tuple[str, bool]:
        """Claim a visible name in `folder`; return it and whether the claim is new."""
        names_folder = self.ensure_folder(parent)
        plain, ending = disk.file_names(name, entry_id)
        for file in (plain, ending, disk.with_ending(plain)):
            if os.path.lexists(folder / file):
                continue
            try:
                disk.write_new(names_folder / f"{file}{CLAIM}", entry_id.encode())
            except FileExistsError:
                if self.holder(parent, file) == entry_id:
                    return file, False  # claimed by a concurrent or killed create of this id
            else:
                return file, True
        raise FileExistsError(f"{folder / name} exists")

    def reclaim(self, described: Description) -> None:
        """Claim an entry's name, overwriting any other claim."""
        claim = self.ensure_folder(described.parent) / f"{described.file}{CLAIM}"
        disk.remove(claim)
        disk.write_new(claim, described.id.encode())

    def release(self, parent: str, file: str) -> None:
        """Delete the claim on a visible name."""
        disk.remove(self.folder_of(parent) / f"{file}{CLAIM}")

    def claims(self, parent: str) -> Iterator[tuple[str, str]]:
        """Yield the id and visible name of each claim in a folder."""
        for claim in disk.list_names(self.folder_of(parent)):
            file = claim.removesuffix(CLAIM)
            key = self.holder(parent, file) if file != claim else None
            if key is not None and ID.fullmatch(key):
                yield key, file

    def holders(self, file: str) -> Iterator[str]:
        """Yield the ids that have this visible name in any folder."""
        for parent in self.parents():
            key = self.holder(parent, file)
            if key is not None and ID.fullmatch(key):
                yield key

    def parents(self) -> list[str]:
        """Return the keys of all folders with visible names."""
        return ["" if name == TOP else name for name in disk.list_names(self._home / "names")]

    def unfinished(self, parent: str) -> Iterator[Path]:
        """Yield a folder's claims, and the content and descriptions of unfinished creates."""
        for name in disk.list_names(self.folder_of(parent)):
            if name.endswith((".new", ".draft", CLAIM)):
                yield self.folder_of(parent) / name
