"""Requests to Vertex AI and Cloud Storage, checked before they are sent.

They are made to the discovery document that google-api-python-client ships, and every field of
theirs is looked up in it. NOT CONFIRMED on the live service: what is tested is that document.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any
from urllib.parse import quote

from colab_drive_tuner.credentials import cloud_credentials
from colab_drive_tuner.drive.refusal import Refusal
from colab_drive_tuner.errors import NotebookRunError, UsageError

_PREFIX = "GoogleCloudAiplatformV1"


@dataclass(frozen=True)
class Vertex:
    """A project of Google Cloud and the region in which it computes."""

    project: str
    region: str
    session: Any = None
    """An authorized session of google-auth; None: application default credentials."""
    endpoint: str | None = None
    """Another address than Google's, for both services."""

    def __post_init__(self) -> None:
        for name in (self.project, self.region):  # they are parts of an address
            if not re.fullmatch(r"[A-Za-z0-9.:-]*[A-Za-z0-9]", name):
                raise UsageError(f"{name!r} cannot be a project or region of Google Cloud.")

    @property
    def parent(self) -> str:
        """The location in which jobs and schedules are made."""
        return f"projects/{self.project}/locations/{self.region}"

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """One request; raises `NotebookRunError` with what the service said against it."""
        endpoint = self.endpoint or f"https://{self.region}-aiplatform.googleapis.com"
        return self._request(method, f"{endpoint}/v1/{path}", json=body)

    def put_object(self, uri: str, content: bytes) -> None:
        """Write `gs://bucket/name`; raises `NotebookRunError`."""
        bucket, _, name = uri.removeprefix("gs://").partition("/")
        endpoint = self.endpoint or "https://storage.googleapis.com"
        path = f"upload/storage/v1/b/{bucket}/o?uploadType=media&name={quote(name, safe='')}"
        headers = {"Content-Type": "application/x-ipynb+json"}
        self._request("POST", f"{endpoint}/{path}", data=content, headers=headers)

    def _request(self, method: str, url: str, **what: Any) -> dict[str, Any]:
        from google.auth.exceptions import GoogleAuthError
        from requests.exceptions import RequestException

        session = self._signed
        try:
            response = session.request(method, url, timeout=60, allow_redirects=False, **what)
        except (GoogleAuthError, RequestException) as error:  # without its words: see `redact`
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
        """The session given, else one that signs."""
        if self.session is not None:
            return self.session
        from google.auth.transport.requests import AuthorizedSession

        session: Any = AuthorizedSession
        return session(cloud_credentials().credentials)


def _token(session: Any) -> str:
    return str(getattr(getattr(session, "credentials", None), "token", None) or "")


def check_body(body: Mapping[str, Any], schema: str) -> None:
    """Raise `UsageError` unless the discovery document lets a client set every field."""
    _check(body, {"$ref": f"{_PREFIX}{schema}"}, schema)


def _check(value: Any, schema: Mapping[str, Any], where: str) -> None:
    if "$ref" in schema:
        schema = _schemas()[schema["$ref"]]
    kinds: dict[str, Any] = {
        "string": str, "integer": int, "boolean": bool, "object": Mapping, "array": list,
    }  # fmt: skip
    kind = schema.get("type", "any")
    if kind in kinds and not isinstance(value, kinds[kind]):
        raise UsageError(f"{where} must be of type {kind}, not {type(value).__name__}.")
    if "enum" in schema and value not in schema["enum"]:
        raise UsageError(f"{where} must be one of {', '.join(schema['enum'])}, not {value!r}.")
    if kind == "array":
        for item in value:
            _check(item, schema["items"], where)
    if kind != "object":
        return
    for key, item in value.items():
        field = schema.get("properties", {}).get(key) or schema.get("additionalProperties")
        if field is None:
            raise UsageError(f"{where} has no field {key!r}.")
        if field.get("readOnly"):
            raise UsageError(f"{where}.{key} is set by the service only.")
        _check(item, field, f"{where}.{key}")


@lru_cache
def _schemas() -> dict[str, Any]:
    from importlib.resources import files

    documents = files("googleapiclient.discovery_cache") / "documents"
    document = json.loads((documents / "aiplatform.v1.json").read_text(encoding="utf-8"))
    schemas: dict[str, Any] = document["schemas"]
    return schemas
