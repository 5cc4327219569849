"""Order and pages of lists."""

import base64
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import urlencode

from ..api.calls import Answer, Call
from ..api.fields import Selection, prune
from ..errors import invalid
from ..state.database import stored_bytes
from ..state.model import FOLDER, Caller, Node

Item = TypeVar("Item", Node, Mapping[str, Any])
SELECTING = ("q", "orderBy", "corpora", "corpus", "driveId", "spaces")
"""Parameters that must not change between pages."""


LINKED = frozenset({"ChildList", "CommentList", "CommentReplyList"})
"""Lists of v2 with a link to the next page, besides those of files and changes."""


SORT_KEYS: dict[str, Callable[[Caller, Node], Any]] = {
    "createdTime": lambda caller, node: node.created,
    "folder": lambda caller, node: node.mime_type != FOLDER,
    "id": lambda caller, node: node.id,
    "modifiedByMeTime": lambda caller, node: node.modified_by_users.get(caller.email, 0),
    "modifiedTime": lambda caller, node: node.modified,
    "name": lambda caller, node: node.name.lower(),
    "name_natural": lambda caller, node: _natural(node.name),
    "quotaBytesUsed": lambda caller, node: stored_bytes(node),
    "recency": lambda caller, node: max(node.modified, node.viewed.get(caller.email, 0)),
    "sharedWithMeTime": lambda caller, node: node.shared_with.get(caller.email, 0),
    "starred": lambda caller, node: caller.email not in node.starred,
    "viewedByMeTime": lambda caller, node: node.viewed.get(caller.email, 0),
}
V2_SORT_KEYS = {
    "createdDate": "createdTime",
    "modifiedByMeDate": "modifiedByMeTime",
    "modifiedDate": "modifiedTime",
    "title": "name",
    "title_natural": "name_natural",
    "sharedWithMeDate": "sharedWithMeTime",
    "lastViewedByMeDate": "viewedByMeTime",
}


def _natural(name: str) -> list[list[int | str]]:
    """Return a sort key by which digits count as numbers, however long they are."""
    parts = re.split("0*([0-9]+)", name.lower())
    return [[0, len(part), part] if at % 2 else [1, 0, part] for at, part in enumerate(parts)]


def parse_order(text: str | None, *, v2: bool) -> list[tuple[str, bool]]:
    """Return the sort keys as (key, descending); raise a 400 for an unknown key.

    The last ones are the default: newest first, then by id.
    """
    found: list[tuple[str, bool]] = []
    for part in (text or "").split(","):
        words = part.split()
        if not words and not (text or "").strip():
            continue
        key = words[0] if words else ""
        if v2:
            key = V2_SORT_KEYS.get(key, key if key not in V2_SORT_KEYS.values() else "")
        if key not in SORT_KEYS or key == "id" or words[1:] not in ([], ["asc"], ["desc"]):
            raise invalid("orderBy")
        found.append((key, words[1:] == ["desc"]))
    return [*found, ("modifiedTime", True), ("id", False)]


class Order:
    """The order of a list of files, which no two files share, so that a place in it is a cursor."""

    def __init__(self, call: Call) -> None:
        self._caller = call.caller
        self.keys = parse_order(call.parameters.text("orderBy"), v2=call.is_v2)

    def place(self, node: Any) -> list[Any]:
        """Return the file's values of the sort keys."""
        return [SORT_KEYS[key](self._caller, node) for key, _ in self.keys]

    def sort(self, found: list[Node]) -> None:
        """Sort the files; the sort is stable, so the last key is applied first."""
        for key, descending in reversed(self.keys):
            value = SORT_KEYS[key]
            found.sort(key=lambda node: value(self._caller, node), reverse=descending)

    def reached(self, node: Any, place: list[Any]) -> bool:
        """Whether the file is at a place, at which there need not be one any more, or after it."""
        for (_, descending), own, other in zip(self.keys, self.place(node), place, strict=True):
            if own != other:
                return bool(own < other) is descending
        return True


def page(
    call: Call, found: Sequence[Item], order: Order | None = None, size: int = 0
) -> tuple[Sequence[Item], str | None]:
    """Return the requested page and the token of the next one.

    The token names the next item, or its place in `order`. So no item is repeated or left out, even
    if some are deleted, changed or created between two pages. Without a page size in the call or
    the method's description, the page contains `size` items, by default all.
    """
    parts = [call.caller.email, call.path, *(call.parameters.text(one) or "" for one in SELECTING)]
    mark = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]
    start = _start(call, found, mark, order)
    v3 = not call.is_v2
    end = start + (call.parameters.number("pageSize" if v3 else "maxResults") or size or len(found))
    shown = found[start:end]
    if end >= len(found):
        return shown, None
    place = order.place(found[end]) if order else _identity(found[end])
    raw = json.dumps([place, end, mark]).encode()
    return shown, "~!!" + base64.urlsafe_b64encode(raw).decode()


def answer_page(
    call: Call,
    kind: str,
    name: str,
    found: Sequence[Item],
    show: Callable[[Item], dict[str, Any]],
    default: Selection,
    order: Order | None = None,
    size: int = 0,
) -> Answer:
    """Answer with a page of resources under `name` (v2: `items`), with v3's `default` fields."""
    v3 = not call.is_v2
    shown, following = page(call, found, order, size)
    answer: dict[str, Any] = {"kind": kind, name if v3 else "items": list(map(show, shown))}
    if following:
        answer["nextPageToken"] = following
        if not v3 and call.method.response in LINKED:
            answer["nextLink"] = next_link(call, following)
    fields = {"kind": {}, "nextPageToken": {}, name: default} if v3 else {}
    return Answer.json(prune(answer, call.selection(fields)))


def next_link(call: Call, token: str) -> str:
    """Return v2's URL of the next page."""
    kept = [(k, v) for k, v in call.query if k not in {"pageToken", "startChangeId"}]
    return f"{call.base}{call.path}?{urlencode([*kept, ('pageToken', token)])}"


def _identity(item: Node | Mapping[str, Any]) -> str:
    return item.id if isinstance(item, Node) else str(item["id"])


def _start(call: Call, found: Sequence[Item], mark: str, order: Order | None) -> int:
    token = call.parameters.text("pageToken")
    if not token:
        return 0
    try:
        place, end, seen = json.loads(base64.urlsafe_b64decode(token[3:]))
    except (ValueError, TypeError, RecursionError):
        raise invalid("pageToken") from None
    if seen != mark or not token.startswith("~!!"):
        raise invalid("pageToken")
    if not isinstance(end, int) or end < 0:
        raise invalid("pageToken")
    try:
        for at, item in enumerate(found):
            if order.reached(item, place) if order else _identity(item) == place:
                return at
    except (TypeError, ValueError):
        raise invalid("pageToken") from None
    return len(found) if order else end
