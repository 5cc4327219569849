"""Permanent deletion: files.delete and files.emptyTrash."""

from ..errors import no_permission
from ..protocol.api_versions import check_precondition
from ..protocol.calls import Answer, Call
from ..state import access
from ..state.database import Database
from ..state.model import Node
from .files import requested_file


async def delete(call: Call) -> Answer:
    """files.delete: delete permanently; with a folder, also the owner's files below it."""
    node = requested_file(call)
    delete_node(call, node)
    return Answer(204)


def delete_node(call: Call, node: Node) -> None:
    """Delete a file permanently; raise a 403 unless the caller is its owner or drive organizer."""
    check_precondition(call, node)
    needed = access.ORGANIZER if node.drive else access.OWNER
    access.require(call.database, call.caller, node, needed)
    if not node.parent:
        raise no_permission()
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


async def empty_trash(call: Call) -> Answer:
    """files.emptyTrash: permanently delete the caller's trashed files."""
    database = call.database
    drive = call.parameters.text("driveId") or ""
    if drive:
        access.find(database, call.caller, drive)
    for node in [one for one in database.nodes.values() if one.trashed and one.drive == drive]:
        if node.id not in database.nodes or (not drive and node.owner != call.caller.email):
            continue
        delete_node(call, node)
    return Answer(204)
