"""Requests to Vertex AI and Cloud Storage.

They follow the discovery document that google-api-python-client ships; the tests check every field
against it. NOT CONFIRMED on the live service.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import quote

from colab_drive_tuner.credentials import cloud_credentials
from colab_drive_tuner.drive.requests.refusal import Refusal
from colab_drive_tuner.errors import NotebookRunError, UsageError


@dataclass(frozen=True)
class Vertex:
    """A Google Cloud project and region."""

    project: str
    region: str
    session: Any = None
    """An authorized session of google-auth; None: application default credentials."""
    endpoint: str | None = None
    """Address of both services; None: Google's."""

    def __post_init__(self) -> None:
        for name in (self.project, self.region):  # used in addresses
            if not re.fullmatch(r"[A-Za-z0-9.:-]*[A-Za-z0-9]", name):
                raise UsageError(f"{name!r} is not a valid project or region of Google Cloud.")

    @property
    def parent(self) -> str:
        """Resource name of the location that holds jobs and schedules."""
        return f"projects/{self.project}/locations/{self.region}"

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Send one request; raise `NotebookRunError` with the service's message if refused."""
        endpoint = self.endpoint or f"https://{self.region}-aiplatform.googleapis.com"
        return self._request(method, f"{endpoint}/v1/{path}", json=body)

    def put_object(self, uri: str, content: bytes) -> None:
        """Write `gs://bucket/name`; raises `NotebookRunError`."""
        bucket, _, name = uri.removeprefix("gs://").partition("/")
        endpoint = self.endpoint or "https://storage.googleapis.com"
        path = f"upload/storage/v1/b/{bucket}/o?uploadType=media&name={quote(name, safe='')}"
        headers = {"Content-Type": "application/x-ipynb+json"}
        self._request("POST", f"{endpoint}/{path}", data=content, headers=headers)

    def _request(self, method: str, url: str, **options: Any) -> dict[str, Any]:
        from google.auth.exceptions import GoogleAuthError
        from requests.exceptions import RequestException

        session = self._signed
        try:
            response = session.request(method, url, timeout=60, allow_redirects=False, **options)
        except (GoogleAuthError, RequestException) as error:  # its text may hold secrets
            raise NotebookRunError(
                f"Google Cloud did not answer ({type(error).__name__}; {method} {url})."
            ) from None
        refusal = Refusal.read(response.status_code, response.content, [_token(session)])
        if response.status_code >= 300:
            raise NotebookRunError(
                f"Google Cloud refused ({refusal.status}): {refusal.message} ({method} {url})"
            )
        return dict(response.json())

    @cached_property
    def _signed(self) -> Any:
        """The given session, else one with application default credentials."""
        if self.session is not None:
            return self.session
        from google.auth.transport.requests import AuthorizedSession

        session: Any = AuthorizedSession
        return session(cloud_credentials().credentials)


def _token(session: Any) -> str:
    return str(getattr(getattr(session, "credentials", None), "token", None) or "")
