"""Store in a folder of Google Drive."""

import builtins
import time
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from pathlib import Path
from threading import TIMEOUT_MAX, Lock
from types import MappingProxyType

from colab_drive_tuner.drive import DriveClient, DriveFile
from colab_drive_tuner.drive.folders import FolderId, parse_folder
from colab_drive_tuner.errors import NotFoundError, RefusedError
from colab_drive_tuner.progress_bars import progress_bar
from colab_drive_tuner.runtime import call_in_thread
from colab_drive_tuner.store.protocol import LIST_LAG_SECONDS, NO_ROOT, Entry, Store

DEFAULT_FOLDER = "Colab Drive Tuner"
_CACHE_SECONDS = 1.0
"""Time for which the list of duplicate root folders is cached."""


class DriveStore(Store):
    """A `Store` in one folder of Google Drive.

    `folder` is a path in My Drive, a folder's id, or its link in the browser. Opening the store
    makes two or three requests and changes nothing, except that `create` creates the missing
    folders of a path; otherwise the first write does. Runtimes may create the path at the same
    moment, so that several folders have it: searches are then created in the oldest folder and
    found in all of them.
    """

    is_shared = needs_google_account = True
    environment: Mapping[str, str] = MappingProxyType({})
    """No variables are needed: the program itself names the folder and the account."""
    trash_location = "the trash of Drive, for 30 days"

    def __init__(
        self, client: DriveClient, folder: str = DEFAULT_FOLDER, *, create: bool = True
    ) -> None:
        self.client, self._folder_spec = client, folder
        account = call_in_thread(client.account)  # runs while the folder is looked up
        self.folder: DriveFile | None = None
        self._folders: list[DriveFile] = []
        self.root, self._lock = NO_ROOT, Lock()
        try:
            folders = client.folders(folder, create)
        except NotFoundError:
            if isinstance(parse_folder(folder), FolderId):
                raise
            folders = []  # created with the first search
        self.account = account(TIMEOUT_MAX)  # limited by the client's own retry policy
        self.location = f"drive:{self.account}:"
        if folders:
            self._use_folders(folders)

    def _use_folders(self, folders: builtins.list[DriveFile]) -> None:
        """Use the folders at the path, of which the oldest is the first."""
        self.folder, self._folders, self.root = folders[0], folders, folders[0].id
        self.location = f"drive:{self.account}:{self.root}"
        self._listed_at = time.monotonic()

    def ensure_root(self) -> None:
        """See `Store.ensure_root`; a folder that this account may only read is refused."""
        folder = self._find_root(create=True)
        if not folder.can_add_children:
            raise RefusedError(
                f"{self.account} may only read the folder {folder.name!r} of Google Drive: "
                "ask its owner for edit rights, or choose another folder."
            )

    @classmethod
    def connect(cls, folder: str = DEFAULT_FOLDER) -> "DriveStore":
        """Open a store with the credentials that `DriveClient.connect` finds; creates no folder."""
        return cls(DriveClient.connect(), folder, create=False)

    def __repr__(self) -> str:
        return f"<DriveStore {self.location}>"

    @property
    def option(self) -> str:
        """The folder, unless it is the default one."""
        return "" if self._folder_spec == DEFAULT_FOLDER else f"drive:{self._folder_spec}"

    def free_space(self) -> int | None:
        """Return the account's remaining quota; None for a shared drive, which has other limits."""
        quota = self.client.quota()
        # A service account owns nothing outside of shared drives, and its quota is 0.
        shared = self.folder is not None and self.folder.drive_id is not None
        if shared or not quota.limit:
            return None
        return max(0, quota.limit - quota.used)

    def url(self, entry_id: str) -> str:
        """Return Drive's page for a file or folder; `drive:PATH` for a root not created yet."""
        if entry_id == self.root:
            if self.folder is None:
                return f"drive:{self._folder_spec}"
            if self.folder.web_view_link:
                return self.folder.web_view_link
        return f"https://drive.google.com/open?id={entry_id}"

    def now(self) -> float:
        return self.client.now()

    def reserve(self, count: int) -> list[str]:
        """Return ids reserved by Drive; they are valid for this account only."""
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
        return self.client.download(entry_id)

    def read_unverified(self, entry_id: str) -> bytes:
        """See `Store.read_unverified`; Drive is not asked for a checksum."""
        return self.client.peek(entry_id)

    def fetch(self, entry_id: str, path: Path) -> None:
        with progress_bar(path.name) as progress:
            self.client.download_file(entry_id, path, progress)

    def stat(self, entry_id: str) -> Entry:
        if entry_id == NO_ROOT:
            self._find_root()
            entry_id = self.root
        file = self.client.get(entry_id)
        if file.trashed:
            raise NotFoundError(f"{file.name!r} ({entry_id}) is in the trash of Google Drive.")
        return _entry(file)

    def list(self, parent: str, *, name: str | None = None) -> list[Entry]:
        return [
            _entry(file)
            for folder in self._folders_of(parent)
            for file in self.client.list_folder(folder, name)
        ]

    def find_marked(
        self, properties: Mapping[str, str], *, or_named: str | None = None
    ) -> builtins.list[Entry]:
        """See `Store.find_marked`; searches all of Drive, not only the store's folder."""
        return [_entry(file) for file in self.client.find_marked(properties, or_named)]

    def set_properties(self, entry_id: str, properties: Mapping[str, str]) -> None:
        self.client.update_properties(entry_id, _without_empty(properties))

    def rename(self, entry_id: str, name: str, properties: Mapping[str, str] | None = None) -> None:
        self.client.rename(entry_id, name, _without_empty(properties or {}))

    def replace(self, entry_id: str, content: bytes) -> None:
        self.client.update_content(entry_id, content)

    def trash(self, entry_id: str) -> None:
        self.client.trash(entry_id)

    def restore(self, entry_id: str) -> None:
        self.client.restore(entry_id)

    def list_trash(self, parent: str) -> builtins.list[Entry]:
        return [
            _entry(file)
            for folder in self._folders_of(parent)
            for file in self.client.list_trash(folder)
        ]

    def read_trashed(self, entry_id: str) -> bytes:
        """See `Store.read_trashed`; Drive can read trashed files directly."""
        return self.client.download(entry_id)

    def duplicates(self) -> builtins.list[Entry]:
        return [_entry(folder) for folder in self._folders if folder.id != self.root]

    def _find_root(self, *, create: bool = False) -> DriveFile:
        """Look the folder up, unless it is known; create it or raise `NotFoundError`."""
        with self._lock:  # otherwise two threads would create two folders
            if self.folder is not None:
                return self.folder
            try:
                folders = self.client.folders(self._folder_spec, create)
                self._use_folders(folders)
                return folders[0]
            except NotFoundError:
                raise NotFoundError(
                    f"There is no folder {self._folder_spec!r} in the Google Drive of "
                    f"{self.account}: name the folder that searches are kept in, or begin one "
                    "there."
                ) from None

    def _folders_of(self, parent: str) -> builtins.list[str]:
        """Return the folder; for the root, all folders at its path."""
        if parent not in (NO_ROOT, self.root):
            return [parent]
        self._find_root()
        young = self.folder and self.now() - self.folder.created < LIST_LAG_SECONDS
        if young and time.monotonic() - self._listed_at > _CACHE_SECONDS:
            with suppress(NotFoundError):  # too young to be listed
                self._folders = self.client.folders(self._folder_spec, create=False)
            self._listed_at = time.monotonic()
        return [self.root, *(folder.id for folder in self.duplicates())]


def _without_empty(properties: Mapping[str, str]) -> dict[str, str | None]:
    """Return the properties with None, which removes one, in place of an empty value."""
    return {key: value or None for key, value in properties.items()}


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
