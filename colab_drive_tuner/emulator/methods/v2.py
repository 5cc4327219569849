"""Methods that only v2 has: touch, trash and untrash; single parents, children and properties."""

from functools import partial
from typing import Any

from ..api import resources_v2
from ..api.api_versions import answer, check_precondition, selection
from ..api.calls import Answer, Call
from ..errors import ApiError, file_not_found, invalid
from ..queries import query
from ..queries.listing import find_all
from ..queries.paging import Order, answer_page
from ..state import access
from ..state.model import Node, person_id
from .files import update_node
from .moving import to_root


async def touch(call: Call) -> Answer:
    """files.touch: set the modification time to now."""
    node = call.requested_file()
    check_precondition(call, node)
    call.require_role(node, access.WRITER)
    now = call.database.clock.ms()
    email = call.caller.email
    changed = node.with_(
        modified=now, modified_by=email, modified_by_users={**node.modified_by_users, email: now}
    )
    call.database.save(changed)
    return answer(call, changed, selection(call))


async def trash(call: Call) -> Answer:
    """files.trash."""
    return _set_trashed(call, trashed=True)


async def untrash(call: Call) -> Answer:
    """files.untrash."""
    return _set_trashed(call, trashed=False)


def _set_trashed(call: Call, *, trashed: bool) -> Answer:
    node = update_node(call, call.requested_file(), {"trashed": trashed})
    return answer(call, node, selection(call))


# Parents and children: two views of the same relation


async def list_parents(call: Call) -> Answer:
    """parents.list."""
    return call.answer({"kind": "drive#parentList", "items": _parents(call, call.requested_file())})


async def get_parent(call: Call) -> Answer:
    """parents.get."""
    wanted = call.path_value("parentId")
    for found in _parents(call, call.requested_file()):
        if wanted == found["id"] or (wanted == "root" and found["isRoot"]):
            return call.answer(found)
    raise file_not_found(wanted)


async def insert_parent(call: Call) -> Answer:
    """parents.insert: moves the file, since it has exactly one parent."""
    body = await call.json()
    node = _move_to_folder(call, call.requested_file(), body.get("id"))
    return call.answer(_parents(call, node)[0])


async def delete_parent(call: Call) -> Answer:
    """parents.delete: moves the file to its owner's root folder."""
    await get_parent(call)
    _move_to_root(call, call.requested_file())
    return Answer(204)


async def list_children(call: Call) -> Answer:
    """children.list: the ids of the files in a folder that match `q`."""
    folder = _folder(call)
    text = call.parameters.text("q") or ""
    query.parse(text, "v2")  # by itself: its parentheses must not end those around it
    within = f"'{folder.id}' in parents" + (f" and ({text})" if text.strip() else "")
    order = Order(call)
    found = find_all(call, within, order)
    show = partial(_child, call, folder)
    return answer_page(call, "drive#childList", "items", found, show, {}, order)


async def get_child(call: Call) -> Answer:
    """children.get."""
    folder, wanted = _folder(call), call.path_value("childId")
    node = call.find(wanted)
    if node.parent != folder.id:
        raise file_not_found(wanted)
    return call.answer(_child(call, folder, node))


async def insert_child(call: Call) -> Answer:
    """children.insert: moves a file into the folder."""
    body = await call.json()
    folder = _folder(call)
    node = call.find(str(body.get("id")))
    return call.answer(_child(call, folder, _move_to_folder(call, node, folder.id)))


async def delete_child(call: Call) -> Answer:
    """children.delete: moves the file to its owner's root folder."""
    await get_child(call)
    _move_to_root(call, call.find(call.path_value("childId")))
    return Answer(204)


def _parents(call: Call, node: Node) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = resources_v2.FIELDS["parents"](call.view, node)
    return found


def _folder(call: Call) -> Node:
    return call.find(call.path_value("folderId"))


def _move_to_folder(call: Call, node: Node, folder: Any) -> Node:
    if not isinstance(folder, str):
        raise invalid("parent.id")
    call.new_parents = [folder]
    return update_node(call, node, {})


def _move_to_root(call: Call, node: Node) -> None:
    call.require_role(node, access.WRITER)
    call.database.save(node.with_(**to_root(call, node)))


def _child(call: Call, folder: Node, node: Node) -> dict[str, Any]:
    return {
        "kind": "drive#childReference",
        "id": node.id,
        "selfLink": resources_v2.self_link(call.view, f"files/{folder.id}/children/{node.id}"),
        "childLink": resources_v2.self_link(call.view, f"files/{node.id}"),
    }


# Single properties


async def list_properties(call: Call) -> Answer:
    """properties.list."""
    items = resources_v2.properties(call.view, call.requested_file())
    return call.answer({"kind": "drive#propertyList", "items": items})


async def get_property(call: Call) -> Answer:
    """properties.get: of the requested visibility, by default private."""
    return call.answer(_property(call, call.requested_file(), call.path_value("propertyKey")))


async def insert_property(call: Call) -> Answer:
    """properties.insert: add or set a property."""
    body = await call.json()
    return _set_property(call, body.get("key"), body.get("value"), body.get("visibility"))


async def update_property(call: Call) -> Answer:
    """properties.update and properties.patch."""
    body = await call.json()
    _property(call, call.requested_file(), call.path_value("propertyKey"))
    return _set_property(call, call.path_value("propertyKey"), body.get("value"), None)


async def delete_property(call: Call) -> Answer:
    """properties.delete."""
    key = call.path_value("propertyKey")
    node = call.requested_file()
    field = _property_field(_property(call, node, key)["visibility"])
    update_node(call, node, {field: {key: None}})
    return Answer(204)


def _property_field(visibility: Any) -> str:
    return "properties" if str(visibility).upper() == "PUBLIC" else "appProperties"


def _property(call: Call, node: Node, key: str, visibility: Any = None) -> dict[str, Any]:
    visibility = visibility or call.parameters.text("visibility")
    for found in resources_v2.properties(call.view, node):
        field = _property_field(found["visibility"])
        if (found["key"], field) == (key, _property_field(visibility)):
            return found
    raise ApiError(404, "notFound", f"Property not found: key = {key}", location="propertyKey")


def _set_property(call: Call, key: Any, value: Any, visibility: Any) -> Answer:
    if not isinstance(key, str) or not key:
        raise invalid("property.key")
    visibility = visibility or call.parameters.text("visibility")
    values = {_property_field(visibility): {key: value if value is not None else ""}}
    node = update_node(call, call.requested_file(), values)
    return call.answer(_property(call, node, key, visibility))


async def permission_id(call: Call) -> Answer:
    """permissions.getIdForEmail."""
    return call.answer({"kind": "drive#permissionId", "id": person_id(call.path_value("email"))})
