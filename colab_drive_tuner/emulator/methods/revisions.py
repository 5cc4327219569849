"""Revisions: current and earlier contents of a file ("Manage file revisions")."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from ..api.calls import Answer, Call
from ..api.fields import Selection
from ..errors import ApiError, forbidden, no_conversion, no_permission
from ..media.downloads import file_content, find_revision
from ..queries.paging import answer_page
from ..state import access
from ..state.database import Database
from ..state.model import Node
from .files import check_pins, requested_file

DEFAULT: Selection = {name: {} for name in ("kind", "id", "mimeType", "modifiedTime")}


def _shown(call: Call, node: Node, found: Mapping[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = call.resources.revision(call.view, node, found)
    return shown


def _requested(call: Call) -> tuple[Node, Mapping[str, Any]]:
    node = requested_file(call)
    return node, find_revision(call, node, call.path_value("revisionId"))


async def list_revisions(call: Call) -> Answer:
    """revisions.list, oldest first."""
    node = requested_file(call)
    if access.rank(call.database, call.caller.email, node) < access.WRITER:
        raise no_permission(node.id)
    show = partial(_shown, call, node)
    found = list(node.revisions)
    return answer_page(call, "drive#revisionList", "revisions", found, show, DEFAULT)


async def get(call: Call) -> Answer:
    """revisions.get: metadata, or with `alt=media` the content."""
    node, found = _requested(call)
    if call.parameters.text("alt") == "media":
        return file_content(call, node, found)
    return call.answer(_shown(call, node, found), DEFAULT)


async def update(call: Call) -> Answer:
    """revisions.update: set keepForever, which counts against the quota and is irreversible."""
    body = await call.json()
    node, found = _requested(call)
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
    return call.answer(_shown(call, node, new), DEFAULT)


async def delete(call: Call) -> Answer:
    """revisions.delete: any revision but the last one, also one that is kept forever."""
    node, found = _requested(call)
    access.require_role(call.database, call.caller, node, access.WRITER)
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
