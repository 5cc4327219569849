"""Calls about metadata: one request each, repeated by the policy, of My Drive and shared drives."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from colab_drive_tuner.drive.api import service
from colab_drive_tuner.drive.endpoint import Endpoint
from colab_drive_tuner.drive.file import FIELDS, DriveFile
from colab_drive_tuner.drive.retry import RetryPolicy, TryAgainError
from colab_drive_tuner.drive.transport import Request, Transport
from colab_drive_tuner.errors import UsageError

T = TypeVar("T")

EVERYWHERE = {"supportsAllDrives": True}
DESCRIBED = {**EVERYWHERE, "fields": FIELDS}
"""Parameters of every call that answers with a file."""


@dataclass(frozen=True)
class Calls:
    """Where calls go, how they travel, and how long they are repeated."""

    endpoint: Endpoint
    transport: Transport
    policy: RetryPolicy

    @cached_property
    def files(self) -> Any:
        """The methods of v3's `files`, made at their first use; each builds a request."""
        return service(self.endpoint.origin).files()

    def about(self, what: str, fields: str) -> dict[str, Any]:
        """What Drive says about the account; `what` completes "Google Drive did not answer ..."."""
        return self.run(service(self.endpoint.origin).about().get(fields=fields), what, dict)

    def file(self, request: Request, what: str) -> DriveFile:
        """The file that Drive describes in its answer."""
        return self.run(request, what, DriveFile.from_json)

    def list(self, q: str) -> list[DriveFile]:
        """Every file that matches `q`, from all pages."""
        found: list[DriveFile] = []
        files, token = self.files, None
        while True:
            request = files.list(
                **EVERYWHERE,
                includeItemsFromAllDrives=True,
                q=q,
                pageSize=1000,
                pageToken=token,
                fields=f"nextPageToken,incompleteSearch,files({FIELDS})",
            )
            page, token = self.run(request, "a request for a list of files", _page)
            found += page
            if token is None:
                return found

    def run(self, request: Request, what: str, read: Callable[[dict[str, Any]], T]) -> T:
        """What `read` makes of the answer."""
        return self.policy.run(lambda: self.transport.send(request, what).read(read), what)


def _page(data: dict[str, Any]) -> tuple[list[DriveFile], str | None]:
    if data.get("incompleteSearch"):
        raise TryAgainError("it searched only a part of itself")
    return [DriveFile.from_json(file) for file in data["files"]], data.get("nextPageToken") or None


def checked(file_id: str) -> str:
    """The id, if it can be one: anything else would change the address that is called."""
    if not re.fullmatch(r"[A-Za-z0-9_-]+", file_id):
        raise UsageError(f"{file_id!r} cannot be the id of a file in Google Drive.")
    return file_id
