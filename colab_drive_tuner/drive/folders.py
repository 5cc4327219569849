"""Folders by path, id or link: found where they are, made where they are missing."""

from typing import TYPE_CHECKING

from colab_drive_tuner.drive.file import SHORTCUT, DriveFile
from colab_drive_tuner.drive.query import FolderId, parse_folder
from colab_drive_tuner.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from colab_drive_tuner.drive.client import DriveClient


def open_folder(client: "DriveClient", place: str, *, create: bool) -> DriveFile:
    """See `DriveClient.folder`."""
    meant = parse_folder(place)
    if isinstance(meant, FolderId):
        found = _by_id(client, place, meant)
        if found is not None:
            return found
        # It looks like an id and is none that we may see: perhaps a folder bears it as its name.
        named = _child(client, client.get("root"), place)
        if named is None:
            raise NotFoundError(
                f"folder={place!r} looks like an id, but Drive shows this account no such file. "
                "Check it and who may see it; for a folder of that name write 'My Drive/…'."
            )
        return named
    folder = client.get("root")
    for part in meant:
        child = _child(client, folder, part)
        if child is None:
            if not create:
                raise NotFoundError(
                    f"There is no folder {part!r} of {place!r} in Google Drive: check the path."
                )
            child = _make(client, folder, part)
        folder = child
    return folder


def _by_id(client: "DriveClient", place: str, meant: FolderId) -> DriveFile | None:
    try:
        found = client.get(meant.id)
    except NotFoundError:
        if meant.certain:
            raise
        return None
    found = _target(client, found)
    if not found.is_folder:
        raise UsageError(f"folder={place!r} is the file {found.name!r}, not a folder.")
    if found.trashed:
        raise UsageError(f"folder={place!r} lies in the trash: restore it, or choose another one.")
    return found


def _child(client: "DriveClient", parent: DriveFile, name: str) -> DriveFile | None:
    """The folder of that name; of several the oldest, so that everybody takes the same one."""
    there = [_target(client, file) for file in client.find(name, parent=parent.id)]
    folders = [file for file in there if file.is_folder and not file.trashed]
    if there and not folders:
        raise UsageError(
            f"{name!r} in the folder {parent.name!r} of Google Drive is a file, not a folder: "
            "rename it, or choose another folder."
        )
    return min(folders, key=lambda file: (file.created, file.id), default=None)


def _make(client: "DriveClient", parent: DriveFile, name: str) -> DriveFile:
    made = client.create_folder(name, parent=parent.id)
    # Another runtime may have been at the same point: both then take the older folder.
    oldest = _child(client, parent, name) or made
    if (oldest.created, oldest.id) >= (made.created, made.id):
        return made
    if not client.list_folder(made.id):
        client.trash(made.id)
    return oldest


def _target(client: "DriveClient", file: DriveFile) -> DriveFile:
    if file.mime_type == SHORTCUT and file.target_id is not None:
        try:
            return client.get(file.target_id)
        except NotFoundError:
            return file
    return file
