"""Searches kept in a folder of Google Drive."""

import builtins
import time
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from pathlib import Path
from threading import TIMEOUT_MAX, Lock
from types import MappingProxyType

from colab_drive_tuner.drive import DriveClient, DriveFile
from colab_drive_tuner.drive.query import FolderId, parse_folder
from colab_drive_tuner.errors import NotFoundError, RefusedError
from colab_drive_tuner.progress_line import progress_bar
from colab_drive_tuner.runtime import call_in_thread
from colab_drive_tuner.store.protocol import LIST_LAG_SECONDS, NO_ROOT, Entry, Store

DEFAULT_FOLDER = "Colab Drive Tuner"
_LOOK_SECONDS = 1.0
"""How long it is known who else made a younger one."""


class DriveStore(Store):
    """The `Store` protocol over a `DriveClient`, below one folder.

    `folder` is a path in My Drive, a folder's id, or the link that the browser shows. Opening a
    store asks Drive three or four questions and changes nothing else. What is missing of a path is
    made at once where `create` says so, else by whoever first writes. Where several folders lie at
    the path, since runtimes made it at the same moment, searches are made in the oldest and found
    in all.
    """

    is_shared = True
    environment: Mapping[str, str] = MappingProxyType({})
    """None are needed: the program itself says which folder, and who is signed in."""
    trash_location = "the trash of Drive, for 30 days"

    def __init__(
        self, client: DriveClient, folder: str = DEFAULT_FOLDER, *, create: bool = True
    ) -> None:
        self.client, self._place = client, folder
        account = call_in_thread(client.account)  # both questions at once
        self.folder: DriveFile | None = None
        self._folders: list[DriveFile] = []
        self.root, self._making = NO_ROOT, Lock()
        try:
            folders = client.folders(folder, create)
        except NotFoundError:
            if isinstance(parse_folder(folder), FolderId):
                raise
            folders = []  # a path that is made with the first search
        self.account = account(TIMEOUT_MAX)  # the client's own patience is the limit
        self.location = f"drive:{self.account}:"
        if folders:
            self._open(folders)

    def _open(self, folders: builtins.list[DriveFile]) -> None:
        """Go on with the folders that lie at the path, the oldest of them first."""
        folder = folders[0]
        if not folder.can_add_children:
            raise RefusedError(
                f"{self.account} may only read the folder {folder.name!r} of Google Drive: "
                "ask its owner for edit rights, or choose another folder."
            )
        self.folder, self._folders, self.root = folder, folders, folder.id
        self.location = f"drive:{self.account}:{self.root}"
        self._looked_at = time.monotonic()

    def ensure_root(self) -> None:
        self._find_root(create=True)

    @classmethod
    def connect(cls, folder: str = DEFAULT_FOLDER) -> "DriveStore":
        """A store in the Drive of whoever `DriveClient.connect` finds; it makes no folder yet."""
        return cls(DriveClient.connect(), folder, create=False)

    def __repr__(self) -> str:
        return f"<DriveStore {self.location}>"

    @property
    def option(self) -> str:
        """Its folder, unless that is the usual one."""
        return "" if self._place == DEFAULT_FOLDER else f"drive:{self._place}"

    def free_space(self) -> int | None:
        """What is left of the account's quota; None for a shared drive, which has other limits."""
        quota = self.client.quota()
        # A service account owns nothing outside of shared drives, and its quota is 0.
        shared = self.folder is not None and self.folder.drive_id is not None
        if shared or not quota.limit:
            return None
        return max(0, quota.limit - quota.used)

    def url(self, entry_id: str) -> str:
        """The page that Drive shows for a file or folder; `drive:PATH` for one to be made yet."""
        if entry_id == self.root:
            if self.folder is None:
                return f"drive:{self._place}"
            if self.folder.web_view_link:
                return self.folder.web_view_link
        return f"https://drive.google.com/open?id={entry_id}"

    def now(self) -> float:
        return self.client.now()

    def reserve(self, count: int) -> list[str]:
        """Ids from Drive itself; they work for this account only."""
        return self.client.generate_ids(count)

    def create(
        self,
        entry_id: str,
        content: bytes | Path | None,
        *,
        name: str,
        parent: str,
        properties: Mapping[str, str] | None = None,
    ) -> Entry:
        if parent == NO_ROOT:
            self.ensure_root()
            parent = self.root
        if content is None:
            made = self.client.create_folder(
                name, parent=parent, file_id=entry_id, properties=properties
            )
            return _entry(made)
        with progress_bar(name) if isinstance(content, Path) else nullcontext() as progress:
            made = self.client.create_file(
                name,
                content,
                parent=parent,
                file_id=entry_id,
                properties=properties,
                progress=progress,
            )
        return _entry(made)

    def read(self, entry_id: str) -> bytes:
        """See `Store.read`; what arrives has the checksum that Drive names."""
        return self.client.download(entry_id)

    def read_unverified(self, entry_id: str) -> bytes:
        """See `Store.read_unverified`; Drive is not asked for a checksum."""
        return self.client.peek(entry_id)

    def fetch(self, entry_id: str, path: Path) -> None:
        with progress_bar(path.name) as progress:
            self.client.download_file(entry_id, path, progress)

    def stat(self, entry_id: str) -> Entry:
        if entry_id == NO_ROOT:
            self._require_root()
            entry_id = self.root
        file = self.client.get(entry_id)
        if file.trashed:
            raise NotFoundError(f"{file.name!r} ({entry_id}) lies in the trash of Google Drive.")
        return _entry(file)

    def list(self, parent: str, *, name: str | None = None) -> list[Entry]:
        return [
            _entry(file)
            for place in self._places(parent)
            for file in self.client.list_folder(place, name)
        ]

    def find_marked(
        self, properties: Mapping[str, str], *, or_named: str | None = None
    ) -> builtins.list[Entry]:
        """See `Store.find_marked`; it looks in all of Drive, not only in the store's folder."""
        return [_entry(file) for file in self.client.find_marked(properties, or_named)]

    def set_properties(self, entry_id: str, properties: Mapping[str, str]) -> None:
        self.client.update_properties(entry_id, properties)

    def rename(self, entry_id: str, name: str, properties: Mapping[str, str] | None = None) -> None:
        """See `Store.rename`; both by one request."""
        self.client.rename(entry_id, name, properties)

    def replace(self, entry_id: str, content: bytes) -> None:
        self.client.update_content(entry_id, content)

    def trash(self, entry_id: str) -> None:
        self.client.trash(entry_id)

    def list_trash(self, parent: str) -> builtins.list[Entry]:
        return [
            _entry(file) for place in self._places(parent) for file in self.client.list_trash(place)
        ]

    def read_trashed(self, entry_id: str) -> bytes:
        """See `Store.read_trashed`; Drive reads what lies in its trash like anything else."""
        return self.client.download(entry_id)

    def duplicates(self) -> builtins.list[Entry]:
        return [_entry(folder) for folder in self._folders if folder.id != self.root]

    def _require_root(self) -> None:
        """Raise `NotFoundError` while nobody has made the folder."""
        try:
            self._find_root(create=False)
        except NotFoundError:
            raise NotFoundError(
                f"There is no folder {self._place!r} in the Google Drive of {self.account}: name "
                "the folder that searches are kept in, or begin one there."
            ) from None

    def _find_root(self, *, create: bool) -> None:
        """Look for the folder, and make it with `create`, unless it is known by now."""
        with self._making:  # two threads would make two folders
            if self.folder is None:
                self._open(self.client.folders(self._place, create))

    def _places(self, parent: str) -> builtins.list[str]:
        """The folder; for that of all searches, every one at its path."""
        if parent not in (NO_ROOT, self.root):
            return [parent]
        self._require_root()
        young = self.folder and self.now() - self.folder.created < LIST_LAG_SECONDS
        if young and time.monotonic() - self._looked_at > _LOOK_SECONDS:
            with suppress(NotFoundError):  # so young that no listing shows it
                self._folders = self.client.folders(self._place, create=False)
            self._looked_at = time.monotonic()
        return [self.root, *(folder.id for folder in self.duplicates())]


def _entry(file: DriveFile) -> Entry:
    return Entry(
        id=file.id,
        name=file.name,
        parent=file.parents[0] if file.parents else "",
        created=file.created,
        size=file.size,
        is_folder=file.is_folder,
        properties=file.properties,
        trashed=file.trashed,
    )
