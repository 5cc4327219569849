"""Search queries of Drive, and the methods that describe and find files."""

from collections.abc import Iterable, Mapping

from colab_drive_tuner.drive.account import AccountClient
from colab_drive_tuner.drive.file import DriveFile, checked_text


def quoted(text: str) -> str:
    """Return a string literal for `q`; backslashes are escaped first, before new ones are added."""
    return "'" + checked_text(text).replace("\\", "\\\\").replace("'", "\\'") + "'"


def query(
    *,
    name: str | None = None,
    parent: str | None = None,
    mime_types: Iterable[str] | None = None,
    properties: Mapping[str, str] | None = None,
    trashed: bool | None = False,
) -> str:
    """Return a `q` for files that meet all given conditions.

    `trashed` selects files in the trash or outside of it; None selects both.
    """
    terms = []
    if parent is not None:
        terms.append(f"{quoted(parent)} in parents")
    if trashed is not None:
        terms.append("trashed = true" if trashed else "trashed = false")
    for key, value in (properties or {}).items():
        terms.append(f"properties has {{ key={quoted(key)} and value={quoted(value)} }}")
    if name is not None:
        terms.append(f"name = {quoted(name)}")
    if mime_types is not None:
        kinds = " or ".join(f"mimeType = {quoted(kind)}" for kind in mime_types)
        terms.append(f"({kinds})")
    return " and ".join(terms)


class FileSearchClient(AccountClient):
    """File search methods of a Drive client."""

    def get(self, file_id: str) -> DriveFile:
        """Return a file's description, also if it is in the trash.

        Args:
            file_id: Its id.

        Raises:
            NotFoundError: It does not exist, or this account has no access to it.
        """
        return self._calls.get(file_id)

    def find(
        self,
        name: str | None = None,
        *,
        parent: str | None = None,
        mime_types: Iterable[str] | None = None,
    ) -> list[DriveFile]:
        """Find files that are not in the trash; may lag by minutes.

        Args:
            name: Their exact name; None: any.
            parent: The id of their folder; None: any.
            mime_types: Allowed MIME types; None: any.
        """
        files = self._calls.list(query(name=name, parent=parent, mime_types=mime_types))
        # The server's `=` is not documented to be case-sensitive.
        return [file for file in files if name is None or file.name == name]

    def list_folder(self, parent: str, name: str | None = None) -> list[DriveFile]:
        """List a folder's direct children outside of the trash; may lag by minutes.

        Args:
            parent: The folder's id.
            name: The exact name of the children; None: any.
        """
        return self.find(name, parent=parent)

    def find_marked(
        self, properties: Mapping[str, str], or_named: str | None = None
    ) -> list[DriveFile]:
        """Find files and folders by their properties, also in the trash; may lag by minutes.

        Args:
            properties: Properties that they must all have.
            or_named: Also find files and folders with exactly this name.
        """
        wanted = query(properties=properties, trashed=None)
        if or_named is not None:
            wanted = f"({wanted}) or {query(name=or_named, trashed=None)}"
        return self._calls.list(wanted)

    def list_trash(self, parent: str) -> list[DriveFile]:
        """List a folder's children in the trash; may lag by minutes.

        Args:
            parent: The folder's id.
        """
        return self._calls.list(query(parent=parent, trashed=True))
