"""The methods of v3's `files` that make, show, change and delete one file."""

import secrets
from collections.abc import Mapping
from typing import Any

from . import access, contents, writing
from .calls import Answer, Call, Slice
from .contents import Received
from .database import Database
from .errors import (
    ApiError,
    bad_request,
    forbidden,
    id_in_use,
    id_not_usable,
    invalid,
    no_permission,
    no_storage,
    quota_exceeded,
)
from .model import FOLDER, GOOGLE, OCTETS, SHORTCUT, Node
from .resources import DEFAULT, file


def has_content(mime_type: str) -> bool:
    """Whether files of this type have bytes: not folders, shortcuts and Docs Editors formats."""
    return not mime_type.startswith(GOOGLE)


def check_new_id(call: Call, body: Mapping[str, Any], mime_type: str) -> None:
    """409 for an id that is in use, 400 or 403 for one that cannot be used ("generateIds")."""
    wanted = body.get("id")
    if wanted is None:
        return
    if call.database.is_used(wanted):
        raise id_in_use()
    if not call.database.is_generated(call.caller.email, wanted):
        raise id_not_usable()
    # Both refusals as observed live by others: pre-generated ids are for blobs and folders.
    if mime_type == SHORTCUT:
        raise id_not_usable()
    if mime_type.startswith(GOOGLE) and mime_type != FOLDER:
        raise forbidden(
            "insufficientFilePermissions",
            "Generated IDs are not supported for Docs Editors formats.",
        )


def parent_for(call: Call, body: Mapping[str, Any]) -> Node:
    """The folder for a new file: the one named, else the root of My Drive."""
    wanted = body.get("parents") or ["root"]
    if len(wanted) > 1:
        raise ApiError(
            400,
            "invalid",
            "A file cannot have more than one parent. Use shortcuts instead.",
            location="file.parents",
            location_type="other",
        )
    if wanted[0] in {"root", call.caller.account.root}:
        # Apps with drive.file may put files into a root folder that they cannot read.
        return call.database.nodes[call.caller.account.root]
    parent = access.find(call.database, call.caller, wanted[0], all_drives=call.all_drives)
    if not parent.is_folder:
        raise forbidden("parentNotAFolder", "The specified parent is not a folder.")
    if access.rank(call.database, call.caller.email, parent) < access.WRITER:
        raise no_permission()
    return parent


def check_room(database: Database, email: str, drive: str, growth: int) -> None:
    """403 `storageQuotaExceeded` if the account cannot own that many more bytes."""
    if drive:
        return
    account = database.account(email)
    if account.is_service and account.limit == 0:
        raise no_storage()
    if account.limit is not None and database.usage.get(account.email, 0) + growth > account.limit:
        raise quota_exceeded()


def media_type(call: Call, body: Mapping[str, Any], uploaded: str | None) -> str:
    """The type of a file: the metadata's, else the upload's, else unknown bytes."""
    return body.get("mimeType") or (uploaded or "").split(";")[0].strip().lower() or OCTETS


def check_create(call: Call, body: dict[str, Any], uploaded: str | None, *, media: bool) -> Node:
    """Everything that can be refused before the bytes arrive; returns the parent folder."""
    mime_type = media_type(call, body, uploaded)
    if media and not has_content(mime_type):
        raise bad_request("The requested conversion is not supported.")
    parent = parent_for(call, body)
    check_new_id(call, body, mime_type)
    if has_content(mime_type):
        check_room(call.database, call.caller.email, parent.drive, 0)
    return parent


def revision(
    call: Call, received: Received, blob: str, mime_type: str, name: str
) -> dict[str, Any]:
    """The record of a content."""
    return {
        "id": "0B" + secrets.token_urlsafe(36)[:49],
        "blob": blob,
        "size": received.size,
        "md5": received.md5,
        "sha1": received.sha1,
        "sha256": received.sha256,
        "mime": mime_type,
        "modified": call.database.clock.ms(),
        "name": name,
        "keep": call.parameters.flag("keepRevisionForever", "pinned"),
        "by": call.caller.email,
    }


def create_node(
    call: Call, body: dict[str, Any], received: Received | None, uploaded: str | None
) -> Node:
    """Make the file; the received content becomes its own."""
    database, caller = call.database, call.caller
    parent = check_create(call, body, uploaded, media=received is not None)
    mime_type = media_type(call, body, uploaded)
    if received is not None:
        check_room(database, caller.email, parent.drive, received.size)
    now = database.clock.ms()
    created = now
    if body.get("createdTime"):
        created = writing.parse_time(body["createdTime"], "file.createdTime")
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
    found = writing.changes(blank, rest, caller.email, caller.client, now)
    found.setdefault("modified_by", caller.email)
    found.setdefault("modified_by_users", {caller.email: now})
    if received is not None:
        blob = received.keep(database)
        found["revisions"] = (revision(call, received, blob, mime_type, blank.original_name),)
    node = blank.with_(**found)
    with database.transaction():
        database.put(node)
    return node


def _shortcut(call: Call, body: Mapping[str, Any], mime_type: str) -> dict[str, Any]:
    if mime_type != SHORTCUT:
        return {}
    target_id = (body.get("shortcutDetails") or {}).get("targetId")
    if not target_id:
        raise bad_request("A shortcut needs shortcutDetails.targetId.")
    target = access.find(call.database, call.caller, target_id)
    return {"shortcutDetails": {"targetId": target.id, "targetMimeType": target.mime_type}}


async def create(call: Call) -> Answer:
    """files.create without media: a folder, a shortcut, or a file of no bytes."""
    selection = call.selection(DEFAULT)
    body = writing.check_body(await call.json(), creating=True)
    return Answer.json(file(call.view, await create_without_media(call, body), selection))


async def create_without_media(call: Call, body: dict[str, Any]) -> Node:
    """Make a file from metadata alone; one that should have bytes gets none of them."""
    check_create(call, body, None, media=False)
    received = None
    if has_content(media_type(call, body, None)):
        received = await contents.empty(call.database)
    return create_node(call, body, received, None)


def the_file(call: Call) -> Node:
    """The file that the path names."""
    return access.find(
        call.database, call.caller, call.path_value("fileId"), all_drives=call.all_drives
    )


async def get(call: Call) -> Answer:
    """files.get: metadata, or with `alt=media` the content or a range of it."""
    node = the_file(call)
    if call.parameters.text("alt") == "media":
        if not call.caller.scopes & {"drive", "drive.readonly", "drive.file", "drive.appdata"}:
            raise no_permission()
        return content_answer(call, node, node.head)
    return Answer.json(file(call.view, node, call.selection(DEFAULT)))


def content_answer(call: Call, node: Node, head: Mapping[str, Any] | None) -> Answer:
    """The bytes of a revision: 200, 206 for a satisfiable Range, 416 for another."""
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
    """First and last byte of a Range header (RFC 9110); None where it is absent or not understood.

    Several ranges are answered with the whole content, as the RFC allows.
    """
    unit, _, spec = (header or "").partition("=")
    first, dash, last = spec.strip().partition("-")
    if unit.strip().lower() != "bytes" or not dash or "," in spec:
        return None
    try:
        if not first.strip():
            count = int(last)
            return (max(0, size - count), size - 1) if count else (size, size)
        start = int(first)
        end = int(last) if last.strip() else size - 1
    except ValueError:
        return None
    return (start, min(end, size - 1)) if start <= end or start >= size else None


async def update(call: Call) -> Answer:
    """files.update without media."""
    selection = call.selection(DEFAULT)
    node = the_file(call)
    body = writing.check_body(await call.json(), creating=False)
    return Answer.json(file(call.view, update_node(call, node, body, None, None), selection))


def check_update(call: Call, node: Node, body: Mapping[str, Any], *, media: bool) -> None:
    """403 or 400 where the caller may not change this in the file."""
    database, caller = call.database, call.caller
    personal = {"starred", "viewedByMeTime", "kind"}
    if set(body) - personal or media or call.parameters.text("addParents"):
        access.require(database, caller, node, access.WRITER)
    if "trashed" in body:
        # "Only the owner may trash a file" (File.trashed); in shared drives, content managers.
        access.require(
            database, caller, node, access.FILE_ORGANIZER if node.drive else access.OWNER
        )
    if not node.parent and (set(body) & {"name", "trashed"} or call.parameters.text("addParents")):
        raise no_permission()
    if media and not has_content(node.mime_type):
        raise bad_request("The requested conversion is not supported.")
    if node.extra.get("contentRestrictions") and media:
        if any(one.get("readOnly") for one in node.extra["contentRestrictions"]):
            raise forbidden("fileContentRestricted", "The content of the file is read-only.")


def update_node(
    call: Call,
    node: Node,
    body: dict[str, Any],
    received: Received | None,
    uploaded: str | None,
) -> Node:
    """Change metadata, content and place of the file, all or nothing."""
    database, caller = call.database, call.caller
    check_update(call, node, body, media=received is not None)
    now = database.clock.ms()
    found = writing.changes(node, body, caller.email, caller.client, now)
    found |= move(call, node)
    gone: list[str] = []
    if received is not None:
        check_room(database, node.owner or caller.email, node.drive, received.size - node.size)
        mime_type = (uploaded or "").split(";")[0].strip().lower()
        if not body.get("mimeType") and mime_type:
            found["mime_type"] = mime_type
        kept = [one for one in node.revisions[:-1] if one.get("keep")]
        kept += node.revisions[-1:]
        recent = node.revisions[-KEPT_REVISIONS:]
        gone = [one["blob"] for one in node.revisions if one not in kept and one not in recent]
        blob = received.keep(database)
        content_type = found.get("mime_type", node.mime_type)
        name = found.get("original_name", node.original_name)
        new = revision(call, received, blob, content_type, name)
        found["revisions"] = (*(one for one in node.revisions if one["blob"] not in gone), new)
        found.setdefault("modified", now)
        found["modified_by"] = caller.email
        found["modified_by_users"] = {**node.modified_by_users, caller.email: found["modified"]}
    changed = node.with_(**found)
    with database.transaction():
        database.put(changed)
        if changed.drive != node.drive:
            _move_below(database, changed)
    for one in gone:
        database.drop_blob(one)
    return changed


KEPT_REVISIONS = 100
"""Drive drops revisions after 100 newer ones ("Manage file revisions")."""


def move(call: Call, node: Node) -> dict[str, Any]:
    """What addParents and removeParents change: a file has exactly one parent."""
    database, caller = call.database, call.caller
    add = [one for one in (call.parameters.text("addParents") or "").split(",") if one]
    remove = [one for one in (call.parameters.text("removeParents") or "").split(",") if one]
    if not add and not remove:
        return {}
    current = {node.parent} | ({"root"} if node.parent == caller.account.root else set())
    if any(one not in current for one in remove):
        raise invalid(
            "removeParents", "The specified parent to remove is not a parent of the file."
        )
    if not add:
        raise forbidden("cannotRemoveParent", "A file must have exactly one parent.")
    if len(add) > 1:
        raise forbidden("cannotAddParent", "Increasing the number of parents is not allowed")
    parent = access.find(database, caller, add[0], all_drives=call.all_drives)
    if parent.id == node.parent:
        return {}
    if not parent.is_folder:
        raise forbidden("parentNotAFolder", "The specified parent is not a folder.")
    access.require(database, caller, parent, access.WRITER)
    if any(one.id == node.id for one in access.lineage(database, parent)):
        raise bad_request("The specified parent would create a cycle.")
    if not remove and node.drive:
        raise forbidden(
            "teamDrivesParentLimit", "A shared drive item must have exactly one parent."
        )
    owner = "" if parent.drive else (node.owner or caller.email)
    return {"parent": parent.id, "drive": parent.drive, "owner": owner}


def _move_below(database: Database, folder: Node) -> None:
    for child in list(database.children.get(folder.id, ())):
        node = database.nodes[child]
        moved = node.with_(drive=folder.drive, owner=folder.owner)
        database.put(moved)
        _move_below(database, moved)


async def copy(call: Call) -> Answer:
    """files.copy."""
    selection = call.selection(DEFAULT)
    node = the_file(call)
    body = writing.check_body(await call.json(), creating=True)
    return Answer.json(file(call.view, copy_node(call, node, body), selection))


def copy_node(call: Call, node: Node, body: dict[str, Any]) -> Node:
    """A new file with the content of another."""
    database = call.database
    if node.is_folder:
        raise forbidden("cannotCopyFile", "This file cannot be copied by the user.")
    given = {
        "name": f"Copy of {node.name}",
        "mimeType": node.mime_type,
        "description": node.description,
        "properties": dict(node.properties),
        **body,
    }
    if "properties" in body:
        given["properties"] = {**node.properties, **(body["properties"] or {})}
    if node.app_properties.get(call.caller.client):
        mine = node.app_properties[call.caller.client]
        given["appProperties"] = {**mine, **(body.get("appProperties") or {})}
    if node.mime_type == SHORTCUT:
        given.setdefault("shortcutDetails", dict(node.extra["shortcutDetails"]))
    if "parents" not in body:
        parent = database.nodes.get(node.parent)
        writable = parent is not None and (
            access.visible(database, call.caller, parent)
            and access.rank(database, call.caller.email, parent) >= access.WRITER
        )
        given["parents"] = [node.parent if writable else "root"]
    head = node.head
    if head is None:
        return create_node(call, given, None, None)
    if not has_content(given["mimeType"]):
        raise bad_request("The requested conversion is not supported.")
    check_create(call, given, None, media=True)
    # A second name for the same bytes, put where received contents lie.
    blob = contents.copy_blob(database, head["blob"])
    path = database.incoming / blob
    (database.blobs / blob).rename(path)
    received = Received(path, int(head["size"]), head["md5"], head["sha1"], head["sha256"])
    try:
        return create_node(call, given, received, None)
    finally:
        received.discard()


async def delete(call: Call) -> Answer:
    """files.delete: for good, past the trash; a folder takes what its owner has below it along."""
    node = the_file(call)
    delete_node(call, node)
    return Answer(204)


def delete_node(call: Call, node: Node) -> None:
    """Delete a file for good; 403 unless the caller owns it or organizes its shared drive."""
    needed = access.ORGANIZER if node.drive else access.OWNER
    access.require(call.database, call.caller, node, needed)
    if not node.parent:
        raise no_permission()
    with call.database.transaction():
        remove_tree(call.database, node, node.owner)


def remove_tree(database: Database, node: Node, owner: str) -> None:
    """Delete a file and what the same owner has below it; others' files go to their own root."""
    for child_id in list(database.children.get(node.id, ())):
        child = database.nodes[child_id]
        if node.drive or child.owner == owner:
            remove_tree(database, child, owner)
        else:
            database.put(child.with_(parent=database.accounts[child.owner].root))
    database.remove(node)


async def empty_trash(call: Call) -> Answer:
    """files.emptyTrash: delete everything that the caller owns and has trashed."""
    database = call.database
    drive = call.parameters.text("driveId") or ""
    for node in [one for one in database.nodes.values() if one.trashed and one.drive == drive]:
        if node.id not in database.nodes or (not drive and node.owner != call.caller.email):
            continue
        delete_node(call, node)
    return Answer(204)


async def generate_ids(call: Call) -> Answer:
    """files.generateIds: ids that this user may create files or folders with."""
    space = call.parameters.text("space") or "drive"
    kind = call.parameters.text("type") or "files"
    if space not in {"drive", "appDataFolder"}:
        raise invalid("space")
    if kind not in {"files", "shortcuts"}:
        raise invalid("type")
    ids = [call.database.new_id(call.caller.email) for _ in range(call.parameters.number("count"))]
    return call_json(call, {"kind": "drive#generatedIds", "space": space, "ids": ids})


def call_json(call: Call, value: dict[str, Any]) -> Answer:
    """A JSON answer with nothing but what `fields` selects."""
    from .fields import prune

    return Answer.json(prune(value, call.selection({})))
