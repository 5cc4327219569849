"""Account of a Drive client: its name, storage, clock, and reserved ids."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from colab_drive_tuner.drive.file import Quota
from colab_drive_tuner.drive.requests.calls import Calls
from colab_drive_tuner.errors import QuotaError, StoreError, UnavailableError


class AccountClient:
    """Account methods of a Drive client; safe in threads and after a fork."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._user: Mapping[str, Any] | None = None

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

    @contextmanager
    def _explain_quota_errors(self) -> Iterator[None]:
        """Add whose storage it is and how much is used to `QuotaError`s about storage."""
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
