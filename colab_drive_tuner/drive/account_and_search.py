"""Account, clock and reserved ids of a Drive client, and search of files by queries."""

import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from colab_drive_tuner.drive.file import DriveFile, Quota, checked_text
from colab_drive_tuner.drive.requests.calls import Calls
from colab_drive_tuner.errors import QuotaError, StoreError, UnavailableError

_ID_BATCH = 20
"""Number of ids reserved at once for files without a given id."""


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


class SearchClient:
    """Account and search methods of a Drive client; safe in threads and after a fork."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._lock = threading.Lock()
        self._user: Mapping[str, Any] | None = None
        self._ids: tuple[int, list[str]] = (os.getpid(), [])

    def account(self) -> str:
        """Return the e-mail address of the account; cached."""
        if self._user is None:
            about = self._calls.about("a request for the account", "user")
            self._user = about.get("user", {})
        user = self._user
        return str(user.get("emailAddress") or user.get("permissionId") or "unknown")

    def quota(self) -> Quota:
        """Return how much storage the account uses now."""
        about = self._calls.about("a request for the storage quota", "user,storageQuota")
        storage = about.get("storageQuota", {})
        limit = storage.get("limit")
        return Quota(int(storage.get("usage", 0)), None if limit is None else int(limit))

    def now(self) -> float:
        """Return Drive's time in seconds since 1970, exact to about a second.

        Makes a request only if no answer has been received before.
        """
        now = self._calls.transport.clock.now()
        if now is None:
            self._calls.about("a request for the time", "user")
            now = self._calls.transport.clock.now()
        if now is None:
            raise UnavailableError("Google Drive did not say what time it is; try again later.")
        return now

    def generate_ids(self, count: int) -> list[str]:
        """Reserve ids for this account.

        Args:
            count: The number of ids, at least 1.
        """
        ids: list[str] = []
        while len(ids) < count:
            block = min(count - len(ids), 1000)
            request = self._calls.files.generateIds(count=block, space="drive", fields="ids")
            data = self._calls.run(request, "a request for new ids", dict)
            if not data.get("ids"):
                raise StoreError("Google Drive reserved no ids for new files; try again later.")
            ids += data["ids"]
        return ids[:count]

    def _next_id(self) -> str:
        """Return an id from the reserved batch."""
        with self._lock:
            pid, ids = self._ids
            # A forked child must not use its parent's ids.
            if pid == os.getpid() and ids:
                return ids.pop()
        # Without the lock: in an outage, threads then wait at the same time, not one by one.
        ids = self.generate_ids(_ID_BATCH)
        with self._lock:
            self._ids = (os.getpid(), ids)
            return ids.pop()

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

    @contextmanager
    def _explain_quota_errors(self) -> Iterator[None]:
        """Add whose storage it is and how much is used to `QuotaError`s about storage."""
        try:
            yield
        except QuotaError as error:
            if "storageQuotaExceeded" not in str(error):
                raise
            text = str(error)
            with suppress(UnavailableError):  # the refusal must be told all the same
                text += f" {self._whose_storage()}"
            raise QuotaError(text) from None

    def _whose_storage(self) -> str:
        name = self.account()
        if name.endswith(".gserviceaccount.com"):
            return (
                f"The service account {name} owns no storage: choose a folder in a shared drive "
                "that it is a member of, let it act for a user (delegation), or sign in as a user."
            )
        quota = self.quota()
        limit = "no limit" if quota.limit is None else f"{quota.limit / 1e9:.2f} GB"
        return f"{name} uses {quota.used / 1e9:.2f} GB of {limit}."
