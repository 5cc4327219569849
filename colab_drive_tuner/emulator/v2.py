"""The methods that only v2 has: touch, trash, untrash, and the lists of parents and children."""

from typing import Any

from . import access, resources_v2
from .calls import Answer, Call
from .dialects import answer, check_precondition, selection
from .files import the_file, update_node
from .listing import find_all, page
from .resources import FIELDS


async def touch(call: Call) -> Answer:
    """files.touch: the file was modified now."""
    node = the_file(call)
    check_precondition(call, node)
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


async def list_parents(call: Call) -> Answer:
    """parents.list."""
    node = the_file(call)
    visible = FIELDS["parents"](call.view, node)
    items = [resources_v2.parent_reference(call.view, node)] if visible else []
    return call.answer({"kind": "drive#parentList", "items": items})


async def list_children(call: Call) -> Answer:
    """children.list: the ids of what lies in a folder and meets `q`."""
    folder = access.find(call.database, call.caller, call.path_value("folderId"))
    text = call.parameters.text("q") or ""
    within = f"'{folder.id}' in parents" + (f" and ({text})" if text.strip() else "")
    found = find_all(call, within, call.parameters.text("orderBy"), "v2")
    size = call.parameters.number("maxResults")
    shown, following = page(call, found, size, call.parameters.text("pageToken"))
    items = [
        {
            "kind": "drive#childReference",
            "id": node.id,
            "selfLink": resources_v2.self_link(call.view, f"files/{folder.id}/children/{node.id}"),
            "childLink": resources_v2.self_link(call.view, f"files/{node.id}"),
        }
        for node in shown
    ]
    answer: dict[str, Any] = {"kind": "drive#childList", "items": items}
    if following:
        answer["nextPageToken"] = following
    return call.answer(answer)
