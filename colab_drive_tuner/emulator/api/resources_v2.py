"""Resources of v2, and the conversion of v2 bodies to v3 names."""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from ..errors import invalid
from ..state import access
from ..state.model import FOLDER, Node, person_id
from . import resources
from .fields import Selection
from .resources import View
from .writable_fields import WRITABLE, check_body

RENAMED = {
    "title": "name",
    "createdDate": "createdTime",
    "modifiedDate": "modifiedTime",
    "modifiedByMeDate": "modifiedByMeTime",
    "lastViewedByMeDate": "viewedByMeTime",
    "sharedWithMeDate": "sharedWithMeTime",
    "trashedDate": "trashedTime",
    "fileSize": "size",
    "alternateLink": "webViewLink",
}
SAME = (
    "id", "mimeType", "description", "spaces", "webContentLink", "iconLink", "hasThumbnail",
    "thumbnailVersion", "ownedByMe", "driveId", "teamDriveId", "shared",
    "permissionIds", "hasAugmentedPermissions", "copyRequiresWriterPermission", "writersCanShare",
    "folderColorRgb", "originalFilename", "fileExtension", "fullFileExtension", "md5Checksum",
    "sha1Checksum", "sha256Checksum", "quotaBytesUsed", "headRevisionId", "isAppAuthorized",
    "exportLinks", "shortcutDetails", "linkShareMetadata", "version",
    "explicitlyTrashed", "inheritedPermissionsDisabled",
)  # fmt: skip


def etag(node: Node) -> str:
    """Return the file's etag, which changes with every change of the file."""
    return f'"{person_id(node.id)[:12]}/{node.version}"'


def self_link(view: View, path: str) -> str:
    """Return the URL of a resource in this emulator."""
    return f"{view.base}/drive/v2/{path}"


def user(view: View, email: str) -> dict[str, Any]:
    """Return a v2 User resource."""
    found = resources.user(view, email)
    found["isAuthenticatedUser"] = found.pop("me")
    return found


def permission(view: View, node: Node, found: Mapping[str, Any]) -> dict[str, Any]:
    """Return a v2 Permission resource; commenters are readers with an additional role."""
    shown = resources.permission(view, node, found)
    shown["name"] = shown.pop("displayName", "")
    if "expirationTime" in shown:
        shown["expirationDate"] = shown.pop("expirationTime")
    if shown["role"] == "commenter":
        shown |= {"role": "reader", "additionalRoles": ["commenter"]}
    if found["type"] in {"anyone", "domain"}:
        shown["withLink"] = not shown.pop("allowFileDiscovery", False)
    shown["etag"] = etag(node)
    shown["selfLink"] = self_link(view, f"files/{node.id}/permissions/{found['id']}")
    return shown


def revision(view: View, node: Node, found: Mapping[str, Any]) -> dict[str, Any]:
    """Return a v2 Revision resource."""
    path = self_link(view, f"files/{node.id}/revisions/{found['id']}")
    by = user(view, found["by"])
    shown = resources.revision(view, node, found)
    shown |= {
        "modifiedDate": shown.pop("modifiedTime"),
        "pinned": shown.pop("keepForever"),
        "fileSize": shown.pop("size"),
        "lastModifyingUser": by,
        "lastModifyingUserName": by["displayName"],
        "etag": f'"{person_id(found["id"])[:12]}/{int(bool(found.get("keep")))}"',
        "selfLink": path,
    }
    if found is node.head or found.get("keep"):  # the others cannot be downloaded
        shown["downloadUrl"] = f"{path}?alt=media&source=downloadUrl"
    return shown


def parent_reference(view: View, node: Node) -> dict[str, Any]:
    """Return a v2 ParentReference to the file's folder."""
    return {
        "kind": "drive#parentReference",
        "id": node.parent,
        "selfLink": self_link(view, f"files/{node.id}/parents/{node.parent}"),
        "parentLink": self_link(view, f"files/{node.parent}"),
        "isRoot": node.parent == view.caller.account.root,
    }


def _parents(view: View, node: Node) -> list[dict[str, Any]]:
    visible = resources.FIELDS["parents"](view, node)
    return [parent_reference(view, node)] if visible else []


def _download(view: View, node: Node) -> str | None:
    if node.head is None:
        return None
    return self_link(view, f"files/{node.id}?alt=media&source=downloadUrl")


def properties(view: View, node: Node) -> list[dict[str, Any]]:
    """Return a file's v2 Property resources: public ones and the client's private ones."""
    mine = node.app_properties.get(view.caller.client, {})
    pairs = [("PUBLIC", node.properties), ("PRIVATE", mine)]
    return [
        {
            "kind": "drive#property",
            "etag": etag(node),
            "selfLink": self_link(
                view, f"files/{node.id}/properties/{quote(key, safe='')}?visibility={visibility}"
            ),
            "key": key,
            "value": value,
            "visibility": visibility,
        }
        for visibility, values in pairs
        for key, value in values.items()
    ]


def _properties(view: View, node: Node) -> list[dict[str, Any]] | None:
    return properties(view, node) or None


def _labels(view: View, node: Node) -> dict[str, bool]:
    return {
        "starred": view.caller.email in node.starred,
        "hidden": False,
        "trashed": access.is_trashed(view.database, node),
        "restricted": resources.copy_requires_writer(view, node),
        "viewed": view.caller.email in node.viewed,
        "modified": view.caller.email in node.modified_by_users,
    }


def user_permission(view: View, node: Node) -> dict[str, Any]:
    """Return the caller's own Permission resource, whose id is `me`."""
    rank = access.rank(view.database, view.caller.email, node)
    roles = {number: name for name, number in access.RANKS.items()}
    role = roles.get(rank, "reader")
    return {
        "kind": "drive#permission",
        "id": "me",
        "type": "user",
        "role": "reader" if role == "commenter" else role,
        "etag": etag(node),
        "selfLink": self_link(view, f"files/{node.id}/permissions/me"),
    }


def _capabilities(view: View, node: Node) -> dict[str, bool]:
    shown: dict[str, bool] = resources.FIELDS["capabilities"](view, node)
    del shown["canChangeItemDownloadRestriction"]  # v3 only
    return shown


def _content_restrictions(view: View, node: Node) -> list[dict[str, Any]] | None:
    shown = resources.content_restrictions(view, node)
    for one in shown:
        one["restrictionDate"] = one.pop("restrictionTime")
        one["restrictingUser"]["isAuthenticatedUser"] = one["restrictingUser"].pop("me")
    return shown or None


def _can(name: str) -> Callable[[View, Node], bool]:
    return lambda view, node: resources.FIELDS["capabilities"](view, node)[name]


def _permissions(view: View, node: Node) -> list[dict[str, Any]] | None:
    if node.drive or access.rank(view.database, view.caller.email, node) < access.WRITER:
        return None
    found = access.effective_permissions(view.database, node).values()
    return [permission(view, node, one) for one in found]


FIELDS: dict[str, Callable[[View, Node], Any]] = {
    "kind": lambda view, node: "drive#file",
    "etag": lambda view, node: etag(node),
    "selfLink": lambda view, node: self_link(view, f"files/{node.id}"),
    **{name: resources.FIELDS[name] for name in SAME},
    **{name: resources.FIELDS[other] for name, other in RENAMED.items()},
    "parents": _parents,
    "labels": _labels,
    "properties": _properties,
    "downloadUrl": _download,
    "embedLink": lambda view, node: (
        None if node.mime_type == FOLDER else f"https://drive.google.com/file/d/{node.id}/preview"
    ),
    "owners": lambda view, node: [user(view, node.owner)] if node.owner else None,
    "ownerNames": lambda view, node: (
        [user(view, node.owner)["displayName"]] if node.owner else None
    ),
    "lastModifyingUser": lambda view, node: (
        user(view, node.modified_by) if node.modified_by else None
    ),
    "lastModifyingUserName": lambda view, node: (
        user(view, node.modified_by)["displayName"] if node.modified_by else None
    ),
    "sharingUser": lambda view, node: (
        user(view, by) if (by := resources.sharer(view, node)) else None
    ),
    "userPermission": user_permission,
    "capabilities": _capabilities,
    "contentRestrictions": _content_restrictions,
    "permissions": _permissions,
    "editable": _can("canEdit"),
    "copyable": _can("canCopy"),
    "shareable": _can("canShare"),
    "canComment": _can("canComment"),
    "canReadRevisions": _can("canReadRevisions"),
    "appDataContents": lambda view, node: node.space == "appDataFolder",
}


DEFAULT: Selection = {name: {} for name in FIELDS if name != "permissions"}
"""The fields that v2 returns by default: all but one, as PyDrive2's tests say of the service."""


def file(view: View, node: Node, selection: Selection) -> dict[str, Any]:
    """Return the v2 File resource with the selected fields; without a selection, all."""
    return resources.compute_fields(FIELDS, view, node, selection)


def body_in_v3(body: dict[str, Any], *, creating: bool) -> dict[str, Any]:
    """Convert a v2 body to v3 names; read-only fields are ignored, as in v2."""
    found: dict[str, Any] = {}
    for name, value in body.items():
        known = RENAMED.get(name, name)
        if name in SAME or name in RENAMED or name == "contentRestrictions":
            if known in WRITABLE and (creating or known not in {"id", "createdTime"}):
                found[known] = value
    if "indexableText" in body:
        found["contentHints"] = {"indexableText": (body["indexableText"] or {}).get("text")}
    labels = body.get("labels") or {}
    found |= {name: labels[name] for name in ("starred", "trashed") if name in labels}
    if "restricted" in labels:
        found["copyRequiresWriterPermission"] = labels["restricted"]
    parents = body.get("parents")
    if parents is not None:
        try:
            ids = [one["id"] for one in parents]
        except KeyError:
            raise invalid("file.parents") from None
        if ids:
            found["parents"] = ids
    for one in body.get("properties") or []:
        if not one.get("key"):
            raise invalid("file.properties")
        kind = "properties" if one.get("visibility") == "PUBLIC" else "appProperties"
        found.setdefault(kind, {})[one["key"]] = one.get("value")
    moved = None if creating else found.pop("parents", None)
    checked = check_body(found, creating=creating)
    return checked if moved is None else {**checked, "parents": moved}
