"""Paging of long lists."""

import base64
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar
from urllib.parse import urlencode

from ..api.calls import Answer, Call
from ..errors import invalid
from ..state.model import Node
from .fields import Selection, prune

Item = TypeVar("Item", Node, Mapping[str, Any])
SELECTING = ("q", "orderBy", "corpora", "corpus", "driveId", "spaces")
"""Parameters that must not change between pages."""


LINKED = frozenset({"ChildList", "CommentList", "CommentReplyList"})
"""Lists of v2 with a link to the next page, besides those of files and changes."""


class Cursor(Protocol):
    """An order of files in which a place stays the same whatever happens to the file there."""

    def place(self, node: Any, /) -> list[Any]:
        """Return the file's place."""

    def reached(self, node: Any, place: list[Any], /) -> bool:
        """Whether the file is at a place or after it."""


def page(
    call: Call, found: Sequence[Item], order: Cursor | None = None, size: int = 0
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
    order: Cursor | None = None,
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


def _start(call: Call, found: Sequence[Item], mark: str, order: Cursor | None) -> int:
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
