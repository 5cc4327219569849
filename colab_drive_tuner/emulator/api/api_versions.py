"""API versions: request bodies and resources of v2 and v3 over one database.

v2 is v3 with other names and with etags ("Drive API v2 and v3 comparison guide").
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import condition_not_met, no_conversion
from ..queries.fields import Selection
from ..state.model import Node
from . import resources, resources_v2, writable_fields
from .calls import Answer, Call
from .resources import View
from .resources_v2 import etag


@dataclass(frozen=True)
class ApiVersion:
    """Request bodies and resources of one API version."""

    default: Selection
    """Fields shown if none are requested."""
    show: Callable[[View, Node, Selection], dict[str, Any]]
    rename: Callable[[dict[str, Any], bool], dict[str, Any]]
    """Converts a body to v3 names; the flag tells whether a file is created."""


def _checked_v3_body(body: dict[str, Any], creating: bool) -> dict[str, Any]:
    return writable_fields.check_body(body, creating=creating)


API_VERSIONS: Mapping[str, ApiVersion] = {
    "v3": ApiVersion(resources.DEFAULT, resources.file, _checked_v3_body),
    "v2": ApiVersion(resources_v2.DEFAULT, resources_v2.file, resources_v2.body_in_v3),
}


def api_version(call: Call) -> ApiVersion:
    """Return the API version of the call."""
    return API_VERSIONS[call.method.version]


def selection(call: Call) -> Selection:
    """Return the requested fields of a file; raise a 400 for unknown fields."""
    return call.selection(api_version(call).default)


def creates(call: Call) -> bool:
    """Whether the call creates a file."""
    return call.method.id.endswith((".create", ".insert", ".copy"))


def check_conversion(call: Call) -> None:
    """Raise a 501 if v2's `convert` or `ocr` asks for a Docs Editors format.

    `convert` has no effect in updates, according to its description.
    """
    if call.parameters.flag("ocr") or (creates(call) and call.parameters.flag("convert")):
        raise no_conversion(call.method.id)


def read_body(call: Call, body: dict[str, Any]) -> dict[str, Any]:
    """Read and check the body's metadata, with v3 names; v2 moves a file by `parents`."""
    known = api_version(call).rename(body, creates(call))
    if call.is_v2:
        if not creates(call) and "parents" in known:
            call.new_parents = known.pop("parents")
        if not creates(call):
            _set_time(call, known)
    return known


def _set_time(call: Call, known: dict[str, Any]) -> None:
    """Keep, drop or set the modification time given in the body of a v2 update."""
    behavior = call.parameters.text("modifiedDateBehavior") or ""
    if not call.parameters.flag("setModifiedDate") and not behavior.startswith("fromBody"):
        known.pop("modifiedTime", None)
    if behavior.lower().endswith("now"):
        known.setdefault("modifiedTime", resources.rfc3339(call.database.clock.ms()))


def keeps_time(call: Call, body: Mapping[str, Any]) -> bool:
    """Whether a v2 update keeps the modification time unchanged."""
    behavior = call.parameters.text("modifiedDateBehavior")
    return behavior == "noChange" or (behavior == "fromBody" and "modifiedTime" not in body)


def answer(call: Call, node: Node, wanted: Selection) -> Answer:
    """Answer with a file; in v2 with a 304 if the client already has this version."""
    headers = {"ETag": etag(node)} if call.is_v2 else {}
    if (
        call.method.verb == "GET"
        and headers
        and _matches_etag(call.headers.get("if-none-match"), node)
    ):
        return Answer(304, b"", headers)
    return Answer.json(api_version(call).show(call.view, node, wanted), 200, **headers)


def check_precondition(call: Call, node: Node) -> None:
    """Raise a 412 in v2 if If-Match names another version, or If-None-Match the current one.

    v3 has no etags and ignores both headers.
    """
    if not call.is_v2:
        return
    if call.headers.get("if-match") and not _matches_etag(call.headers["if-match"], node):
        raise condition_not_met("If-Match")
    if _matches_etag(call.headers.get("if-none-match"), node):
        raise condition_not_met("If-None-Match")


def check_insert_precondition(call: Call) -> None:
    """Raise a 412 for a v2 insert with `If-None-Match: *`, as the live service does for any id.

    The header refers to the collection, which exists. v3 ignores it.
    """
    if call.is_v2 and (call.headers.get("if-none-match") or "").strip() == "*":
        raise condition_not_met("If-None-Match")


def _matches_etag(header: str | None, node: Node) -> bool:
    given = {tag.strip().removeprefix("W/") for tag in (header or "").split(",")}
    return bool(given & {"*", etag(node)})
