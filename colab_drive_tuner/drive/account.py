"""Account behind a client: its name, storage, clock, and the ids that are reserved for it."""

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from colab_drive_tuner.drive.file import Quota
from colab_drive_tuner.drive.requests.calls import Calls
from colab_drive_tuner.errors import QuotaError, StoreError, UnavailableError

_POOL = 20
"""Ids reserved at once for files whose id nobody asked about."""


class AccountClient:
    """What a client asks about its account; safe to use from many threads, and after a fork."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._lock = threading.Lock()
        self._user: Mapping[str, Any] | None = None
        self._ids: tuple[int, list[str]] = (os.getpid(), [])

    def account(self) -> str:
        """The e-mail address that this client acts as; asked for once."""
        if self._user is None:
            about = self._calls.about("the question who is signed in", "user")
            self._user = about.get("user", {})
        user = self._user
        return str(user.get("emailAddress") or user.get("permissionId") or "unknown")

    def quota(self) -> Quota:
        """How much storage the account uses now."""
        about = self._calls.about("the question how much is stored", "user,storageQuota")
        storage = about.get("storageQuota", {})
        limit = storage.get("limit")
        return Quota(int(storage.get("usage", 0)), None if limit is None else int(limit))

    def now(self) -> float:
        """Seconds since 1970 by Drive's clock, exact to about a second; asks it if it never has."""
        now = self._calls.transport.clock.now()
        if now is None:
            self._calls.about("the question what time it is", "user")
            now = self._calls.transport.clock.now()
        if now is None:
            raise UnavailableError("Google Drive did not say what time it is; try again later.")
        return now

    def generate_ids(self, count: int) -> list[str]:
        """Reserve ids for this account.

        Args:
            count: How many, at least 1.
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

    def _take_id(self) -> str:
        """An id out of those that were reserved together."""
        with self._lock:
            pid, ids = self._ids
            # A forked child must not use what its parent has reserved.
            if pid == os.getpid() and ids:
                return ids.pop()
        # Outside of the lock: in an outage each thread is to lose its own patience only.
        ids = self.generate_ids(_POOL)
        with self._lock:
            self._ids = (os.getpid(), ids)
            return ids.pop()

    @contextmanager
    def _explaining_quota(self) -> Iterator[None]:
        """Within the block a `QuotaError` about storage says whose it is and how much is used."""
        try:
            yield
        except QuotaError as error:
            if "storageQuotaExceeded" not in str(error):
                raise
            raise QuotaError(f"{error} {self._whose_storage()}") from None

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
