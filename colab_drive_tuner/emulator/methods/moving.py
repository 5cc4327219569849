"""Moving files with addParents and removeParents, also into and out of shared drives."""

from typing import Any

from ..errors import (
    ApiError,
    bad_request,
    forbidden,
    invalid,
    no_permission,
    not_for_app_data,
    parent_not_a_folder,
)
from ..protocol.calls import Call
from ..state import access
from ..state.database import Database
from ..state.model import Node

DEEPEST = 100


def move(call: Call, node: Node) -> dict[str, Any]:
    """Return the attributes that addParents and removeParents change; a file has one parent."""
    database, caller = call.database, call.caller
    add, remove = (
        [parent for parent in (call.parameters.text(name) or "").split(",") if parent]
        for name in ("addParents", "removeParents")
    )
    if call.new_parents is not None:
        add, remove = call.new_parents, [node.parent]
    if not add and not remove:
        return {}
    if any(access.real_id(database, caller, one) != node.parent for one in remove):
        raise invalid(
            "removeParents", "The specified parent to remove is not a parent of the file."
        )
    if not add:
        return to_root(call, node)
    if len(add) > 1:
        raise forbidden("cannotAddParent", "Increasing the number of parents is not allowed")
    parent = access.find(database, caller, add[0], all_drives=call.all_drives)
    if parent.id == node.parent:
        return {}
    if not parent.is_folder:
        raise parent_not_a_folder()
    if parent.space != node.space:
        raise not_for_app_data()
    access.require(database, caller, parent, access.WRITER)
    if any(one.id == node.id for one in access.lineage(database, parent)):
        raise bad_request("The specified parent would create a cycle.")
    check_depth(database, parent, _height(database, node))
    if not remove and node.drive:
        raise _one_parent()
    owner = "" if parent.drive else (node.owner or caller.email)
    return {"parent": parent.id, "drive": parent.drive, "owner": owner}


def to_root(call: Call, node: Node) -> dict[str, Any]:
    """Return the attributes that change when the only parent is removed: back to the root."""
    if node.drive:
        raise _one_parent()
    if not node.parent:
        raise no_permission()
    if node.space == "appDataFolder":
        raise not_for_app_data()
    return {"parent": call.database.account(node.owner).root}


def _one_parent() -> ApiError:
    return forbidden("teamDrivesParentLimit", "A shared drive item must have exactly one parent.")


def check_depth(database: Database, parent: Node, height: int = 0) -> None:
    """Raise a 403 if a file in this folder, `height` levels deep itself, would lie too deep."""
    if sum(1 for _ in access.lineage(database, parent)) + height > DEEPEST:
        raise forbidden(
            "teamDriveHierarchyTooDeep" if parent.drive else "myDriveHierarchyDepthLimitExceeded",
            f"A folder may be nested in at most {DEEPEST} others.",
        )


def _height(database: Database, folder: Node) -> int:
    """Return the number of levels below a folder."""
    height, level = 0, [folder.id]
    while level := [child for one in level for child in database.children.get(one, ())]:
        height += 1
    return height


def move_below(database: Database, folder: Node) -> None:
    """Move everything below a folder along with it, into or out of a shared drive."""
    for child in list(database.children.get(folder.id, ())):
        node = database.nodes[child]
        moved = node.with_(drive=folder.drive, owner=folder.owner)
        database.put(moved)
        move_below(database, moved)
