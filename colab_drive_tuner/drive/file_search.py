"""Description and search of files in Drive."""

from collections.abc import Iterable, Mapping

from colab_drive_tuner.drive.account import AccountClient
from colab_drive_tuner.drive.file import DriveFile
from colab_drive_tuner.drive.query import query


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
