"""What changed since: changes.getStartPageToken and changes.list ("Retrieve changes").

A file is listed once, as it is now, at its latest change; one that is gone, or that the caller no
longer sees, is listed as removed.
"""

from collections.abc import Callable, Iterator
from typing import Any

from . import access, drives, resources
from .calls import Answer, Call
from .errors import invalid
from .fields import Selection, prune
from .model import Node
from .resources import rfc3339

DEFAULT: Selection = {
    "kind": {},
    "nextPageToken": {},
    "newStartPageToken": {},
    "changes": {
        **{name: {} for name in ("kind", "type", "changeType", "time", "removed", "fileId")},
        **{name: {} for name in ("driveId", "teamDriveId", "drive")},
        "file": resources.DEFAULT,
    },
}


async def start_token(call: Call) -> Answer:
    """changes.getStartPageToken: where a list of what changes from now on begins."""
    token = str(call.database.change + 1)
    return call.answer({"kind": "drive#startPageToken", "startPageToken": token})


async def list_changes(call: Call) -> Answer:
    """changes.list, oldest change first."""
    start = call.parameters.text("pageToken") or ""
    if not start.isdecimal() or not 1 <= int(start) <= call.database.change + 1:
        raise invalid("pageToken")
    found = sorted(_changes(call, int(start)), key=lambda one: one[0])
    shown = found[: call.parameters.number("pageSize")]
    answer: dict[str, Any] = {"kind": "drive#changeList"}
    if len(shown) < len(found):
        answer["nextPageToken"] = str(shown[-1][0] + 1)
    else:
        answer["newStartPageToken"] = str(call.database.change + 1)
    answer["changes"] = [one for _, one in shown]
    return Answer.json(prune(answer, call.selection(DEFAULT)))


def _changes(call: Call, start: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """The number and the Change resource of each change since `start`, in any order."""
    covers = _scope(call)
    above = access.Inheritance(call.database, call.caller.email, listed=True)
    seen: set[str] = set()
    for node in call.database.nodes.values():
        if not (node.parent or node.drive) or not access.in_reach(call.caller, node):
            continue
        if covers(node.drive, node.space, node.owner) and above.rank(node):
            seen.add(node.id)
            if node.change >= start:
                yield node.change, _change(call, node)
    if call.parameters.text("includeRemoved") == "false":
        return
    for gone in call.database.removals(call.caller.email):
        known = covers(gone["drive"], gone["space"], gone["owner"])
        if gone["change"] >= start and gone["id"] not in seen and known:
            change = {
                **_kinds("file"),
                "time": rfc3339(gone["time"]),
                "removed": True,
                "fileId": gone["id"],
            }
            yield gone["change"], change


def _scope(call: Call) -> Callable[[str, str, str], bool]:
    """Which files the list is about, by their shared drive, space and owner."""
    parameters = call.parameters
    spaces = {one.strip() for one in (parameters.text("spaces") or "drive").split(",")}
    drive = parameters.text("driveId") or parameters.text("teamDriveId")
    if drive:
        access.find(call.database, call.caller, drive)
    every = parameters.flag("includeItemsFromAllDrives", "includeTeamDriveItems")
    mine = parameters.flag("restrictToMyDrive")

    def covers(in_drive: str, space: str, owner: str) -> bool:
        if drive:
            return in_drive == drive
        if mine and owner != call.caller.email:
            return False
        return space in spaces and (every or not in_drive)

    return covers


def _kinds(what: str) -> dict[str, Any]:
    return {"kind": "drive#change", "changeType": what, "type": what}


def _change(call: Call, node: Node) -> dict[str, Any]:
    time = {"time": rfc3339(node.changed), "removed": False}
    if node.id == node.drive:
        shown = drives.shown(call.view, node)
        return {**_kinds("drive"), **time, "driveId": node.id, "drive": shown}
    return {
        **_kinds("file"),
        **time,
        "fileId": node.id,
        "file": resources.file(call.view, node, {}),
    }
