"""Revisions: current and earlier contents of a file ("Manage file revisions")."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from ..errors import ApiError, bad_request, forbidden, no_conversion, no_permission
from ..media.downloads import content_answer
from ..protocol import resources, resources_v2
from ..protocol.calls import Answer, Call
from ..queries.fields import Selection, prune
from ..queries.paging import answer_page
from ..state import access
from ..state.model import Node
from .files import requested_file

DEFAULT: Selection = {name: {} for name in ("kind", "id", "mimeType", "modifiedTime")}


def _shown(call: Call, node: Node, found: Mapping[str, Any]) -> dict[str, Any]:
    if call.is_v2:
        return resources_v2.revision(call.view, node, found)
    return resources.revision(call.view, found)


def _answer(call: Call, node: Node, found: Mapping[str, Any]) -> Answer:
    default = {} if call.is_v2 else DEFAULT
    return Answer.json(prune(_shown(call, node, found), call.selection(default)))


def _readable(call: Call) -> Node:
    node = requested_file(call)
    if access.rank(call.database, call.caller.email, node) < access.WRITER:
        raise no_permission()
    return node


def _find(call: Call, node: Node) -> Mapping[str, Any]:
    wanted = call.path_value("revisionId")
    for found in node.revisions:
        if found["id"] == wanted or (wanted == "head" and found is node.head):
            return found
    raise ApiError(404, "notFound", f"Revision not found: {wanted}.", location="revisionId")


async def list_revisions(call: Call) -> Answer:
    """revisions.list, oldest first."""
    node = _readable(call)
    show = partial(_shown, call, node)
    found = list(node.revisions)
    return answer_page(call, "drive#revisionList", "revisions", found, show, DEFAULT)


async def get(call: Call) -> Answer:
    """revisions.get: metadata, or with `alt=media` the content."""
    node = _readable(call)
    found = _find(call, node)
    if call.parameters.text("alt") == "media":
        return content_answer(call, found)
    return _answer(call, node, found)


async def update(call: Call) -> Answer:
    """revisions.update: set keepForever, which counts against the quota and is irreversible."""
    body = await call.json()
    node = _readable(call)
    found = _find(call, node)
    # v2's name is pinned.
    field = "pinned" if call.is_v2 else "keepForever"
    keep = bool(body.get(field, found.get("keep")))
    if found.get("keep") and not keep:
        raise ApiError(
            400,
            "illegalKeepForeverModification",
            "Bad Request. Cannot update a revision to false that is marked as keepForever.",
        )
    new = {**found, "keep": keep}
    revisions = tuple(new if one is found else one for one in node.revisions)
    call.database.save(node.with_(revisions=revisions))
    return _answer(call, node, new)


async def delete(call: Call) -> Answer:
    """revisions.delete: any revision but the last one."""
    node = _readable(call)
    access.require(call.database, call.caller, node, access.WRITER)
    found = _find(call, node)
    if len(node.revisions) == 1:
        raise forbidden("cannotDeleteOnlyRevision", "The only revision cannot be deleted.")
    if found.get("keep"):
        raise bad_request("A revision that is kept forever cannot be deleted.")
    kept = tuple(one for one in node.revisions if one is not found)
    call.database.save(node.with_(revisions=kept))
    call.database.drop_blob(found["blob"])
    return Answer(204)


async def export(call: Call) -> Answer:
    """files.export of Docs Editors formats, which the emulator cannot convert."""
    node = requested_file(call)
    if node.head is not None or node.is_folder:
        raise forbidden("fileNotExportable", "Export only supports Docs Editors files.")
    raise no_conversion(call.method.id)
