"""Moving files with addParents and removeParents, also into and out of shared drives."""

from typing import Any

from ..api.calls import Call
from ..errors import (
    ApiError,
    bad_request,
    forbidden,
    invalid,
    no_permission,
    not_for_app_data,
    parent_not_a_folder,
    too_many_parents,
)
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
        raise too_many_parents()
    parent = call.find(add[0])
    if parent.id == node.parent:
        return {}
    if not parent.is_folder:
        raise parent_not_a_folder()
    if parent.space != node.space:
        raise not_for_app_data()
    call.require_role(parent, access.WRITER)
    _check_role(call, node, parent)
    if node.is_folder:
        _check_folder_move(database, node, parent)
    elif parent.drive and not node.drive:
        _check_owner(call, node, database.nodes[parent.drive])
    if not remove:
        _check_only_added(call, node, parent)
    owner = "" if parent.drive else (node.owner or caller.email)
    return {"parent": parent.id, "drive": parent.drive, "owner": owner}


def _check_role(call: Call, node: Node, parent: Node) -> None:
    """Raise a 403 unless the caller may move an item of a shared drive ("Roles and permissions").

    Moving it out "requires the `organizer` role on a direct or indirect parent", and within the
    drive that or `fileOrganizer`.
    """
    needed = access.FILE_ORGANIZER if parent.drive == node.drive else access.ORGANIZER
    above = call.database.nodes.get(node.parent, node)
    if node.drive and call.rank(above) < needed:
        raise no_permission(node.id)


def _check_only_added(call: Call, node: Node, parent: Node) -> None:
    """Raise a 403 unless the caller may move the file without naming the folder that it leaves."""
    if node.drive:
        raise _one_parent()
    if not parent.drive and node.owner != call.caller.email:
        raise too_many_parents()


def _check_folder_move(database: Database, folder: Node, parent: Node) -> None:
    """Raise a 400 or 403 if the folder cannot lie in this one."""
    if any(one.id == folder.id for one in access.lineage(database, parent)):
        raise bad_request("The specified parent would create a cycle.")
    if parent.drive and not folder.drive:
        raise forbidden(
            "teamDrivesFolderMoveInNotSupported",
            "Moving folders into shared drives is not supported.",
        )
    check_depth(database, parent, _height(database, folder))


def _check_owner(call: Call, node: Node, drive: Node) -> None:
    """Raise a 403 if a writer moves a file into a shared drive of which its owner is no member."""
    if node.owner != call.caller.email and not access.rank(call.database, node.owner, drive):
        raise forbidden(
            "fileOwnerNotMemberOfTeamDrive",
            "Cannot move a file into a shared drive as a writer when the owner of the file is not "
            "a member of that shared drive.",
        )


def to_root(call: Call, node: Node) -> dict[str, Any]:
    """Return the attributes that change when the only parent is removed: back to the root."""
    if node.drive:
        raise _one_parent()
    if not node.parent:
        raise no_permission(node.id)
    if node.space == "appDataFolder":
        raise not_for_app_data()
    return {"parent": call.database.account(node.owner).root}


def _one_parent() -> ApiError:
    return forbidden("teamDrivesParentLimit", "A shared drive item must have exactly one parent.")


def check_depth(database: Database, parent: Node, height: int = 0) -> None:
    """Raise a 403 if a folder in this one, with `height` levels below it, would lie too deep.

    "Folder number 100 can store files like any other Drive folder" ("Folder-depth limit").
    """
    if sum(1 for _ in access.lineage(database, parent)) + height <= DEEPEST:
        return
    if parent.drive:
        raise forbidden(
            "teamDriveHierarchyTooDeep",
            "The shared drive hierarchy depth will exceed the limit.",
        )
    raise forbidden(
        "myDriveHierarchyDepthLimitExceeded",
        f"Your My Drive can't contain more than {DEEPEST} levels of folders. For details, see "
        "https://developers.google.com/workspace/drive/api/guides/handle-errors"
        "#nested-folder-levels.",
    )


def _height(database: Database, folder: Node) -> int:
    """Return the number of levels of folders below a folder."""
    height, level = 0, [folder.id]
    while level := [
        child
        for one in level
        for child in database.children.get(one, ())
        if database.nodes[child].is_folder
    ]:
        height += 1
    return height


def move_below(database: Database, folder: Node) -> None:
    """Move everything below a folder along with it, into or out of a shared drive."""
    for child in list(database.children.get(folder.id, ())):
        node = database.nodes[child]
        moved = node.with_(drive=folder.drive, owner=folder.owner)
        database.put(moved)
        move_below(database, moved)
