"""Sharing: permissions of a file or shared drive."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from ..api import resources_v2
from ..api.calls import Answer, Call
from ..api.fields import Selection
from ..api.resources import rfc3339
from ..api.writable_fields import parse_time
from ..errors import (
    ApiError,
    bad_request,
    forbidden,
    invalid,
    no_permission,
    not_for_app_data,
)
from ..queries.paging import answer_page
from ..state import access
from ..state.model import Node, person_id

DEFAULT: Selection = {name: {} for name in ("kind", "id", "type", "role")}
DAY_MS = 24 * 3600 * 1000


def _shown(call: Call, node: Node, found: Mapping[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = call.resources.permission(call.view, node, found)
    return shown


def _require_sharing_role(call: Call, node: Node) -> None:
    if node.space == "appDataFolder":
        raise not_for_app_data()
    needed = access.sharing_rank(call.database, node)
    call.require_role(node, needed)


def _read_body(call: Call, body: dict[str, Any]) -> dict[str, Any]:
    """Read and check the body, with v3 names for v2's `value`, `withLink` and `additionalRoles`."""
    found = dict(body)
    if call.is_v2:
        named: dict[Any, str] = {
            "user": "emailAddress", "group": "emailAddress", "domain": "domain"
        }  # fmt: skip
        if "value" in body and body.get("type") in named:
            found[named[body["type"]]] = body["value"]
        if "commenter" in (body.get("additionalRoles") or ()):
            found["role"] = "commenter"
        if "expirationDate" in body:
            found["expirationTime"] = body["expirationDate"]
        # Unlike v3, v2 allows discovery by default, as users found.
        found["allowFileDiscovery"] = not body.get("withLink")
    return found


def _grantee(body: dict[str, Any], kind: str) -> dict[str, Any]:
    """Return the grantee and the id of the permission."""
    if kind in {"user", "group"}:
        email = body.get("emailAddress")
        if not isinstance(email, str) or "@" not in email:
            raise invalid(
                "permission.emailAddress",
                "The specified emailAddress is invalid or not applicable for the given "
                "permission type.",
            )
        return {"emailAddress": email.lower(), "id": person_id(email)}
    discovery = bool(body.get("allowFileDiscovery"))
    if kind == "domain":
        if not body.get("domain"):
            raise invalid("permission.domain", "The specified domain is invalid.")
        identity = person_id(body["domain"]) + "k"
        domain = body["domain"].lower()
        return {"domain": domain, "id": identity, "allowFileDiscovery": discovery}
    return {"id": "anyone" if discovery else "anyoneWithLink", "allowFileDiscovery": discovery}


def _expiration(call: Call, body: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Return the expiration as text and in milliseconds (limits: Permission.expirationTime)."""
    if not body.get("expirationTime"):
        return {}
    if kind not in {"user", "group"}:
        raise forbidden(
            "cannotSetExpirationOnAnyoneOrDomain",
            "Expiration times can only be set on permissions of users and groups.",
        )
    expires = parse_time(body["expirationTime"], "permission.expirationTime")
    if expires <= call.database.clock.ms():
        raise invalid("permission.expirationTime", "The expiration must be in the future.")
    if expires > call.database.clock.ms() + 366 * DAY_MS:
        raise invalid("permission.expirationTime", "The expiration must be within a year.")
    return {"expirationTime": rfc3339(expires), "expires": expires}


def _check_role(call: Call, node: Node, given: Mapping[str, Any]) -> None:
    """Raise a 403 for a role that this grantee cannot have on this kind of item."""
    everybody = given["type"] in {"domain", "anyone"}
    role, is_drive = given["role"], node.id == node.drive
    highest = {"user": access.OWNER, "group": access.ORGANIZER}.get(given["type"], access.WRITER)
    if access.RANKS[role] > highest:
        message = f"This role cannot be given to a grantee of type {given['type']}."
        raise forbidden("invalidSharingRequest", message)
    if everybody and is_drive:
        raise forbidden(
            "cannotShareTeamDriveTopFolderWithAnyoneOrDomains",
            "Only users and groups can be members of a shared drive.",
        )
    if role == "organizer" and not is_drive:
        where = "" if node.drive else "Item"
        raise forbidden(
            f"organizerOnNonTeamDrive{where}NotSupported",
            "Only members of a shared drive can be organizers.",
        )
    if role == "fileOrganizer" and not node.drive:
        raise forbidden(
            "fileOrganizerOnNonTeamDriveNotSupported", "This role exists in shared drives only."
        )
    if role == "fileOrganizer" and not node.is_folder:
        raise forbidden(
            "fileOrganizerOnFoldersInSharedDriveOnly", "This role is for folders, not for files."
        )
    rules = access.drive_restrictions(call.database, node)
    if node.drive and not is_drive and rules.get("driveMembersOnly"):
        drive = call.database.nodes[node.drive]
        if everybody or not access.rank(call.database, given["emailAddress"], drive):
            raise forbidden(
                "teamDriveTeamMembersOnlyRestriction",
                "The items of this shared drive can be shared with its members only.",
            )


async def create(call: Call) -> Answer:
    """permissions.create: grant a role to an account, a domain or anyone."""
    node = call.requested_file()
    body = _read_body(call, await call.json())
    kind, role = body.get("type"), body.get("role")
    if kind not in {"user", "group", "domain", "anyone"}:
        raise bad_request("The permission type field is required.")
    if role not in access.RANKS:
        raise bad_request("The permission role field is required.")
    _require_sharing_role(call, node)
    given = {"type": kind, "role": role, "by": call.caller.email, **_grantee(body, kind)}
    _check_role(call, node, given)
    given |= _expiration(call, body, kind)
    given |= {"view": body["view"]} if body.get("view") else {}
    given |= _pending(call, node, body, given)
    if role == "owner":
        return _transfer(call, node, given)
    shared = node.shared_with
    if given.get("emailAddress") == node.owner and node.owner:
        # The owner remains the owner.
        owned = access.effective_permissions(call.database, node)[given["id"]]
        return call.answer(_shown(call, node, owned), DEFAULT)
    if "emailAddress" in given:
        shared = {given["emailAddress"]: call.database.clock.ms(), **shared}
    changed = node.with_(permissions={**node.permissions, given["id"]: given}, shared_with=shared)
    call.database.save(changed)
    return call.answer(_shown(call, changed, given), DEFAULT)


def _pending(
    call: Call, node: Node, body: Mapping[str, Any], given: Mapping[str, Any]
) -> dict[str, Any]:
    """Return whether the grantee may accept the ownership, which only the owner offers."""
    if body.get("pendingOwner") is None or given["type"] != "user" or node.drive:
        return {}
    call.require_role(node, access.OWNER)
    return {"pendingOwner": body["pendingOwner"] and given["role"] == "writer"}


def _accepts(call: Call, found: Mapping[str, Any]) -> bool:
    """Whether the caller was offered the ownership ("Transfer file ownership")."""
    mine = found["id"] == person_id(call.caller.email)
    return mine and bool(found.get("pendingOwner"))


def _transfer(call: Call, node: Node, given: Mapping[str, Any]) -> Answer:
    if node.drive:
        raise forbidden("ownerOnTeamDriveItemNotSupported", "Shared drives have no owners.")
    if not call.parameters.flag("transferOwnership"):
        raise forbidden(
            "forbidden",
            "The transferOwnership parameter must be enabled when the permission role is 'owner'.",
        )
    call.require_role(node, access.READER if _accepts(call, given) else access.OWNER)
    if not node.parent:  # a root folder stays its account's, and lies in no folder
        raise no_permission(node.id)
    new = call.database.account(given["emailAddress"])
    old = {
        "id": person_id(node.owner),
        "type": "user",
        "role": "writer",
        "emailAddress": node.owner,
    }
    permissions = {**node.permissions, old["id"]: old}
    changed = node.with_(
        owner=new.email,
        permissions={key: value for key, value in permissions.items() if key != given["id"]},
        parent=new.root if call.parameters.flag("moveToNewOwnersRoot") else node.parent,
    )
    call.database.save(changed)
    made = access.effective_permissions(call.database, changed)[given["id"]]
    return call.answer(_shown(call, changed, made), DEFAULT)


def _find(call: Call, node: Node) -> dict[str, Any]:
    identity = call.path_value("permissionId")
    found = access.effective_permissions(call.database, node).get(identity)
    if found is None:
        raise ApiError(
            404, "notFound", f"Permission not found: {identity}.", location="permissionId"
        )
    return found


def _require_direct(node: Node, found: Mapping[str, Any]) -> None:
    if found["id"] in node.permissions:
        return
    if node.drive:
        raise forbidden(
            "cannotModifyInheritedTeamDrivePermission",
            "Cannot update or delete an inherited permission on a shared drive item.",
        )
    raise forbidden("cannotModifyInheritedPermission", "The permission is inherited.")


async def list_permissions(call: Call) -> Answer:
    """permissions.list."""
    node = call.requested_file()
    if call.rank(node) < access.WRITER:
        raise no_permission(node.id)
    found = list(access.effective_permissions(call.database, node).values())
    show = partial(_shown, call, node)
    size = 100 if node.drive else 0
    kind, name = "drive#permissionList", "permissions"
    return answer_page(call, kind, name, found, show, DEFAULT, size=size)


async def get(call: Call) -> Answer:
    """permissions.get; `me` is v2's userPermission."""
    node = call.requested_file()
    if call.is_v2 and call.path_value("permissionId") == "me":
        return call.answer(resources_v2.user_permission(call.view, node))
    return call.answer(_shown(call, node, _find(call, node)), DEFAULT)


async def update(call: Call) -> Answer:
    """permissions.update: change role or expiration, or transfer ownership."""
    node = call.requested_file()
    found = _find(call, node)
    # Not a higher one that is inherited, with its role and expiration.
    found = dict(node.permissions.get(found["id"], found))
    body = _read_body(call, await call.json())
    role = body.get("role", found["role"])
    if role != "owner" or not _accepts(call, found):
        _require_sharing_role(call, node)
    if role not in access.RANKS:
        raise bad_request("The permission role field is invalid.")
    _check_role(call, node, {**found, "role": role})
    if role == "owner" and found["role"] != "owner":
        return _transfer(call, node, found)
    new = {**found, "role": role, **_expiration(call, body, found["type"])}
    new |= _pending(call, node, body, new)
    if call.parameters.flag("removeExpiration"):
        new = {key: new[key] for key in new if key not in {"expirationTime", "expires"}}
    changed = {**node.permissions, found["id"]: new}
    _require_direct(node, found)
    node = node.with_(permissions=changed)
    call.database.save(node)
    return call.answer(_shown(call, node, changed[found["id"]]), DEFAULT)


async def delete(call: Call) -> Answer:
    """permissions.delete; every account may delete its own."""
    node = call.requested_file()
    found = _find(call, node)
    if found["id"] == person_id(call.caller.email):
        call.require_role(node, access.READER)
    else:
        _require_sharing_role(call, node)
    if found["role"] == "owner":
        raise forbidden("insufficientFilePermissions", "The owner cannot be removed.")
    _require_direct(node, found)
    kept = {key: value for key, value in node.permissions.items() if key != found["id"]}
    call.database.save(node.with_(permissions=kept))
    return Answer(204)
