"""The methods that only v2 has: touch, trash, untrash."""

from . import access
from .calls import Answer, Call
from .dialects import answer, selection
from .files import the_file, update_node


async def touch(call: Call) -> Answer:
    """files.touch: the file was modified now."""
    node = the_file(call)
    access.require(call.database, call.caller, node, access.WRITER)
    now = call.database.clock.ms()
    email = call.caller.email
    changed = node.with_(
        modified=now, modified_by=email, modified_by_users={**node.modified_by_users, email: now}
    )
    with call.database.transaction():
        call.database.put(changed)
    return answer(call, changed, selection(call))


async def trash(call: Call) -> Answer:
    """files.trash."""
    return answer(
        call, update_node(call, the_file(call), {"trashed": True}, None, None), selection(call)
    )


async def untrash(call: Call) -> Answer:
    """files.untrash."""
    return answer(
        call, update_node(call, the_file(call), {"trashed": False}, None, None), selection(call)
    )
