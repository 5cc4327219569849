"""Calls to Drive v3: built from Google's own description of the API, repeated by the policy.

google-api-python-client knows names, kinds, addresses and encodings, and refuses what Drive does
not have. It only builds: `transport` sends, because httplib2, by which the library would, is not
safe in threads and sends a POST again whose answer was lost. Building reads and never writes shared
state.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, TypeVar

from colab_drive_tuner.drive.file import FIELDS, DriveFile
from colab_drive_tuner.drive.requests.endpoint import Endpoint
from colab_drive_tuner.drive.requests.retry import RetryPolicy, TryAgainError
from colab_drive_tuner.drive.requests.transport import Request, Transport
from colab_drive_tuner.errors import UsageError

T = TypeVar("T")

EVERYWHERE = {"supportsAllDrives": True}
DESCRIBED = {**EVERYWHERE, "fields": FIELDS}
"""Parameters of every call that answers with a file."""


@lru_cache
def service(origin: str) -> Any:
    """Drive's resources at `origin`; their methods return a `Request` each. Asks no network."""
    from googleapiclient.discovery import build_from_document

    # An object that cannot send stands in for the library's own way to do it.
    return build_from_document(document(origin, "v3"), http=object(), requestBuilder=_request)


def document(origin: str, version: str) -> dict[str, Any]:
    """The description of Drive's API that the library brings along, leading to `origin`."""
    from googleapiclient.discovery_cache import get_static_doc

    found: dict[str, Any] = json.loads(get_static_doc("drive", version))
    # `client_options.api_endpoint` would leave uploads at Google.
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
    """What to send; how the library would send it, and read the answer, is not used."""
    return Request(method, uri, headers, body.encode() if isinstance(body, str) else body)


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

    def get(self, file_id: str) -> DriveFile:
        """The file of that id; raises `NotFoundError`."""
        request = self.files.get(fileId=checked(file_id), **DESCRIBED)
        return self.file(request, f"a question about the file {file_id}")

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
