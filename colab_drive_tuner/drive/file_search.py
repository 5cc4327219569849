"""Description and search of files: what a Drive client asks about them."""

from collections.abc import Iterable, Mapping

from colab_drive_tuner.drive.account import AccountClient
from colab_drive_tuner.drive.file import DriveFile
from colab_drive_tuner.drive.query import query


class FindingClient(AccountClient):
    """What a client asks about files and folders."""

    def get(self, file_id: str) -> DriveFile:
        """Describe a file; one in the trash says so.

        Args:
            file_id: Its id.

        Raises:
            NotFoundError: There is none, or this account may not see it.
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
            parent: The id of the folder that they lie in; None: any.
            mime_types: Kinds, of which they have one; None: any.
        """
        files = self._calls.list(query(name=name, parent=parent, mime_types=mime_types))
        # The server's `=` is not documented to mind upper and lower case.
        return [file for file in files if name is None or file.name == name]

    def list_folder(self, parent: str, name: str | None = None) -> list[DriveFile]:
        """List what lies directly in a folder, trash excluded; may lag by minutes.

        Args:
            parent: The folder's id.
            name: The exact name of what is listed; None: any.
        """
        return self.find(name, parent=parent)

    def find_marked(
        self, properties: Mapping[str, str], or_named: str | None = None
    ) -> list[DriveFile]:
        """Find files and folders by their properties, in the trash or not; may lag by minutes.

        Args:
            properties: What they have, all of it.
            or_named: Those of exactly this name are found, too.
        """
        wanted = query(properties=properties, trashed=None)
        if or_named is not None:
            wanted = f"({wanted}) or {query(name=or_named, trashed=None)}"
        return self._calls.list(wanted)

    def list_trash(self, parent: str) -> list[DriveFile]:
        """List what of a folder lies in the trash; may lag by minutes.

        Args:
            parent: The folder's id.
        """
        return self._calls.list(query(parent=parent, trashed=True))
