"""Paging of long lists."""

import base64
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import urlencode

from ..api.calls import Answer, Call
from ..errors import invalid
from ..state.model import Node
from .fields import Selection, prune

Item = TypeVar("Item", Node, Mapping[str, Any])
SELECTING = ("q", "orderBy", "corpora", "corpus", "driveId", "spaces")
"""Parameters that must not change between pages."""


def page(call: Call, found: Sequence[Item]) -> tuple[Sequence[Item], str | None]:
    """Return the requested page and the token of the next one.

    The token names the last item shown, so that items created in between cause no duplicates.
    Without a page size in the call or the method's description, the page contains all items.
    """
    parts = [call.caller.email, call.path, *(call.parameters.text(one) or "" for one in SELECTING)]
    mark = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]
    start = _start(call, found, mark)
    v3 = not call.is_v2
    end = start + (call.parameters.number("pageSize" if v3 else "maxResults") or len(found))
    shown = found[start:end]
    if end >= len(found):
        return shown, None
    raw = json.dumps([_identity(shown[-1]), end, mark]).encode()
    return shown, "~!!" + base64.urlsafe_b64encode(raw).decode()


def answer_page(
    call: Call,
    kind: str,
    name: str,
    found: Sequence[Item],
    show: Callable[[Item], dict[str, Any]],
    default: Selection,
) -> Answer:
    """Answer with a page of resources under `name` (v2: `items`), with v3's `default` fields."""
    v3 = not call.is_v2
    shown, following = page(call, found)
    answer: dict[str, Any] = {"kind": kind, name if v3 else "items": list(map(show, shown))}
    if following:
        answer["nextPageToken"] = following
    fields = {"kind": {}, "nextPageToken": {}, name: default} if v3 else {}
    return Answer.json(prune(answer, call.selection(fields)))


def next_link(call: Call, token: str) -> str:
    """Return v2's URL of the next page."""
    kept = [(k, v) for k, v in call.query if k not in {"pageToken", "startChangeId"}]
    return f"{call.base}{call.path}?{urlencode([*kept, ('pageToken', token)])}"


def _identity(item: Node | Mapping[str, Any]) -> str:
    return item.id if isinstance(item, Node) else str(item["id"])


def _start(call: Call, found: Sequence[Item], mark: str) -> int:
    token = call.parameters.text("pageToken")
    if not token:
        return 0
    try:
        last, end, seen = json.loads(base64.urlsafe_b64decode(token[3:]))
    except (ValueError, TypeError, RecursionError):
        raise invalid("pageToken") from None
    if seen != mark or not token.startswith("~!!"):
        raise invalid("pageToken")
    if not isinstance(end, int) or end < 0:
        raise invalid("pageToken")
    for place, item in enumerate(found):
        if _identity(item) == last:
            return place + 1
    return end
