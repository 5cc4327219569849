"""Folders by path, id or link: found where they are, made where they are missing.

Drive lets several folders bear one name, and does not say so in time to runtimes that make one at
the same moment. So a path means all of them, and the oldest is the one to put things into.
"""

from typing import TYPE_CHECKING

from colab_drive_tuner.drive.file import SHORTCUT, DriveFile
from colab_drive_tuner.drive.query import FolderId, parse_folder
from colab_drive_tuner.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from colab_drive_tuner.drive.client import DriveClient


def open_folders(client: "DriveClient", place: str, *, create: bool) -> list[DriveFile]:
    """See `DriveClient.folders`."""
    meant = parse_folder(place)
    if isinstance(meant, FolderId):
        found = _by_id(client, place, meant)
        if found is not None:
            return [found]
        # It looks like an id and is none that we may see: perhaps a folder bears it as its name.
        named = _children(client, [client.get("root")], place)
        if not named:
            raise NotFoundError(
                f"folder={place!r} looks like an id, but Drive shows this account no such file. "
                "Check it and who may see it; for a folder of that name write 'My Drive/…'."
            )
        return named
    folders = [client.get("root")]
    for part in meant:
        children = _children(client, folders, part)
        if not children:
            if not create:
                raise NotFoundError(
                    f"There is no folder {part!r} of {place!r} in Google Drive: check the path."
                )
            children = _make(client, folders[0], part)
        folders = children
    return folders


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


def _children(client: "DriveClient", parents: list[DriveFile], name: str) -> list[DriveFile]:
    """The folders of that name, the oldest first, so that everybody takes the same one."""
    there = [
        _target(client, file) for parent in parents for file in client.find(name, parent=parent.id)
    ]
    folders = {file.id: file for file in there if file.is_folder and not file.trashed}
    if there and not folders:
        raise UsageError(
            f"{name!r} in the folder {parents[0].name!r} of Google Drive is a file, not a folder: "
            "rename it, or choose another folder."
        )
    return sorted(folders.values(), key=_age)


def _make(client: "DriveClient", parent: DriveFile, name: str) -> list[DriveFile]:
    made = client.create_folder(name, parent=parent.id)
    # Another runtime may have been at the same point. Nothing is put away here: a third one may
    # have found the younger folder, and put something into it that no list shows yet.
    others = [file for file in _children(client, [parent], name) if file.id != made.id]
    return sorted([made, *others], key=_age)


def _age(folder: DriveFile) -> tuple[float, str]:
    return folder.created, folder.id


def _target(client: "DriveClient", file: DriveFile) -> DriveFile:
    if file.mime_type == SHORTCUT and file.target_id is not None:
        try:
            return client.get(file.target_id)
        except NotFoundError:
            return file
    return file
