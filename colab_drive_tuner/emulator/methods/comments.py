"""Comments on files, and replies to comments ("Manage comments and replies").

A file's comments are one document, oldest first, and each contains its replies. A deleted one stays
there without its content.
"""

import html
from collections.abc import Mapping
from functools import partial
from typing import Any

from ..api import resources_v2
from ..api.calls import Answer, Call
from ..api.resources import rfc3339
from ..api.writable_fields import parse_time
from ..errors import ApiError, forbidden, invalid
from ..queries.paging import answer_page
from ..state import access, restrictions
from ..state.model import Node, random_text

ACTIONS = {"resolve": True, "reopen": False}
"""Actions of a reply: whether its comment is resolved afterwards."""
V2_NAMES = {
    "createdTime": "createdDate",
    "modifiedTime": "modifiedDate",
    "action": "verb",
    "quotedFileContent": "context",
}


class _Discussion:
    """The comments of the requested file, or the replies to the requested comment."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.node = call.requested_file()
        self.comments: list[dict[str, Any]] = call.database.document("comments", self.node.id) or []
        self.comment: dict[str, Any] | None = None
        self.entries = self.comments
        if ".replies." in call.method.id:
            self.comment = self._find(self.comments, "comment")
            self.entries = self.comment["replies"]

    def requested(self) -> dict[str, Any]:
        """Return the comment or reply named in the path."""
        return self._find(self.entries, "comment" if self.comment is None else "reply")

    def _find(self, entries: list[dict[str, Any]], kind: str) -> dict[str, Any]:
        wanted = self.call.path_value(f"{kind}Id")
        for found in entries:
            if found["id"] == wanted and _is_shown(self.call, found):
                return found
        message = f"{kind.capitalize()} not found: {wanted}."
        raise ApiError(404, "notFound", message, location=f"{kind}Id")

    def save(self, changed: dict[str, Any]) -> None:
        """Store the comments after a change of one, or of a reply, at the current time."""
        now = self.call.database.clock.ms()
        for entry in (changed, self.comment):
            if entry is not None:
                entry["modified"] = now
        self.call.database.store("comments", self.node.id, self.comments)

    def answer(self, found: Mapping[str, Any]) -> Answer:
        """Answer with a comment or reply."""
        return self.call.answer(_shown(self.call, self.node, found))


async def list_entries(call: Call) -> Answer:
    """comments.list, newest first, and replies.list, oldest first."""
    discussion = _Discussion(call)
    since = "updatedMin" if call.is_v2 else "startModifiedTime"
    text = call.parameters.text(since)
    earliest = parse_time(text, since) if text else 0
    found = [
        one for one in discussion.entries if _is_shown(call, one) and one["modified"] >= earliest
    ]
    name, kind = "replies", "drive#commentReplyList" if call.is_v2 else "drive#replyList"
    if discussion.comment is None:
        name, kind = "comments", "drive#commentList"
        found.reverse()
    return answer_page(call, kind, name, found, partial(_shown, call, discussion.node), {})


async def get(call: Call) -> Answer:
    """comments.get and replies.get."""
    discussion = _Discussion(call)
    return discussion.answer(discussion.requested())


async def create(call: Call) -> Answer:
    """comments.create and replies.create; a reply can resolve or reopen its comment."""
    body = await call.json()
    discussion = _Discussion(call)
    call.require_role(discussion.node, access.COMMENTER)
    restrictions.require_unlocked(discussion.node)
    made = {"id": "AAAA" + random_text(7), "author": call.caller.email, "deleted": False}
    made["created"] = call.database.clock.ms()
    if discussion.comment is None:
        made["content"] = _content(body)
        quoted = body.get("quotedFileContent")
        if call.is_v2 and body.get("context") is not None:
            quoted = {"mimeType" if k == "type" else k: v for k, v in body["context"].items()}
        made |= {"anchor": body.get("anchor"), "quotedFileContent": quoted}
        made |= {"resolved": False, "replies": []}
    else:
        action = body.get("verb" if call.is_v2 else "action")
        if action is not None and action not in ACTIONS:
            raise invalid("action")
        made |= {"action": action, "content": _content(body, required=action is None)}
        if action is not None:
            discussion.comment["resolved"] = ACTIONS[action]
    discussion.entries.append(made)
    discussion.save(made)
    return discussion.answer(made)


async def update(call: Call) -> Answer:
    """comments.update and replies.update: change the content, which only the author may."""
    body = await call.json()
    discussion = _Discussion(call)
    call.require_role(discussion.node, access.COMMENTER)
    restrictions.require_unlocked(discussion.node)
    found = discussion.requested()
    if found["author"] != call.caller.email:
        raise _not_the_author()
    found["content"] = _content(body)
    discussion.save(found)
    return discussion.answer(found)


async def delete(call: Call) -> Answer:
    """comments.delete and replies.delete: by the author, or the file's owner."""
    discussion = _Discussion(call)
    call.require_role(discussion.node, access.COMMENTER)
    found = discussion.requested()
    needed = access.FILE_ORGANIZER if discussion.node.drive else access.OWNER
    rank = call.rank(discussion.node)
    if found["author"] != call.caller.email and rank < needed:
        raise _not_the_author()
    found |= {"deleted": True, "content": ""}
    discussion.save(found)
    return Answer(204)


def _not_the_author() -> ApiError:
    message = "The user is not the author of the comment or reply."
    return forbidden("insufficientFilePermissions", message)


def _content(body: Mapping[str, Any], *, required: bool = True) -> str:
    content: str = body.get("content") or ""
    if required and not content:
        raise ApiError(400, "required", "Required: content", location="content")
    return content


def _is_shown(call: Call, found: Mapping[str, Any]) -> bool:
    return not found["deleted"] or call.parameters.flag("includeDeleted")


def _shown(call: Call, node: Node, found: Mapping[str, Any]) -> dict[str, Any]:
    """Return a Comment or Reply resource."""
    is_comment, v2 = "replies" in found, call.is_v2
    author = call.resources.user(call.view, found["author"])
    shown = {
        "kind": "drive#comment" if is_comment else "drive#reply",
        "id": found["id"],
        "createdTime": rfc3339(found["created"]),
        "modifiedTime": rfc3339(found["modified"]),
        "author": {k: v for k, v in author.items() if k not in {"emailAddress", "permissionId"}},
        "deleted": found["deleted"],
        **{name: found.get(name) for name in ("action", "anchor", "quotedFileContent")},
    }
    if not found["deleted"]:
        text = html.escape(found["content"]).replace("\n", "<br>")
        shown |= {"content": found["content"], "htmlContent": text}
    if is_comment:
        replies = [one for one in found["replies"] if _is_shown(call, one)]
        shown |= {"resolved": found["resolved"]}
        shown |= {"replies": [_shown(call, node, one) for one in replies]}
    if v2:
        shown = {V2_NAMES.get(name, name): value for name, value in shown.items()}
        if shown["context"] is not None:
            quoted = shown["context"].items()
            shown["context"] = {"type" if k == "mimeType" else k: v for k, v in quoted}
        shown["commentId" if is_comment else "replyId"] = shown.pop("id")
        if is_comment:
            shown["status"] = "resolved" if shown.pop("resolved") else "open"
            shown |= {"fileId": node.id, "fileTitle": node.name}
            path = f"files/{node.id}/comments/{found['id']}"
            shown["selfLink"] = resources_v2.self_link(call.view, path)
        else:
            shown["kind"] = "drive#commentReply"
    return {name: value for name, value in shown.items() if value is not None}
