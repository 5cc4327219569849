"""API versions: request bodies and resources of v2 and v3 over one database.

v2 is v3 with other names and with etags ("Drive API v2 and v3 comparison guide").
"""

from collections.abc import Mapping
from typing import Any

from ..errors import condition_not_met, no_conversion
from ..state.model import Node
from .calls import Answer, Call
from .fields import Selection
from .resources import rfc3339
from .resources_v2 import body_in_v3, etag
from .writable_fields import check_body


def selection(call: Call) -> Selection:
    """Return the requested fields of a file; raise a 400 for unknown fields."""
    return call.selection(call.resources.DEFAULT)


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
    creating = creates(call)
    if not call.is_v2:
        return check_body(body, creating=creating)
    known = body_in_v3(body, creating=creating)
    if not creating:
        call.new_parents = known.pop("parents", None)
        _set_time(call, known)
    return known


def _set_time(call: Call, known: dict[str, Any]) -> None:
    """Keep, drop or set the modification time given in the body of a v2 update."""
    behavior = call.parameters.text("modifiedDateBehavior") or ""
    if not call.parameters.flag("setModifiedDate") and not behavior.startswith("fromBody"):
        known.pop("modifiedTime", None)
    if behavior.lower().endswith("now"):
        known.setdefault("modifiedTime", rfc3339(call.database.clock.ms()))


def keeps_time(call: Call, body: Mapping[str, Any]) -> bool:
    """Whether a v2 update keeps the modification time unchanged."""
    behavior = call.parameters.text("modifiedDateBehavior")
    return behavior == "noChange" or (behavior == "fromBody" and "modifiedTime" not in body)


def answer(call: Call, node: Node, wanted: Selection) -> Answer:
    """Answer with a file; in v2 with a 304 if the client already has this version."""
    headers = {"ETag": etag(node)} if call.is_v2 else {}
    reads = headers and call.method.verb == "GET"
    if reads and _matches_etag(call.headers.get("if-none-match"), node):
        return Answer(304, b"", headers)
    return Answer.json(call.resources.file(call.view, node, wanted), 200, **headers)


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
