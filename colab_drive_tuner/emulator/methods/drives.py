"""Shared drives: the creator is an organizer, and files in them have no owner.

They follow "Manage shared drives". A drive's id is the id of its root folder; its members are that
folder's permissions. The deprecated `teamdrives` are the same drives under older names.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from ..api.calls import Answer, Call
from ..api.capabilities import drive_capabilities
from ..api.fields import Selection
from ..api.resources import View, rfc3339
from ..errors import ApiError, bad_request, forbidden, invalid_parameter
from ..queries import query
from ..queries.paging import answer_page
from ..state import access, restrictions
from ..state.model import FOLDER, Node, person_id, root_id
from .removal import remove_tree

DEFAULT: Selection = {"kind": {}, "id": {}, "name": {}}
WRITABLE = ("colorRgb", "themeId", "backgroundImageFile")


def _resource(view: View, node: Node) -> dict[str, Any]:
    """Return a Drive resource: a shared drive as the caller sees it."""
    return {
        "kind": "drive#drive",
        "id": node.id,
        "name": node.name,
        "createdTime": rfc3339(node.created),
        "hidden": view.caller.email in node.extra.get("hidden", ()),
        "colorRgb": node.extra.get("colorRgb") or "#0f9d58",
        "restrictions": _restrictions(node.extra.get("restrictions", {})),
        "capabilities": drive_capabilities(view.database, view.caller, node),
    }


def _restrictions(found: Mapping[str, Any]) -> dict[str, Any]:
    downloads = restrictions.item_restriction(found)
    return {
        **{name: bool(found.get(name)) for name in RESTRICTIONS},
        restrictions.OLDER: downloads[restrictions.READERS],
        "downloadRestriction": downloads,
    }


RESTRICTIONS = (
    "adminManagedRestrictions",
    "domainUsersOnly",
    "driveMembersOnly",
    "sharingFoldersRequiresOrganizerPermission",
)
TEAM_NAMES = {
    "canChangeDriveBackground": "canChangeTeamDriveBackground",
    "canChangeDriveMembersOnlyRestriction": "canChangeTeamMembersOnlyRestriction",
    "canDeleteDrive": "canDeleteTeamDrive",
    "canRenameDrive": "canRenameTeamDrive",
    "canResetDriveRestrictions": "canResetTeamDriveRestrictions",
    "driveMembersOnly": "teamMembersOnly",
}


def _is_team(call: Call) -> bool:
    return ".teamdrives." in call.method.id


def shown(call: Call, node: Node) -> dict[str, Any]:
    """Return a Drive resource, or a TeamDrive resource for the older methods."""
    found = _resource(call.view, node)
    if call.is_v2:
        found["createdDate"] = found.pop("createdTime")
        del found["restrictions"]["downloadRestriction"]
        del found["capabilities"]["canChangeDownloadRestriction"]
    if not _is_team(call):
        return found
    found["kind"] = "drive#teamDrive"
    del found["hidden"]
    for part in ("capabilities", "restrictions"):
        found[part] = {TEAM_NAMES.get(name, name): value for name, value in found[part].items()}
    return found


def _find(call: Call) -> Node:
    drive_id = call.path_value("teamDriveId" if _is_team(call) else "driveId")
    return access.find_drive(call.database, call.caller, drive_id)


def _settings(body: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """Return the drive's settings with those in the body; restrictions change one by one."""
    names = {older: name for name, older in TEAM_NAMES.items()}
    given = {names.get(k, k): v for k, v in (body.get("restrictions") or {}).items()}
    known = before.get("restrictions", {})
    downloads = restrictions.changed_downloads(
        known, given.get(restrictions.OLDER), given.pop("downloadRestriction", None)
    )
    return {
        **before,
        **{name: body[name] for name in WRITABLE if name in body},
        "restrictions": known | given | downloads,
    }


async def create(call: Call) -> Answer:
    """drives.create: a requestId makes it safe to repeat; the repetition gets a 409."""
    request_id = call.parameters.text("requestId")
    body = await call.json()
    name = body.get("name")
    if not name:
        raise bad_request("The name of a shared drive is required.")
    database, email = call.database, call.caller.email
    key = f"{email} {request_id}"
    if database.document("drive-request", key) is not None:
        raise ApiError(409, "duplicate", "A shared drive was created with this requestId before.")
    now = database.clock.ms()
    identity = root_id()
    organizer = {"id": person_id(email), "type": "user", "role": "organizer", "emailAddress": email}
    node = Node(
        id=identity,
        name=name,
        mime_type=FOLDER,
        drive=identity,
        created=now,
        modified=now,
        permissions={organizer["id"]: organizer},
        clients=(call.caller.client,),
        extra=_settings(body, {}),
    )
    with database.transaction():
        database.put(node)
        database.store("drive-request", key, identity)
    return call.answer(shown(call, node), DEFAULT)


async def get(call: Call) -> Answer:
    """drives.get."""
    return call.answer(shown(call, _find(call)), DEFAULT)


def _term(call: Call, node: Node, term: query.Term) -> bool:
    members = len(node.permissions)
    organizers = sum(one["role"] == "organizer" for one in node.permissions.values())
    if term.field == "name":
        if term.operator == "contains":
            return query.has_prefixes(node.name, term.value)
        return query.compare(term.operator, node.name.lower(), term.value.lower())
    actual: dict[str, Any] = {
        "createdTime": node.created,
        "hidden": call.caller.email in node.extra.get("hidden", ()),
        "memberCount": members,
        "organizerCount": organizers,
        "orgUnitId": "",
    }
    return query.compare(term.operator, actual[term.field], term.value)


async def list_drives(call: Call) -> Answer:
    """drives.list: the caller's drives."""
    condition = query.parse(call.parameters.text("q") or "", "drives")
    test = query.matcher(condition, lambda node, term: _term(call, node, term))
    found = [
        node
        for node in call.apply_list_lag(call.database.nodes.values())
        if node.drive == node.id and access.visible(call.database, call.caller, node) and test(node)
    ]
    name = "teamDrive" if _is_team(call) else "drive"
    show = partial(shown, call)
    return answer_page(call, f"drive#{name}List", f"{name}s", found, show, DEFAULT)


async def update(call: Call) -> Answer:
    """drives.update."""
    node = _find(call)
    call.require_role(node, access.ORGANIZER)
    body = await call.json()
    if "colorRgb" in body and "themeId" in body:
        raise invalid_parameter("themeId", "colorRgb and themeId cannot be set together.")
    extra = _settings(body, node.extra)
    changed = node.with_(name=body.get("name") or node.name, extra=extra)
    call.database.save(changed)
    return call.answer(shown(call, changed), DEFAULT)


async def delete(call: Call) -> Answer:
    """drives.delete: for organizers, and only if the drive has no untrashed files.

    Every organizer is an administrator of the domain, who may delete the files as well.
    """
    node = _find(call)
    call.require_role(node, access.ORGANIZER)
    database = call.database
    below = [one for one in database.nodes.values() if one.drive == node.id and one is not node]
    flag = call.parameters.flag
    with_items = flag("allowItemDeletion") and flag("useDomainAdminAccess")
    if not with_items and any(not access.is_trashed(database, one) for one in below):
        raise forbidden(
            "teamDriveNotEmpty", "A shared drive with untrashed items cannot be deleted."
        )
    with database.transaction():
        remove_tree(database, node, node.owner)
    return Answer(204)


async def hide(call: Call) -> Answer:
    """drives.hide: hide from the caller's default view."""
    return _set_hidden(call, hidden=True)


async def unhide(call: Call) -> Answer:
    """drives.unhide."""
    return _set_hidden(call, hidden=False)


def _set_hidden(call: Call, *, hidden: bool) -> Answer:
    node = _find(call)
    others = [one for one in node.extra.get("hidden", ()) if one != call.caller.email]
    mine = [call.caller.email] if hidden else []
    changed = node.with_(extra={**node.extra, "hidden": others + mine})
    call.database.save(changed)
    return call.answer(shown(call, changed), DEFAULT)
