"""Names in a folder's index: which id has which visible name, and what waits for one.

names/<parent>/<file>.id       who has this visible name in that folder: its claim
names/<parent>/<key>.trashed   that an entry of that folder went into the trash
names/<parent>/<n>.new         content that is not seen under its visible name yet
names/<parent>/<n>.draft       a description whose id is not linked yet
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from colab_drive_tuner.store.folder import disk
from colab_drive_tuner.store.folder.description import ID, TOP, Description

CLAIM, _TRASHED = ".id", ".trashed"


class Names:
    """The hidden files below `<home>/names`; a parent is an id, or empty for the folder itself."""

    def __init__(self, home: Path) -> None:
        self._home = home

    def of(self, parent: str) -> Path:
        """Where the names in a folder are kept."""
        return self._home / "names" / (parent or TOP)

    def made(self, parent: str) -> Path:
        """The same, made where it is missing."""
        return disk.make_folders(self._home, "names", parent or TOP)

    def new(self, described: Description) -> Path:
        """Where the content of an entry waits for its visible name."""
        return self.of(described.parent) / f"{described.nonce}.new"

    def holder(self, parent: str, file: str) -> str | None:
        """The id that has a visible name; None: none has."""
        key = disk.read_small(self.of(parent) / f"{file}{CLAIM}", 129)
        return None if key is None else key.decode("ascii", "replace")

    def claim(self, where: Path, parent: str, name: str, entry_id: str) -> tuple[str, bool]:
        """A visible name in the folder `where` that is this id's alone; if it was claimed now."""
        aside = self.made(parent)
        plain, ending = disk.file_names(name, entry_id)
        for file in (plain, ending, disk.with_ending(plain)):
            if os.path.lexists(where / file):
                continue
            try:
                disk.write_new(aside / f"{file}{CLAIM}", entry_id.encode())
            except FileExistsError:
                if self.holder(parent, file) == entry_id:
                    return file, False  # by somebody who creates it too, or was killed at it
            else:
                return file, True
        raise FileExistsError(f"{where / name} exists")

    def claim_again(self, described: Description) -> None:
        """Claim the name that an entry bears, whatever stands there."""
        claim = self.made(described.parent) / f"{described.file}{CLAIM}"
        disk.discard(claim)
        disk.write_new(claim, described.id.encode())

    def give_up(self, parent: str, file: str) -> None:
        """Nobody has the visible name any more."""
        disk.discard(self.of(parent) / f"{file}{CLAIM}")

    def give_to_trash(self, key: str, described: Description) -> None:
        """Note that an entry went into the trash, and give its name up."""
        with contextlib.suppress(FileExistsError):
            disk.write_new(self.made(described.parent) / f"{key}{_TRASHED}", b"")
        if self.holder(described.parent, described.file) == described.id:
            self.give_up(described.parent, described.file)

    def claims(self, parent: str) -> Iterator[tuple[str, str]]:
        """The id and the visible name of each claim in a folder."""
        for claim in disk.names(self.of(parent)):
            file = claim.removesuffix(CLAIM)
            key = self.holder(parent, file) if file != claim else None
            if key is not None and ID.fullmatch(key):
                yield key, file

    def ever_in(self, parent: str) -> set[str]:
        """The ids of what lies in a folder, or came out of it into the trash."""
        gone = [file for file in disk.names(self.of(parent)) if file.endswith(_TRASHED)]
        claimed = {key for key, _ in self.claims(parent)}
        return claimed | {file.removesuffix(_TRASHED) for file in gone}

    def holders(self, file: str) -> Iterator[str]:
        """The ids that have this visible name, in whichever folder."""
        for parent in self.parents():
            key = self.holder(parent, file)
            if key is not None and ID.fullmatch(key):
                yield key

    def parents(self) -> list[str]:
        """The folders that names are kept of."""
        return ["" if name == TOP else name for name in disk.names(self._home / "names")]

    def waiting(self, parent: str) -> Iterator[Path]:
        """The claims of a folder, and the content and descriptions of creates not yet finished."""
        for name in disk.names(self.of(parent)):
            if name.endswith((".new", ".draft", CLAIM)):
                yield self.of(parent) / name
