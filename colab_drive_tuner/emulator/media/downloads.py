"""Downloads of whole contents or byte ranges."""

import re
from collections.abc import Mapping
from typing import Any

from ..api.calls import Answer, Call, Slice
from ..errors import ApiError, forbidden, insufficient_scopes, no_permission
from ..state import access, restrictions
from ..state.model import Node

_RANGE = re.compile(
    r"bytes=[ \t]*(?:([0-9]{1,4000})-([0-9]{0,4000})|-([0-9]{1,4000}))[ \t]*", re.IGNORECASE
)
"""The numbers of a range: first and last byte, or a count of bytes at the end."""


def file_content(call: Call, node: Node, found: Mapping[str, Any] | None) -> Answer:
    """Answer with the content of a file's revision; raise a 403 if it may not be downloaded.

    "You can only download blob file content revisions marked as Keep Forever." Of the others, only
    the head is downloaded: it is the content of the file.
    """
    if not call.caller.scopes & {"drive", "drive.readonly", "drive.file", "drive.appdata"}:
        raise insufficient_scopes()
    if found and not restrictions.may_download(call.database, call.caller.email, node):
        raise forbidden("cannotDownloadFile", "This file cannot be downloaded by the user.")
    if found and found is not node.head and not found.get("keep"):
        raise forbidden(
            "download_restricted_for_revision",
            "This revision cannot be downloaded by the authenticated user.",
        )
    return _content_answer(call, found)


def find_revision(call: Call, node: Node, wanted: str) -> Mapping[str, Any]:
    """Return a revision, which only writers may see; raise a 404 for an unknown one."""
    if call.rank(node) < access.WRITER:
        raise no_permission(node.id)
    for found in node.revisions:
        if found["id"] == wanted or (wanted == "head" and found is node.head):
            return found
    raise ApiError(404, "notFound", f"Revision not found: {wanted}.", location="revisionId")


def _content_answer(call: Call, head: Mapping[str, Any] | None) -> Answer:
    """Answer with the bytes of a revision: 200, 206 for a satisfiable Range, or 416."""
    if head is None:
        raise ApiError(
            403,
            "fileNotDownloadable",
            "Only files with binary content can be directly downloaded. "
            "Use Export with Docs Editors files.",
            location="alt",
        )
    size = int(head["size"])
    path = call.database.blobs / head["blob"]
    headers = {
        "Content-Type": str(head["mime"]),
        "Content-Disposition": "attachment",
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, max-age=0, must-revalidate",
    }
    wanted = parse_range(call.headers.get("range"), size)
    if wanted is None:
        return Answer(200, Slice(path, 0, size), headers)
    start, end = wanted
    if start >= size or start > end:
        raise ApiError(
            416,
            "requestedRangeNotSatisfiable",
            "Request range not satisfiable",
            location="Range",
            location_type="header",
            headers={"Content-Range": f"bytes */{size}"},
        )
    headers["Content-Range"] = f"bytes {start}-{end}/{size}"
    return Answer(206, Slice(path, start, end - start + 1), headers)


def parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Return first and last byte of a Range header (RFC 9110); None if absent or invalid.

    Multiple ranges return None: the whole content is sent then, as the RFC allows.
    """
    found = _RANGE.fullmatch(header or "")
    if found is None:
        return None
    if found[3]:
        count = int(found[3])
        return (max(0, size - count), size - 1) if count else (size, size)
    start = int(found[1])
    end = int(found[2]) if found[2] else max(start, size - 1)
    return (start, min(end, size - 1)) if start <= end else None
