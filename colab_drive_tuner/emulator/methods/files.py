"""Methods of `files` that create, return, update and delete one file."""

from collections.abc import Mapping
from typing import Any

from ..api import writable_fields
from ..api.api_versions import (
    answer,
    check_insert_precondition,
    check_precondition,
    creates,
    keeps_time,
    read_body,
    selection,
)
from ..api.calls import Answer, Call, stream_of
from ..errors import (
    bad_request,
    forbidden,
    id_in_use,
    id_not_usable,
    insufficient_scopes,
    insufficient_spaces,
    no_conversion,
    no_permission,
    no_storage,
    not_for_app_data,
    parent_not_a_folder,
    quota_exceeded,
    too_many_parents,
)
from ..media import contents
from ..media.contents import Received
from ..media.downloads import file_content, find_revision
from ..state import access, restrictions
from ..state.database import Database
from ..state.model import FOLDER, GOOGLE, OCTETS, SHORTCUT, Node
from . import revisions
from .moving import check_depth, move, move_below


def has_content(mime_type: str) -> bool:
    """Whether files of this type have contents: not folders, shortcuts and Docs Editors formats."""
    return not mime_type.startswith(GOOGLE)


def check_content(call: Call, mime_type: str) -> None:
    """Refuse content for types that have none; 501 for Docs Editors formats (Drive converts)."""
    if mime_type in {FOLDER, SHORTCUT}:
        raise bad_request("The requested conversion is not supported.")
    if not has_content(mime_type):
        raise no_conversion(call.method.id)


def check_new_id(call: Call, body: Mapping[str, Any], mime_type: str) -> None:
    """Raise a 409 for an id in use, a 400 or 403 for an unusable id ("generateIds")."""
    wanted = body.get("id")
    if wanted is None:
        return
    if call.database.is_used(wanted):
        raise id_in_use()
    kind = "shortcuts" if mime_type == SHORTCUT else "files"
    if not call.database.is_generated(call.caller.email, kind, wanted):
        raise id_not_usable()
    # As others observed on the live service.
    if mime_type.startswith(GOOGLE) and mime_type not in {FOLDER, SHORTCUT}:
        raise forbidden(
            "insufficientFilePermissions",
            "Generated IDs are not supported for Docs Editors formats.",
        )


def parent_for(call: Call, body: Mapping[str, Any]) -> Node:
    """Return the parent folder of a new file; by default the root of My Drive."""
    wanted = body.get("parents") or ["root"]
    if len(wanted) > 1:
        raise too_many_parents()
    if wanted[0] in {"root", call.caller.account.root}:
        if call.caller.scopes & call.method.scopes == {"drive.appdata"}:
            raise insufficient_spaces()
        # Apps with drive.file may create files in a root folder that they cannot read.
        return call.database.nodes[call.caller.account.root]
    parent = call.find(wanted[0])
    if not parent.is_folder:
        raise parent_not_a_folder()
    if call.rank(parent) < access.WRITER:
        raise no_permission(parent.id)
    return parent


def check_room(database: Database, email: str, drive: str, growth: int) -> None:
    """Raise a 403 `storageQuotaExceeded` if the account has too little storage for the bytes."""
    if drive:
        return
    account = database.account(email)
    if account.is_service and account.limit == 0:
        raise no_storage()
    if account.limit is not None and database.usage.get(account.email, 0) + growth > account.limit:
        raise quota_exceeded()


def media_type(body: Mapping[str, Any], uploaded: str | None) -> str:
    """Return the file's type: from the metadata, else from the upload, else octet-stream."""
    return body.get("mimeType") or uploaded_type(uploaded) or OCTETS


def uploaded_type(header: str | None) -> str:
    """Return the type in a Content-Type header, or an empty string."""
    return writable_fields.check_mime_type((header or "").split(";")[0].strip().lower())


def check_create(call: Call, body: dict[str, Any], uploaded: str | None, size: int | None) -> Node:
    """Raise an error for a file that must not be created; return its parent folder.

    `size` is that of the content as far as it is known; None without content.
    """
    check_insert_precondition(call)
    mime_type = media_type(body, uploaded)
    if size is not None:
        check_content(call, mime_type)
    parent = parent_for(call, body)
    if mime_type == FOLDER:
        check_depth(call.database, parent)
    check_new_id(call, body, mime_type)
    if has_content(mime_type):
        check_room(call.database, call.caller.email, parent.drive, size or 0)
    return parent


def create_node(
    call: Call, body: dict[str, Any], received: Received | None, uploaded: str | None
) -> Node:
    """Create the file with the received content."""
    database, caller = call.database, call.caller
    parent = check_create(call, body, uploaded, None if received is None else received.size)
    mime_type = media_type(body, uploaded)
    now = database.clock.ms()
    created = now
    if body.get("createdTime"):
        created = writable_fields.parse_time(body["createdTime"], "file.createdTime")
    blank = Node(
        id=body.get("id") or database.new_id(caller.email),
        name=body.get("name") or "Untitled",
        mime_type=mime_type,
        owner="" if parent.drive else caller.email,
        parent=parent.id,
        drive=parent.drive,
        space=parent.space,
        created=created,
        modified=now,
        version=0,
        clients=(caller.client,),
        original_name=body.get("originalFilename") or body.get("name") or "Untitled",
        viewed={caller.email: now},
        extra=_shortcut(call, body, mime_type),
    )
    rest = {name: value for name, value in body.items() if name != "mimeType"}
    found = writable_fields.updated_attributes(blank, rest, caller.email, caller.client, now)
    found.setdefault("modified_by", caller.email)
    found.setdefault("modified_by_users", {caller.email: now})
    if received is not None:
        new = revisions.new_revision(call, received, mime_type, blank.original_name)
        found["revisions"] = (new,)
    node = blank.with_(**found)
    database.save(node)
    return node


def _shortcut(call: Call, body: Mapping[str, Any], mime_type: str) -> dict[str, Any]:
    if mime_type != SHORTCUT:
        return {}
    target_id = (body.get("shortcutDetails") or {}).get("targetId")
    if not target_id:
        raise bad_request("A shortcut needs shortcutDetails.targetId.")
    target = access.find(call.database, call.caller, target_id)
    if target.mime_type == SHORTCUT:
        raise forbidden(
            "shortcutTargetInvalid",
            "The specified file is not an allowed shortcut target type.",
        )
    return {"shortcutDetails": {"targetId": target.id, "targetMimeType": target.mime_type}}


def store(
    call: Call,
    body: dict[str, Any],
    received: Received | None = None,
    uploaded: str | None = None,
) -> Node:
    """Create or update the file; delete the received content if that is refused."""
    try:
        if creates(call):
            return create_node(call, body, received, uploaded)
        # Looked up again, since it may have changed during the upload.
        return update_node(call, call.requested_file(), body, received, uploaded)
    finally:
        if received is not None:
            received.discard()


async def create(call: Call) -> Answer:
    """files.create without media: a folder, a shortcut, or an empty file."""
    wanted = selection(call)
    body = read_body(call, await call.json())
    empty = has_content(media_type(body, None))
    received = await contents.receive(call.database, stream_of(b"")) if empty else None
    return answer(call, store(call, body, received), wanted)


async def get(call: Call) -> Answer:
    """files.get: metadata, or with `alt=media` the content or a range."""
    node = call.requested_file()
    if call.parameters.text("alt") == "media":
        # v2's revisionId is "ignored unless alt=media is specified".
        revision_id = call.parameters.text("revisionId")
        found = find_revision(call, node, revision_id) if revision_id else node.head
        answered = file_content(call, node, found)
        _mark_viewed(call, node)
        return answered
    node = _mark_viewed(call, node)
    return answer(call, node, selection(call))


def _mark_viewed(call: Call, node: Node) -> Node:
    """Set the caller's viewing date after a v2 files.get, if asked to."""
    if not call.parameters.flag("updateViewedDate"):
        return node
    now = call.database.clock.ms()
    viewed = node.with_(viewed={**node.viewed, call.caller.email: now})
    call.database.save(viewed)
    return viewed


async def update(call: Call) -> Answer:
    """files.update without media."""
    wanted = selection(call)
    node = call.requested_file()
    body = read_body(call, await call.json())
    return answer(call, update_node(call, node, body), wanted)


def check_update(call: Call, node: Node, body: Mapping[str, Any], size: int | None) -> None:
    """Raise a 403 or 400 if the caller may not make this change; `size` as in `check_create`."""
    media = size is not None
    database, caller = call.database, call.caller
    check_precondition(call, node)
    parameters = call.parameters
    moves = parameters.text("addParents") or parameters.text("removeParents") or call.new_parents
    personal = {"starred", "viewedByMeTime", "kind"}
    # The scope "does not allow any access to [...] upload file content", "trashing" and "changing
    # folders" ("Choose Auth Scopes").
    beyond_metadata = media or moves or "trashed" in body
    if beyond_metadata and caller.scopes & call.method.scopes == {"drive.metadata"}:
        raise insufficient_scopes()
    is_personal = not (set(body) - personal or media or moves)
    call.require_role(node, access.READER if is_personal else access.WRITER)
    if node.space == "appDataFolder" and body.get("trashed"):
        raise not_for_app_data("Files within the Application Data folder cannot be trashed.")
    if "trashed" in body:
        # "Only the owner may trash a file" (File.trashed); in shared drives, content managers may.
        call.require_role(node, access.FILE_ORGANIZER if node.drive else access.OWNER)
    if not node.parent and (set(body) & {"name", "trashed"} or moves):
        raise no_permission(node.id)
    if media:
        check_content(call, body.get("mimeType") or node.mime_type)
        if revisions.pins(call):
            revisions.check_pins(node)
    if media or body.get("name") not in {None, node.name}:
        restrictions.require_unlocked(node)
    restrictions.check_change(database, caller, node, body)
    if size is not None:
        growth = size - revisions.replaced_bytes(call, node)
        check_room(database, node.owner or caller.email, node.drive, growth)


def update_node(
    call: Call,
    node: Node,
    body: dict[str, Any],
    received: Received | None = None,
    uploaded: str | None = None,
) -> Node:
    """Change the file's metadata, content and parent atomically."""
    database, caller = call.database, call.caller
    check_update(call, node, body, None if received is None else received.size)
    now = database.clock.ms()
    found = writable_fields.updated_attributes(node, body, caller.email, caller.client, now)
    if keeps_time(call, body):
        found["modified"] = node.modified
    if call.parameters.flag("updateViewedDate"):
        found.setdefault("viewed", {**node.viewed, caller.email: now})
    found |= move(call, node)
    gone: list[str] = []
    if received is not None:
        mime_type = uploaded_type(uploaded)
        if not body.get("mimeType") and mime_type:
            found["mime_type"] = mime_type
        content_type = found.get("mime_type", node.mime_type)
        name = found.get("original_name", node.original_name)
        new = revisions.new_revision(call, received, content_type, name)
        found["revisions"] = revisions.with_revision(call, node, new)
        left = {one["blob"] for one in found["revisions"]}
        gone = [one["blob"] for one in node.revisions if one["blob"] not in left]
        found.setdefault("modified", now)
        found["modified_by"] = caller.email
        found["modified_by_users"] = {**node.modified_by_users, caller.email: found["modified"]}
    changed = node.with_(**found)
    with database.transaction():
        database.put(changed)
        if changed.drive != node.drive:
            move_below(database, changed)
    for one in gone:
        database.drop_blob(one)
    return changed
