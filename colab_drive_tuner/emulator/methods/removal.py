"""Permanent deletion: files.delete and files.emptyTrash."""

from ..api.api_versions import check_precondition
from ..api.calls import Answer, Call
from ..errors import no_permission
from ..state import access
from ..state.database import Database
from ..state.model import Node


async def delete(call: Call) -> Answer:
    """files.delete: delete permanently; with a folder, also the owner's files below it."""
    node = call.requested_file()
    delete_node(call, node)
    return Answer(204)


def delete_node(call: Call, node: Node) -> None:
    """Delete a file permanently; raise a 403 unless the caller is its owner or drive organizer."""
    check_precondition(call, node)
    needed = access.ORGANIZER if node.drive else access.OWNER
    call.require_role(node, needed)
    if not node.parent:
        raise no_permission(node.id)
    with call.database.transaction():
        remove_tree(call.database, node, node.owner)


def remove_tree(database: Database, node: Node, owner: str) -> None:
    """Delete a file and the same owner's files below it; move others' files to their root."""
    for child_id in list(database.children.get(node.id, ())):
        child = database.nodes[child_id]
        if node.drive or child.owner == owner:
            remove_tree(database, child, owner)
        else:
            database.put(child.with_(parent=database.accounts[child.owner].root))
    database.remove(node)


TRASH_MS = 30 * 24 * 3600 * 1000
"""Drive deletes what was trashed 30 days ago ("Trash or delete files and folders")."""


def delete_expired_trash(database: Database) -> None:
    """Delete permanently what has been in the trash too long; called when the clock is set."""
    oldest = database.clock.ms() - TRASH_MS
    with database.transaction():
        for node in list(database.nodes.values()):
            if node.trashed and node.trashed_at <= oldest and node.id in database.nodes:
                remove_tree(database, node, node.owner)


async def empty_trash(call: Call) -> Answer:
    """files.emptyTrash: permanently delete the caller's trashed files."""
    database = call.database
    drive = call.parameters.text("driveId") or ""
    if drive:
        access.find_drive(database, call.caller, drive)
    for node in [one for one in database.nodes.values() if one.trashed and one.drive == drive]:
        if node.id not in database.nodes or (not drive and node.owner != call.caller.email):
            continue
        delete_node(call, node)
    return Answer(204)
