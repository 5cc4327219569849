"""Dialects of the API: v2 and v3 over one store, each with its bodies and resources.

Version 2 is version 3 under other names, with etags ("Drive API v2 and v3 comparison guide").
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import condition_not_met, no_conversion
from ..queries.fields import Selection
from ..state.model import Node
from . import resources, resources_v2, writing
from .calls import Answer, Call
from .resources import View
from .resources_v2 import etag


@dataclass(frozen=True)
class Dialect:
    """How one version of the API reads and shows files."""

    default: Selection
    """What is shown where no `fields` are asked for; empty is everything."""
    show: Callable[[View, Node, Selection], dict[str, Any]]
    rename: Callable[[dict[str, Any], bool], dict[str, Any]]
    """A body in v3's names; the flag says whether a file is being made."""


def _as_it_is(body: dict[str, Any], creating: bool) -> dict[str, Any]:
    return writing.check_body(body, creating=creating)


DIALECTS: Mapping[str, Dialect] = {
    "v3": Dialect(resources.DEFAULT, resources.file, _as_it_is),
    "v2": Dialect({}, resources_v2.file, resources_v2.body_in_v3),
}


def dialect(call: Call) -> Dialect:
    """The dialect that the call is in."""
    return DIALECTS[call.method.version]


def selection(call: Call) -> Selection:
    """What of a file the client wants to see; 400 for unknown fields."""
    return call.selection(dialect(call).default)


def creates(call: Call) -> bool:
    """Whether the call makes a file."""
    return call.method.id.endswith((".create", ".insert", ".copy"))


def check_conversion(call: Call) -> None:
    """501 where v2's `convert` or `ocr` ask for a Docs Editors format.

    `convert` has no function in updates, as their description says.
    """
    if call.parameters.flag("ocr") or (creates(call) and call.parameters.flag("convert")):
        raise no_conversion(call.method.id)


def read_body(call: Call, body: dict[str, Any]) -> dict[str, Any]:
    """The body's metadata in v3's names, checked; v2 moves a file by its `parents`."""
    known = dialect(call).rename(body, creates(call))
    if call.method.version == "v2":
        if not creates(call) and "parents" in known:
            call.new_parents = known.pop("parents")
        if not creates(call):
            _set_time(call, known)
    return known


def _set_time(call: Call, known: dict[str, Any]) -> None:
    """Keep, drop or set the time of modification that the body of a v2 update names."""
    behavior = call.parameters.text("modifiedDateBehavior") or ""
    if not call.parameters.flag("setModifiedDate") and not behavior.startswith("fromBody"):
        known.pop("modifiedTime", None)
    if behavior.lower().endswith("now"):
        known.setdefault("modifiedTime", resources.rfc3339(call.database.clock.ms()))


def keeps_time(call: Call, body: Mapping[str, Any]) -> bool:
    """Whether a v2 update wants the time of modification to stay what it is."""
    behavior = call.parameters.text("modifiedDateBehavior")
    return behavior == "noChange" or (behavior == "fromBody" and "modifiedTime" not in body)


def answer(call: Call, node: Node, wanted: Selection) -> Answer:
    """The answer that shows a file; in v2 a 304 to a client that has this version already."""
    headers = {"ETag": etag(node)} if call.method.version == "v2" else {}
    if call.method.verb == "GET" and headers and _names(call.headers.get("if-none-match"), node):
        return Answer(304, b"", headers)
    return Answer.json(dialect(call).show(call.view, node, wanted), 200, **headers)


def check_precondition(call: Call, node: Node) -> None:
    """412 in v2 where If-Match names another version, or If-None-Match this one.

    v3 has no etags and ignores both headers.
    """
    if call.method.version != "v2":
        return
    if call.headers.get("if-match") and not _names(call.headers["if-match"], node):
        raise condition_not_met("If-Match")
    if _names(call.headers.get("if-none-match"), node):
        raise condition_not_met("If-None-Match")


def check_none_there(call: Call) -> None:
    """412 for an insert with `If-None-Match: *`, which live clients got for every id and for none.

    The header asks about the collection, which is there. v3 ignores it.
    """
    if call.method.version == "v2" and (call.headers.get("if-none-match") or "").strip() == "*":
        raise condition_not_met("If-None-Match")


def _names(header: str | None, node: Node) -> bool:
    given = {one.strip().removeprefix("W/") for one in (header or "").split(",")}
    return bool(given & {"*", etag(node)})
