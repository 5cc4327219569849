"""Changes of files and shared drives since a point in time ("Retrieve changes").

A file is listed once, in its current state, at its latest change. A file that was deleted, that the
caller no longer sees, or that moved to or from a shared drive is listed as removed where it was.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from ..api import resources, resources_v2
from ..api.calls import Answer, Call
from ..api.fields import Selection, prune, within
from ..api.resources import rfc3339
from ..errors import ApiError, invalid
from ..queries.listing import requested_spaces
from ..queries.paging import next_link
from ..state import access
from ..state.model import Node
from . import drives

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
    """changes.getStartPageToken: the token for changes from now on."""
    _requested_drive(call)
    token = str(call.database.change + 1)
    return call.answer({"kind": "drive#startPageToken", "startPageToken": token})


async def list_changes(call: Call) -> Answer:
    """changes.list, oldest change first."""
    v3 = not call.is_v2
    found = sorted(_changes(call, _start(call)), key=lambda one: one.number)
    shown = found[: call.parameters.number("pageSize" if v3 else "maxResults")]
    answer: dict[str, Any] = {"kind": "drive#changeList"}
    if len(shown) < len(found):
        following = str(shown[-1].number + 1)
        answer["nextPageToken"] = following
        answer |= {} if v3 else {"nextLink": next_link(call, following)}
    else:
        answer["newStartPageToken"] = str(call.database.change + 1)
    if not v3:
        largest = str(call.database.change)
        answer |= {"largestChangeId": largest, "selfLink": f"{call.base}{call.path}"}
        answer["etag"] = f'"{largest}"'
    selection = call.selection(DEFAULT if v3 else {})
    name = "changes" if v3 else "items"
    below = within(selection, name)
    if below is not None:
        answer[name] = [_shown(call, one, below) for one in shown]
    return Answer.json(prune(answer, selection))


async def get(call: Call) -> Answer:
    """v2's changes.get: a change by its number, if it is the file's latest."""
    wanted = call.path_value("changeId")
    number = change_number(wanted)
    for one in _changes(call, number or 1):
        if one.number == number:
            return call.answer(_shown(call, one, call.selection({})))
    raise ApiError(404, "notFound", f"Change not found: {wanted}", location="changeId")


def _start(call: Call) -> int:
    """Return the number of the first change to list; v2 lists all by default."""
    token = call.parameters.text("pageToken") or ""
    if call.is_v2 and not token:
        token = call.parameters.text("startChangeId") or "1"
    number = change_number(token)
    if not 1 <= number <= call.database.change + 1:
        raise invalid("pageToken")
    return number


def change_number(text: str) -> int:
    """Parse a change number; return 0, which no change has, for other text."""
    return int(text) if re.fullmatch("[0-9]{1,18}", text) else 0


@dataclass(frozen=True)
class _Change:
    """One change: of an existing file or shared drive, or a removal."""

    number: int
    time: int
    id: str
    drive: str
    node: Node | None
    removed: bool = False


def _changes(call: Call, start: int) -> Iterator[_Change]:
    """Yield each change since `start`, in any order."""
    covers = _scope(call)
    above = access.Inheritance(call.database, call.caller.email, listed=True)
    seen: set[str] = set()
    for node in call.database.nodes.values():
        if not (node.parent or node.drive) or not access.in_scope(call.caller, node):
            continue
        if covers(node.drive, node.space, node.owner) and above.rank(node):
            seen.add(node.id)
            if node.change >= start:
                yield _Change(node.change, node.changed, node.id, node.drive, node)
    if call.parameters.denied("includeRemoved", "includeDeleted"):
        return
    left: dict[str, dict[str, Any]] = {}
    for gone in call.database.removals(call.caller.email):
        known = covers(gone["drive"], gone["space"], gone["owner"])
        if gone["change"] >= start and gone["id"] not in seen and known:
            left[gone["id"]] = max(gone, left.get(gone["id"], gone), key=itemgetter("change"))
    still = call.parameters.flag("includeCorpusRemovals")
    for gone in left.values():
        found = call.database.nodes.get(gone["id"]) if still else None
        seen_still = found and access.in_scope(call.caller, found) and above.rank(found)
        shown = found if seen_still else None
        number, time, drive = gone["change"], gone["time"], gone["drive"]
        yield _Change(number, time, gone["id"], drive, shown, removed=True)


def _requested_drive(call: Call) -> str:
    """Return the id of the requested shared drive, empty if there is none; raise a 404."""
    drive = call.parameters.text("driveId") or call.parameters.text("teamDriveId") or ""
    if drive:
        access.find_drive(call.database, call.caller, drive)
    return drive


def _scope(call: Call) -> Callable[[str, str, str], bool]:
    """Return a test for the list's files, by shared drive, space and owner."""
    parameters = call.parameters
    spaces = requested_spaces(call)
    drive = _requested_drive(call)
    every = parameters.flag("includeItemsFromAllDrives", "includeTeamDriveItems")
    mine = parameters.flag("restrictToMyDrive") or parameters.denied("includeSubscribed")

    def covers(in_drive: str, space: str, owner: str) -> bool:
        if drive:
            return in_drive == drive
        if mine and owner != call.caller.email:
            return False
        return space in spaces and (every or not in_drive)

    return covers


def _shown(call: Call, change: _Change, selection: Selection) -> dict[str, Any]:
    """Return a Change resource, with only the selected fields of its file."""
    v3, node = not call.is_v2, change.node
    is_drive = change.id == change.drive
    kind = "drive" if is_drive else "file"
    shown: dict[str, Any] = {"kind": "drive#change", "changeType": kind, "type": kind}
    if v3:
        shown |= {"time": rfc3339(change.time), "removed": change.removed}
    else:
        link = resources_v2.self_link(call.view, f"changes/{change.number}")
        shown |= {"id": str(change.number), "selfLink": link, "deleted": change.removed}
        shown["modificationDate"] = rfc3339(change.time)
    if is_drive:
        state = {} if node is None else {"drive": drives.shown(call, node)}
        return shown | {"driveId": change.id} | state
    shown["fileId"] = change.id
    below = within(selection, "file")
    if node is not None and below is not None:
        shown["file"] = call.resources.file(call.view, node, below)
    return shown
