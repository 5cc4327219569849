"""Revisions: current and earlier contents of a file ("Manage file revisions")."""

import secrets
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from ..api.calls import Answer, Call
from ..api.fields import Selection
from ..errors import ApiError, bad_request, forbidden, no_conversion, no_permission
from ..media.contents import Received
from ..media.downloads import file_content, find_revision
from ..queries.paging import answer_page
from ..state import access
from ..state.database import Database
from ..state.model import Node

DEFAULT: Selection = {name: {} for name in ("kind", "id", "mimeType", "modifiedTime")}
PINNED_REVISIONS = 200
KEPT_REVISIONS = 100
"""Drive deletes older revisions that are not kept forever ("Manage file revisions")."""
MONTH_MS = 30 * 24 * 3600 * 1000
"""A revision is purged 30 days after a newer content was uploaded (Revision.keepForever)."""


def pins(call: Call) -> bool:
    """Whether the uploaded revision is to be kept forever; v2's name is pinned."""
    return call.parameters.flag("keepRevisionForever", "pinned")


def new_revision(call: Call, received: Received, mime_type: str, name: str) -> dict[str, Any]:
    """Keep a received content; return its revision record."""
    return {
        "id": "0B" + secrets.token_urlsafe(36)[:49],
        "blob": received.keep(call.database),
        "size": received.size,
        "md5": received.md5,
        "sha1": received.sha1,
        "sha256": received.sha256,
        "mime": mime_type,
        "modified": call.database.clock.ms(),
        "name": name,
        "keep": pins(call),
        "by": call.caller.email,
    }


def check_pins(node: Node) -> None:
    """Raise a 400 if no more revisions of the file can be kept forever."""
    if sum(bool(one.get("keep")) for one in node.revisions) >= PINNED_REVISIONS:
        raise bad_request(
            f"Only {PINNED_REVISIONS} revisions of a file can be kept forever. "
            "Delete some of them first."
        )


def with_revision(call: Call, node: Node, new: dict[str, Any]) -> tuple[Mapping[str, Any], ...]:
    """Return the revisions with the new one, without those that are then purged or replaced."""
    if node.head is not None and call.parameters.denied("newRevision"):
        # v2: "the blob data in the current head revision is replaced".
        keep = new["keep"] or node.head.get("keep")
        return (*node.revisions[:-1], {**new, "id": node.head["id"], "keep": keep})
    purgeable = [one["id"] for one in node.revisions if not one.get("keep")]
    gone = set(purgeable[:-KEPT_REVISIONS])
    return (*(one for one in node.revisions if one["id"] not in gone), new)


def replaced_bytes(call: Call, node: Node) -> int:
    """Return the bytes that no longer count once new content has arrived."""
    kept = node.head is not None and node.head.get("keep")
    return 0 if kept and not call.parameters.denied("newRevision") else node.size


def _shown(call: Call, node: Node, found: Mapping[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = call.resources.revision(call.view, node, found)
    return shown


def _requested(call: Call) -> tuple[Node, Mapping[str, Any]]:
    node = call.requested_file()
    return node, find_revision(call, node, call.path_value("revisionId"))


async def list_revisions(call: Call) -> Answer:
    """revisions.list, oldest first."""
    node = call.requested_file()
    if call.rank(node) < access.WRITER:
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
    call.require_role(node, access.WRITER)
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
    call.require_role(node, access.WRITER)
    if len(node.revisions) == 1:
        raise forbidden("cannotDeleteOnlyRevision", "The only revision cannot be deleted.")
    kept = tuple(one for one in node.revisions if one is not found)
    call.database.save(node.with_(revisions=kept))
    call.database.drop_blob(found["blob"])
    return Answer(204)


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
    node = call.requested_file()
    if node.head is not None or node.is_folder:
        raise forbidden("fileNotExportable", "Export only supports Docs Editors files.")
    raise no_conversion(call.method.id)
