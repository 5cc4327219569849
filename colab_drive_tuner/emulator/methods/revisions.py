"""Revisions: current and earlier contents of a file ("Manage file revisions")."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from ..errors import ApiError, forbidden, no_conversion, no_permission
from ..protocol import resources, resources_v2
from ..protocol.calls import Answer, Call
from ..queries.fields import Selection, prune
from ..queries.paging import answer_page
from ..state import access
from ..state.database import Database
from ..state.model import Node
from .files import check_pins, file_content, requested_file

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
        raise no_permission(node.id)
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
        return revision_content(call, node, found)
    return _answer(call, node, found)


def revision_content(call: Call, node: Node, found: Mapping[str, Any]) -> Answer:
    """Answer with the content of the head revision, or of one that is kept forever.

    "You can only download blob file content revisions marked as Keep Forever." The head is the
    content of the file, which files.get returns, too.
    """
    if found is not node.head and not found.get("keep"):
        raise forbidden(
            "download_restricted_for_revision",
            "This revision cannot be downloaded by the authenticated user.",
        )
    return file_content(call, node, found)


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
    if keep and not found.get("keep"):
        check_pins(node)
    new = {**found, "keep": keep}
    revisions = tuple(new if one is found else one for one in node.revisions)
    call.database.save(node.with_(revisions=revisions))
    return _answer(call, node, new)


async def delete(call: Call) -> Answer:
    """revisions.delete: any revision but the last one, also one that is kept forever."""
    node = _readable(call)
    access.require(call.database, call.caller, node, access.WRITER)
    found = _find(call, node)
    if len(node.revisions) == 1:
        raise forbidden("cannotDeleteOnlyRevision", "The only revision cannot be deleted.")
    kept = tuple(one for one in node.revisions if one is not found)
    call.database.save(node.with_(revisions=kept))
    call.database.drop_blob(found["blob"])
    return Answer(204)


MONTH_MS = 30 * 24 * 3600 * 1000
"""A revision is purged 30 days after a newer content was uploaded (Revision.keepForever)."""


def delete_expired(database: Database) -> None:
    """Delete the revisions that were replaced too long ago; called when the clock is set."""
    oldest = database.clock.ms() - MONTH_MS
    for node in list(database.nodes.values()):
        newer = zip(node.revisions, node.revisions[1:], strict=False)
        gone = [one for one, next_ in newer if not one.get("keep") and next_["modified"] <= oldest]
        if gone:
            kept = tuple(one for one in node.revisions if one not in gone)
            database.save(replace(node, revisions=kept))
            for one in gone:
                database.drop_blob(one["blob"])


async def export(call: Call) -> Answer:
    """files.export of Docs Editors formats, which the emulator cannot convert."""
    node = requested_file(call)
    if node.head is not None or node.is_folder:
        raise forbidden("fileNotExportable", "Export only supports Docs Editors files.")
    raise no_conversion(call.method.id)
