"""Folders by path, id or link, which are created if they are missing.

Drive allows several folders with the same name and path, which runtimes create if they start at the
same moment. So a path refers to all of them, and new files are put into the oldest one.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

from colab_drive_tuner.drive.account_and_search import SearchClient
from colab_drive_tuner.drive.file import (
    FOLDER,
    SHORTCUT,
    DriveFile,
    checked_mime_type,
    checked_properties,
    checked_text,
)
from colab_drive_tuner.drive.requests.calls import WITH_FIELDS
from colab_drive_tuner.errors import IdTakenError, NotFoundError, UsageError

_ROOT = "root"
"""Name by which requests may refer to the id of My Drive."""


@dataclass(frozen=True)
class FolderId:
    """A folder's id; `certain` is False if the text could also be a folder's name."""

    id: str
    certain: bool


class FolderClient(SearchClient):
    """Folder methods of a Drive client."""

    def create_folder(
        self,
        name: str,
        *,
        parent: str,
        file_id: str | None = None,
        properties: Mapping[str, str] | None = None,
    ) -> DriveFile:
        """Create a folder.

        Args:
            name: The folder's name.
            parent: The id of its parent folder.
            file_id: A reserved id, as in `create_file`.
            properties: Properties of the folder, visible to all apps.

        Raises:
            IdTakenError: Something was created under `file_id` before.
        """
        reserved = file_id or self._next_id()
        body = new_body(reserved, name, FOLDER, parent, properties)
        request = self._calls.files.create(body=body, **WITH_FIELDS)
        try:
            with self._explain_quota_errors():
                return self._calls.file(request, f"the creation of folder {name!r}")
        except IdTakenError:
            if file_id is not None:
                raise
            return self.get(reserved)

    def folder(self, place: str, create: bool = True) -> DriveFile:
        """Return a folder; if several have the path, the oldest one.

        Args:
            place: A path in My Drive, the folder's id, or the link that the browser shows.
            create: Whether to create a path's missing folders.

        Raises:
            NotFoundError: There is no such folder, and it was not to be created.
            UsageError: `place` is, or leads through, something that is not a folder.
        """
        return self.folders(place, create)[0]

    def folders(self, place: str, create: bool = True) -> list[DriveFile]:
        """Return all folders with this path, the oldest first.

        There are several if runtimes created the path at the same moment; lists may lag.

        Args:
            place: As in `folder`.
            create: As in `folder`.
        """
        parsed = parse_folder(place)
        if isinstance(parsed, FolderId):
            found = self._by_id(place, parsed)
            if found is not None:
                return [found]
            # It looks like an id but is not a visible one: it may be a folder's name.
            named = self._children([_ROOT], place)
            if not named:
                raise NotFoundError(
                    f"folder={place!r} looks like an id, but Drive shows this account no such "
                    "file. Check it and who may see it; for a folder of that name write 'My "
                    "Drive/…'."
                )
            return named
        folders: list[DriveFile] = []
        for part in parsed:
            parents = [folder.id for folder in folders] or [_ROOT]
            children = self._children(parents, part)
            if not children:
                if not create:
                    raise NotFoundError(
                        f"There is no folder {part!r} of {place!r} in Google Drive: check the path."
                    )
                children = self._create_and_list(parents[0], part)
            folders = children
        return folders or [self.get(_ROOT)]

    def _by_id(self, place: str, parsed: FolderId) -> DriveFile | None:
        try:
            found = self.get(parsed.id)
        except NotFoundError:
            if parsed.certain:
                raise
            return None
        found = self.target(found)
        if not found.is_folder:
            raise UsageError(f"folder={place!r} is the file {found.name!r}, not a folder.")
        if found.trashed:
            raise UsageError(
                f"folder={place!r} is in the trash: restore it, or choose another one."
            )
        return found

    def _children(self, parents: list[str], name: str) -> list[DriveFile]:
        """Return the folders of that name, oldest first, so that all clients agree on the first."""
        found = [self.target(file) for parent in parents for file in self.find(name, parent=parent)]
        folders = {file.id: file for file in found if file.is_folder and not file.trashed}
        if found and not folders:
            raise UsageError(
                f"{name!r} in the folder {self.get(parents[0]).name!r} of Google Drive is a file, "
                "not a folder: rename it, or choose another folder."
            )
        return sorted(folders.values(), key=_creation_order)

    def _create_and_list(self, parent: str, name: str) -> list[DriveFile]:
        made = self.create_folder(name, parent=parent)
        # Another runtime may have created it, too. Neither is trashed: a third runtime may have
        # put something into the younger one that is not listed yet.
        others = [file for file in self._children([parent], name) if file.id != made.id]
        return sorted([made, *others], key=_creation_order)

    def target(self, file: DriveFile) -> DriveFile:
        """Return the file that a shortcut leads to; another file, or a dead shortcut, itself.

        Args:
            file: The shortcut.
        """
        if file.mime_type == SHORTCUT and file.target_id is not None:
            try:
                return self.get(file.target_id)
            except NotFoundError:
                return file
        return file


def _creation_order(folder: DriveFile) -> tuple[float, str]:
    return folder.created, folder.id


def new_body(
    file_id: str, name: str, mime_type: str, parent: str, properties: Mapping[str, str] | None
) -> dict[str, Any]:
    """Return the request body for a new file or folder."""
    return {
        "id": file_id,
        "name": checked_text(name),
        "mimeType": checked_mime_type(mime_type),
        "parents": [parent],
        "properties": checked_properties(properties or {}),
    }


_ID = re.compile(r"[A-Za-z0-9_-]{10,}")
_FOLDER_PATH = re.compile(r"/folders/([A-Za-z0-9_-]{10,})")


def parse_folder(text: str) -> FolderId | tuple[str, ...]:
    """Parse `folder=`: return the id in a link, a possible id, or the components of a path.

    Links are those that the browser shows (`…/folders/ID`, `…/open?id=ID`, `…/my-drive`). A path is
    relative to My Drive, which it may name, or starts with Colab's mount point of it. Raises
    `UsageError` for anything else.
    """
    text = checked_text(text).strip()
    if "://" in text:
        return _parse_link(text)
    if text.startswith("drive.google.com/"):  # browsers omit the scheme
        return _parse_link(f"https://{text}")
    if re.fullmatch(r"[A-Za-z0-9_-]{25,}", text) and re.search(r"[0-9]", text):
        return FolderId(text, certain=False)
    parts = tuple(part for part in text.split("/") if part)
    if f"{text}/".startswith("/content/drive/"):
        parts = parts[2:]
        if parts[:1] not in {("MyDrive",), ("My Drive",)}:
            raise UsageError(
                f"folder={text!r} is outside of My Drive: open the folder in the browser, and "
                "paste its address."
            )
        parts = ("My Drive", *parts[1:])
    if parts[:1] == ("My Drive",):
        parts = parts[1:]
    for part in parts:
        if part in {".", ".."} or any(ord(letter) < 32 or ord(letter) == 127 for letter in part):
            raise UsageError(
                f"folder={text!r} is not a path in My Drive: {part!r} cannot be a folder's name."
            )
    return parts


def _parse_link(link: str) -> FolderId | tuple[str, ...]:
    try:
        address = urlsplit(link)
        known = (address.hostname or "").endswith(".google.com")
    except ValueError:
        known = False
    if not known:
        raise UsageError(
            f"folder={link!r} is not a link to Google Drive; paste the address that the browser "
            "shows when the folder is open."
        )
    found = _FOLDER_PATH.search(address.path)
    if found:
        return FolderId(found[1], certain=True)
    given = parse_qs(address.query).get("id", [""])[0]
    if _ID.fullmatch(given):
        return FolderId(given, certain=True)
    if address.path.rstrip("/").endswith("/my-drive"):
        return ()
    raise UsageError(
        f"folder={link!r} names no folder; open the folder in Drive and paste its address."
    )
