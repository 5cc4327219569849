"""Folders by path, id or link: found where they are, made where they are missing.

Drive lets several folders bear one name, and does not say so in time to runtimes that make one at
the same moment. So a path means all of them, and the oldest is the one to put things into.
"""

from collections.abc import Mapping
from typing import Any

from colab_drive_tuner.drive.file import FOLDER, SHORTCUT, DriveFile
from colab_drive_tuner.drive.file_search import FindingClient
from colab_drive_tuner.drive.query import FolderId, parse_folder
from colab_drive_tuner.drive.requests.calls import DESCRIBED
from colab_drive_tuner.errors import IdTakenError, NotFoundError, UsageError


class FolderClient(FindingClient):
    """What a client does with folders."""

    def create_folder(
        self,
        name: str,
        *,
        parent: str,
        file_id: str | None = None,
        properties: Mapping[str, str] | None = None,
    ) -> DriveFile:
        """Make a folder.

        Args:
            name: The folder's name.
            parent: The id of the folder that it lies in.
            file_id: A reserved id, as in `create_file`.
            properties: Properties of the folder that every app sees.

        Raises:
            IdTakenError: Something was created under `file_id` before.
        """
        reserved = file_id or self._take_id()
        body = new_body(reserved, name, FOLDER, parent, properties)
        request = self._calls.files.create(body=body, **DESCRIBED)
        try:
            with self._explaining_quota():
                return self._calls.file(request, f"the creation of folder {name!r}")
        except IdTakenError:
            if file_id is not None:
                raise
            return self.get(reserved)

    def folder(self, place: str, create: bool = True) -> DriveFile:
        """Open a folder; of several at one path it is the oldest.

        Args:
            place: A path in My Drive, the folder's id, or the link that the browser shows.
            create: Whether a path's missing folders are made.

        Raises:
            NotFoundError: There is no such folder, and none was to be made.
            UsageError: `place` is, or leads through, something that is not a folder.
        """
        return self.folders(place, create)[0]

    def folders(self, place: str, create: bool = True) -> list[DriveFile]:
        """Open a folder, and list after it the younger ones at the same path.

        Runtimes that made it at the same moment made one each, which lists may show late.

        Args:
            place: As in `folder`.
            create: As in `folder`.
        """
        meant = parse_folder(place)
        if isinstance(meant, FolderId):
            found = self._by_id(place, meant)
            if found is not None:
                return [found]
            # It looks like an id and is none that we may see: perhaps a folder is called so.
            named = self._children([self.get("root")], place)
            if not named:
                raise NotFoundError(
                    f"folder={place!r} looks like an id, but Drive shows this account no such "
                    "file. Check it and who may see it; for a folder of that name write 'My "
                    "Drive/…'."
                )
            return named
        folders = [self.get("root")]
        for part in meant:
            children = self._children(folders, part)
            if not children:
                if not create:
                    raise NotFoundError(
                        f"There is no folder {part!r} of {place!r} in Google Drive: check the path."
                    )
                children = self._make(folders[0], part)
            folders = children
        return folders

    def _by_id(self, place: str, meant: FolderId) -> DriveFile | None:
        try:
            found = self.get(meant.id)
        except NotFoundError:
            if meant.certain:
                raise
            return None
        found = self._target(found)
        if not found.is_folder:
            raise UsageError(f"folder={place!r} is the file {found.name!r}, not a folder.")
        if found.trashed:
            raise UsageError(
                f"folder={place!r} lies in the trash: restore it, or choose another one."
            )
        return found

    def _children(self, parents: list[DriveFile], name: str) -> list[DriveFile]:
        """The folders of that name, the oldest first, so that everybody takes the same one."""
        there = [
            self._target(file) for parent in parents for file in self.find(name, parent=parent.id)
        ]
        folders = {file.id: file for file in there if file.is_folder and not file.trashed}
        if there and not folders:
            raise UsageError(
                f"{name!r} in the folder {parents[0].name!r} of Google Drive is a file, not a "
                "folder: rename it, or choose another folder."
            )
        return sorted(folders.values(), key=_age)

    def _make(self, parent: DriveFile, name: str) -> list[DriveFile]:
        made = self.create_folder(name, parent=parent.id)
        # Another runtime may have been at the same point. Nothing is put away here: a third one may
        # have found the younger folder, and put something into it that no list shows yet.
        others = [file for file in self._children([parent], name) if file.id != made.id]
        return sorted([made, *others], key=_age)

    def _target(self, file: DriveFile) -> DriveFile:
        if file.mime_type == SHORTCUT and file.target_id is not None:
            try:
                return self.get(file.target_id)
            except NotFoundError:
                return file
        return file


def _age(folder: DriveFile) -> tuple[float, str]:
    return folder.created, folder.id


def new_body(
    file_id: str, name: str, mime_type: str, parent: str, properties: Mapping[str, str] | None
) -> dict[str, Any]:
    """What Drive is told of a new file or folder."""
    return {
        "id": file_id,
        "name": name,
        "mimeType": mime_type,
        "parents": [parent],
        "properties": dict(properties or {}),
    }
