"""files.copy, and files.generateIds, whose ids make creates and copies safe to repeat."""

from typing import Any

from ..api.api_versions import answer, read_body, selection
from ..api.calls import Answer, Call
from ..errors import forbidden, invalid
from ..media.contents import copied
from ..state import access, restrictions
from ..state.model import SHORTCUT, Node
from .files import store


async def copy(call: Call) -> Answer:
    """files.copy."""
    wanted = selection(call)
    node = call.requested_file()
    body = read_body(call, await call.json())
    return answer(call, _copied(call, node, body), wanted)


def _copied(call: Call, node: Node, body: dict[str, Any]) -> Node:
    """Create a new file with the content of another."""
    database = call.database
    if node.is_folder or not restrictions.may_download(database, call.caller.email, node):
        raise forbidden("cannotCopyFile", "This file cannot be copied by the user.")
    given = {
        "name": f"Copy of {node.name}",
        "mimeType": node.mime_type,
        "description": node.description,
        "properties": dict(node.properties),
        **{name: value for name, value in body.items() if value is not None},
    }
    if "properties" in body:
        given["properties"] = {**node.properties, **(body["properties"] or {})}
    if node.app_properties.get(call.caller.client):
        mine = node.app_properties[call.caller.client]
        given["appProperties"] = {**mine, **(body.get("appProperties") or {})}
    if node.mime_type == SHORTCUT:
        given.setdefault("shortcutDetails", dict(node.extra["shortcutDetails"]))
    if "parents" not in given:
        parent = database.nodes.get(node.parent)
        writable = parent is not None and (
            access.visible(database, call.caller, parent) and call.rank(parent) >= access.WRITER
        )
        given["parents"] = [node.parent if writable else "root"]
    return store(call, given, None if node.head is None else copied(database, node.head))


async def generate_ids(call: Call) -> Answer:
    """files.generateIds: ids with which this user may create files and folders, or shortcuts."""
    space = call.parameters.text("space") or "drive"
    kind = call.parameters.text("type") or "files"
    if space not in {"drive", "appDataFolder"}:
        raise invalid("space")
    if kind not in {"files", "shortcuts"} or (kind == "shortcuts" and space != "drive"):
        raise invalid("type")
    # v2's name is maxResults.
    count = call.parameters.number("maxResults" if call.is_v2 else "count")
    ids = [call.database.new_id(call.caller.email, kind) for _ in range(count)]
    return call.answer({"kind": "drive#generatedIds", "space": space, "ids": ids})
