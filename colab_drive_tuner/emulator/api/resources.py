"""Resources of v3; each field is computed by a function when it is selected.

Their fields, and when they are absent, follow the File resource of the v3 reference.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from ..state import access, restrictions
from ..state.database import Database, stored_bytes
from ..state.model import FOLDER, GOOGLE, SHORTCUT, Caller, Node, display_name, person_id
from .capabilities import file_capabilities
from .fields import Selection, prune, within


@dataclass(frozen=True)
class View:
    """Context of an answer: the caller and the base URL."""

    database: Database
    caller: Caller
    base: str = ""


def rfc3339(ms: int) -> str:
    """Format a time as Drive does: UTC with milliseconds."""
    moment = datetime.fromtimestamp(ms / 1000, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{ms % 1000:03d}Z"


def user(view: View, email: str) -> dict[str, Any]:
    """Return a User resource."""
    return {
        "kind": "drive#user",
        "displayName": display_name(email),
        "me": email == view.caller.email,
        "permissionId": person_id(email),
        "emailAddress": email,
    }


def permission(view: View, node: Node, found: Mapping[str, Any]) -> dict[str, Any]:
    """Return a Permission resource."""
    shown: dict[str, Any] = {
        "kind": "drive#permission",
        "id": found["id"],
        "type": found["type"],
        "role": found["role"],
    }
    if "emailAddress" in found:
        shown |= {
            "emailAddress": found["emailAddress"],
            "displayName": user(view, found["emailAddress"])["displayName"],
            "deleted": False,
            "pendingOwner": bool(found.get("pendingOwner")),
        }
    if "domain" in found:
        shown["displayName"] = found["domain"]
    for name in ("domain", "allowFileDiscovery", "expirationTime", "view"):
        if name in found:
            shown[name] = found[name]
    if node.has_limited_access:
        shown["inheritedPermissionsDisabled"] = True
    if node.drive:
        inherited = found.get("inherited", "")
        detail = {
            "permissionType": "member" if node.drive in {inherited, node.id} else "file",
            "role": found["role"],
            "inherited": bool(inherited),
        }
        if inherited:
            detail["inheritedFrom"] = inherited
        shown["permissionDetails"] = [detail]
    return shown


def revision(view: View, _: Node, found: Mapping[str, Any]) -> dict[str, Any]:
    """Return a Revision resource."""
    return {
        "kind": "drive#revision",
        "id": found["id"],
        "mimeType": found["mime"],
        "modifiedTime": rfc3339(found["modified"]),
        "keepForever": bool(found.get("keep")),
        "published": False,
        "lastModifyingUser": user(view, found["by"]),
        "originalFilename": found["name"],
        "md5Checksum": found["md5"],
        "size": str(found["size"]),
    }


def links(node: Node) -> dict[str, str]:
    """Return the file's web addresses for viewing and downloading."""
    if node.is_folder:
        return {"webViewLink": f"https://drive.google.com/drive/folders/{node.id}"}
    found = {"webViewLink": f"https://drive.google.com/file/d/{node.id}/view?usp=drivesdk"}
    if node.mime_type == "application/vnd.google.colaboratory":
        found["webViewLink"] = f"https://colab.research.google.com/drive/{node.id}"
    if node.head is not None:
        found["webContentLink"] = f"https://drive.google.com/uc?id={node.id}&export=download"
    return found


def _extension(name: str) -> str:
    head, dot, tail = name.rpartition(".")
    return tail if dot and head else ""


def _full_extension(name: str) -> str:
    stem, _, last = name.rpartition(".")
    if last.lower() in {"gz", "bz2", "xz", "zst"} and stem.endswith(".tar"):
        return f"tar.{last}"
    return _extension(name)


def _time(ms: int | None) -> str | None:
    return None if ms is None else rfc3339(ms)


def _head(name: str) -> Callable[[View, Node], Any]:
    return lambda view, node: None if node.head is None else str(node.head[name])


def _blob(value: Callable[[Node], str]) -> Callable[[View, Node], Any]:
    return lambda view, node: None if node.head is None else value(node)


def _stored(name: str, default: Any = None) -> Callable[[View, Node], Any]:
    return lambda view, node: node.extra.get(name, default)


def _my_drive(value: Callable[[View, Node], Any]) -> Callable[[View, Node], Any]:
    return lambda view, node: None if node.drive else value(view, node)


def _parents(view: View, node: Node) -> list[str] | None:
    parent = view.database.nodes.get(node.parent)
    # A parent folder that is not shared with the caller is hidden.
    if parent is None or not access.rank(view.database, view.caller.email, parent):
        return None
    return [parent.id]


def _permissions(view: View, node: Node) -> list[dict[str, Any]] | None:
    if access.rank(view.database, view.caller.email, node) < access.WRITER:
        return None
    found = access.effective_permissions(view.database, node)
    return [permission(view, node, one) for one in found.values()]


def _shared(view: View, node: Node) -> bool:
    return len(access.effective_permissions(view.database, node)) > 1


def _export_links(_: View, node: Node) -> dict[str, str] | None:
    # Docs Editors formats cannot be downloaded, and the emulator has no converter.
    return {} if node.mime_type == GOOGLE + "document" else None


def sharer(view: View, node: Node) -> str:
    """Return the address of who shared the file with the caller, or an empty text."""
    mine = access.effective_permissions(view.database, node).get(person_id(view.caller.email), {})
    return str(mine.get("by", ""))


def copy_requires_writer(view: View, node: Node) -> bool:
    """Whether readers and commenters can neither download nor copy the file."""
    return restrictions.effective_restriction(view.database, node)[restrictions.READERS]


def _downloads(view: View, node: Node) -> dict[str, dict[str, bool]] | None:
    if node.is_folder:
        return None
    return {
        "itemDownloadRestriction": restrictions.item_restriction(node.extra),
        "effectiveDownloadRestrictionWithContext": restrictions.effective_restriction(
            view.database, node
        ),
    }


def content_restrictions(view: View, node: Node) -> list[dict[str, Any]]:
    """Return the file's ContentRestriction resources: one if the content is read-only."""
    shown: list[dict[str, Any]] = []
    for one in node.extra.get("contentRestrictions") or ():
        if not one.get("readOnly"):
            continue
        entry = {
            "readOnly": True,
            "type": "globalContentRestriction",
            "ownerRestricted": bool(one.get("ownerRestricted")),
            "systemRestricted": False,
            "restrictingUser": user(view, one["by"]),
            "restrictionTime": rfc3339(one["time"]),
        }
        if one.get("reason"):
            entry["reason"] = one["reason"]
        shown.append(entry)
    return shown


FIELDS: dict[str, Callable[[View, Node], Any]] = {
    "kind": lambda view, node: "drive#file",
    "id": lambda view, node: node.id,
    "name": lambda view, node: node.name,
    "mimeType": lambda view, node: node.mime_type,
    "description": lambda view, node: node.description or None,
    "starred": lambda view, node: view.caller.email in node.starred,
    "trashed": lambda view, node: access.is_trashed(view.database, node),
    "explicitlyTrashed": lambda view, node: node.trashed,
    "trashedTime": lambda view, node: (
        rfc3339(node.trashed_at) if node.drive and node.trashed else None
    ),
    "trashingUser": lambda view, node: (
        user(view, node.trashed_by) if node.drive and node.trashed else None
    ),
    "parents": _parents,
    "properties": lambda view, node: dict(node.properties) or None,
    "appProperties": lambda view, node: node.app_properties.get(view.caller.client) or None,
    "spaces": lambda view, node: [node.space],
    "version": lambda view, node: str(node.version),
    "webViewLink": lambda view, node: links(node)["webViewLink"],
    "webContentLink": lambda view, node: links(node).get("webContentLink"),
    "iconLink": lambda view, node: (
        "https://drive-thirdparty.googleusercontent.com/16/type/" + quote(node.mime_type)
    ),
    "hasThumbnail": lambda view, node: False,
    "thumbnailVersion": lambda view, node: "0",
    "viewedByMe": lambda view, node: view.caller.email in node.viewed,
    "viewedByMeTime": lambda view, node: _time(node.viewed.get(view.caller.email)),
    "createdTime": lambda view, node: rfc3339(node.created),
    "modifiedTime": lambda view, node: rfc3339(node.modified),
    "modifiedByMe": lambda view, node: view.caller.email in node.modified_by_users,
    "modifiedByMeTime": lambda view, node: _time(node.modified_by_users.get(view.caller.email)),
    "sharedWithMeTime": lambda view, node: _time(node.shared_with.get(view.caller.email)),
    "sharingUser": lambda view, node: user(view, by) if (by := sharer(view, node)) else None,
    "owners": _my_drive(lambda view, node: [user(view, node.owner)]),
    "ownedByMe": _my_drive(lambda view, node: node.owner == view.caller.email),
    "driveId": lambda view, node: node.drive or None,
    "teamDriveId": lambda view, node: node.drive or None,
    "lastModifyingUser": lambda view, node: (
        user(view, node.modified_by) if node.modified_by else None
    ),
    "shared": _my_drive(_shared),
    "capabilities": lambda view, node: file_capabilities(view.database, view.caller, node),
    "permissions": _my_drive(_permissions),
    "permissionIds": lambda view, node: list(access.effective_permissions(view.database, node)),
    "hasAugmentedPermissions": lambda view, node: bool(node.permissions) if node.drive else None,
    "viewersCanCopyContent": lambda view, node: not copy_requires_writer(view, node),
    "copyRequiresWriterPermission": copy_requires_writer,
    "downloadRestrictions": _downloads,
    "writersCanShare": _my_drive(_stored("writersCanShare", default=True)),
    "folderColorRgb": lambda view, node: (
        node.extra.get("folderColorRgb", "#8f8f8f") if node.is_folder and not node.drive else None
    ),
    "originalFilename": _blob(lambda node: node.original_name or node.name),
    "fileExtension": _blob(lambda node: _extension(node.name)),
    "fullFileExtension": _blob(lambda node: _full_extension(node.name)),
    "md5Checksum": _head("md5"),
    "sha1Checksum": _head("sha1"),
    "sha256Checksum": _head("sha256"),
    "size": lambda view, node: None if node.mime_type in {FOLDER, SHORTCUT} else str(node.size),
    "quotaBytesUsed": lambda view, node: "0" if node.drive else str(stored_bytes(node)),
    "headRevisionId": _head("id"),
    "isAppAuthorized": lambda view, node: view.caller.client in node.clients,
    "exportLinks": _export_links,
    "shortcutDetails": _stored("shortcutDetails"),
    "contentRestrictions": lambda view, node: content_restrictions(view, node) or None,
    "linkShareMetadata": lambda view, node: {
        "securityUpdateEligible": False,
        "securityUpdateEnabled": True,
    },
    "inheritedPermissionsDisabled": _stored("inheritedPermissionsDisabled", default=False),
}

DEFAULT: Selection = {
    name: {} for name in ("kind", "id", "name", "mimeType", "driveId", "teamDriveId")
}
"""The fields that v3 returns by default (reference of files.get)."""


def compute_fields(
    fields: Mapping[str, Callable[[View, Node], Any]],
    view: View,
    node: Node,
    selection: Selection,
) -> dict[str, Any]:
    """Compute the selected fields, all for an empty selection; omit those without a value."""
    names = fields if not selection or "*" in selection else selection
    shown: dict[str, Any] = {}
    for name in names:
        compute = fields.get(name)
        value = None if compute is None else compute(view, node)
        if value is not None:
            shown[name] = value
    if any(within(selection, name) for name in shown):
        shown = prune(shown, selection)
    return shown


def file(view: View, node: Node, selection: Selection = DEFAULT) -> dict[str, Any]:
    """Return the File resource with the selected fields; all for an empty selection."""
    return compute_fields(FIELDS, view, node, selection)
