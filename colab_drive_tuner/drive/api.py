"""Requests to Drive v3 as google-api-python-client builds them, from the document bundled with it.

The library knows names, kinds, addresses and encodings, and refuses what Drive does not have. It
only builds: `transport` sends, because httplib2, by which the library would, is not safe in threads
and sends a POST again whose answer was lost. Building reads and never writes shared state.
"""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from colab_drive_tuner.drive.transport import Request


@lru_cache
def service(origin: str, version: str = "v3") -> Any:
    """Drive's resources at `origin`; their methods return a `Request` each. Asks no network."""
    from googleapiclient.discovery import build_from_document

    # An object that cannot send stands in for the library's own way to do it.
    return build_from_document(document(origin, version), http=object(), requestBuilder=_request)


def document(origin: str, version: str) -> dict[str, Any]:
    """The description of Drive's API that the library brings along, leading to `origin`."""
    from googleapiclient.discovery_cache import get_static_doc

    found: dict[str, Any] = json.loads(get_static_doc("drive", version))
    # `client_options.api_endpoint` would leave uploads at Google.
    return {**found, "rootUrl": f"{origin}/"}


def _request(
    http: Any,  # noqa: ARG001  # the library hands over how to send it, and how to read the answer
    postproc: Any,  # noqa: ARG001
    uri: str,
    *,
    method: str,
    body: str | bytes | None,
    headers: Mapping[str, str],
    **rest: Any,  # noqa: ARG001  # which method it is, and the media of an upload session
) -> Request:
    return Request(method, uri, headers, body.encode() if isinstance(body, str) else body)
