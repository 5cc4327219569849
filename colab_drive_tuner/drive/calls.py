"""Calls about metadata: one request each, repeated by the policy, of My Drive and shared drives."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from colab_drive_tuner.drive.endpoint import Endpoint
from colab_drive_tuner.drive.file import FIELDS, DriveFile
from colab_drive_tuner.drive.retry import RetryPolicy, TryAgainError
from colab_drive_tuner.drive.transport import Transport
from colab_drive_tuner.errors import UsageError

T = TypeVar("T")

_EVERYWHERE = {"supportsAllDrives": "true"}


@dataclass(frozen=True)
class Calls:
    """Where calls go, how they travel, and how long they are repeated."""

    endpoint: Endpoint
    transport: Transport
    policy: RetryPolicy

    def json(self, path: str, what: str, **params: str) -> dict[str, Any]:
        """What a GET of `path` answers; `what` completes "Google Drive did not answer ..."."""
        return self._call("GET", path, what, None, params=params, read=dict)

    def file(
        self, method: str, path: str, what: str, body: Mapping[str, Any] | None = None
    ) -> DriveFile:
        """The file that a call describes in its answer."""
        params = {**_EVERYWHERE, "fields": FIELDS}
        return self._call(method, path, what, body, params=params, read=DriveFile.from_json)

    def list(self, q: str) -> list[DriveFile]:
        """Every file that matches `q`, from all pages."""
        files: list[DriveFile] = []
        params = {
            **_EVERYWHERE,
            "includeItemsFromAllDrives": "true",
            "q": q,
            "pageSize": "1000",
            "fields": f"nextPageToken,incompleteSearch,files({FIELDS})",
        }
        while True:
            what = "a request for a list of files"
            page, token = self._call("GET", "/files", what, None, params=params, read=_page)
            files += page
            if not token:
                return files
            params["pageToken"] = token

    def _call(
        self,
        method: str,
        path: str,
        what: str,
        body: Mapping[str, Any] | None,
        *,
        params: Mapping[str, str],
        read: Callable[[dict[str, Any]], T],
    ) -> T:
        url = f"{self.endpoint.files}{path}"
        content = None if body is None else json.dumps(body).encode()
        headers = {} if body is None else {"Content-Type": "application/json; charset=UTF-8"}

        def attempt() -> T:
            answer = self.transport.send(
                method, url, what, params=params, headers=headers, body=content
            )
            return answer.read(read)

        return self.policy.run(attempt, what)


def _page(data: dict[str, Any]) -> tuple[list[DriveFile], str]:
    if data.get("incompleteSearch"):
        raise TryAgainError("it searched only a part of itself")
    return [DriveFile.from_json(file) for file in data["files"]], data.get("nextPageToken") or ""


def checked(file_id: str) -> str:
    """The id, if it can be one: anything else would change the address that is called."""
    if not re.fullmatch(r"[A-Za-z0-9_-]+", file_id):
        raise UsageError(f"{file_id!r} cannot be the id of a file in Google Drive.")
    return file_id
