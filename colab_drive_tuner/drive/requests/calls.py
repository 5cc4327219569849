"""Calls of the Drive v3 API, built by google-api-python-client and retried by our policy.

google-api-python-client builds requests from Google's discovery document and rejects unknown
parameters. `transport` sends them, because the library's own httplib2 is not thread-safe and
repeats POSTs whose answer was lost. Building reads and never writes shared state.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, TypeVar

from colab_drive_tuner.drive.file import FIELDS, DriveFile
from colab_drive_tuner.drive.requests.endpoint import Endpoint
from colab_drive_tuner.drive.requests.retry_and_refusal import RetryPolicy, TryAgainError
from colab_drive_tuner.drive.requests.transport import Request, Transport
from colab_drive_tuner.errors import UsageError

T = TypeVar("T")

ALL_DRIVES = {"supportsAllDrives": True}
WITH_FIELDS = {**ALL_DRIVES, "fields": FIELDS}
"""Parameters of every call that returns a file."""


@lru_cache
def service(origin: str) -> Any:
    """Return Drive's API at `origin`, whose methods build a `Request`; makes no network request."""
    from googleapiclient.discovery import build_from_document

    # Requests are only built, so a dummy takes the place of an HTTP client.
    return build_from_document(
        discovery_document(origin, "v3"), http=object(), requestBuilder=_request
    )


def discovery_document(origin: str, version: str) -> dict[str, Any]:
    """Return the discovery document that the library contains, with its root set to `origin`."""
    from googleapiclient.discovery_cache import get_static_doc

    found: dict[str, Any] = json.loads(get_static_doc("drive", version))
    # `client_options.api_endpoint` does not redirect uploads.
    return {**found, "rootUrl": f"{origin}/"}


def _request(
    _http: Any,
    _postproc: Any,
    uri: str,
    *,
    method: str,
    body: str | bytes | None,
    headers: Mapping[str, str],
    **_rest: Any,
) -> Request:
    """Return the request to send; ignore how the library would send it."""
    return Request(method, uri, headers, body.encode() if isinstance(body, str) else body)


@dataclass(frozen=True)
class Calls:
    """API calls to one endpoint, with their transport and retry policy."""

    endpoint: Endpoint
    transport: Transport
    policy: RetryPolicy

    @cached_property
    def files(self) -> Any:
        """The methods of v3's `files`; each builds a request."""
        return service(self.endpoint.origin).files()

    def about(self, what: str, fields: str) -> dict[str, Any]:
        """Return Drive's `about` resource; `what` completes "Google Drive did not answer ..."."""
        return self.run(service(self.endpoint.origin).about().get(fields=fields), what, dict)

    def file(self, request: Request, what: str) -> DriveFile:
        """Run a request whose answer describes a file."""
        return self.run(request, what, DriveFile.from_json)

    def get(self, file_id: str) -> DriveFile:
        """Return the file with that id; raises `NotFoundError`."""
        request = self.files.get(fileId=checked_id(file_id), **WITH_FIELDS)
        return self.file(request, f"a request for the file {file_id}")

    def list(self, q: str) -> list[DriveFile]:
        """Return all files that match `q`, from all pages; each once, though pages may overlap."""
        found: dict[str, DriveFile] = {}
        files, token = self.files, None
        while True:
            request = files.list(
                **ALL_DRIVES,
                includeItemsFromAllDrives=True,
                q=q,
                pageSize=1000,
                pageToken=token,
                fields=f"nextPageToken,incompleteSearch,files({FIELDS})",
            )
            page, token = self.run(request, "a request for a list of files", _page)
            found |= page
            if token is None:
                return list(found.values())

    def run(self, request: Request, what: str, read: Callable[[dict[str, Any]], T]) -> T:
        """Run a request with retries, and parse the answer with `read`."""
        return self.policy.run(lambda: self.transport.send(request, what).read(read), what)


def _page(data: dict[str, Any]) -> tuple[dict[str, DriveFile], str | None]:
    """Return the files of a page by their ids, and the token of the next page."""
    if data.get("incompleteSearch"):
        raise TryAgainError("its search was incomplete")
    files = map(DriveFile.from_json, data["files"])
    return {file.id: file for file in files}, data.get("nextPageToken") or None


def checked_id(file_id: str) -> str:
    """Return the id if it is well-formed: other characters would change the URL."""
    if not re.fullmatch(r"[A-Za-z0-9_-]+", file_id):
        raise UsageError(f"{file_id!r} cannot be the id of a file in Google Drive.")
    return file_id
