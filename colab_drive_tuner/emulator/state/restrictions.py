"""Restrictions of a file's content and of its download ("Protect file content").

Downloads are restricted for readers (and commenters), or for writers, too. The older field
copyRequiresWriterPermission is the restriction for readers. A shared drive's restriction applies to
all of its files.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import bad_request, forbidden, no_permission
from . import access
from .database import Database
from .model import Caller, Node

READERS, WRITERS = "restrictedForReaders", "restrictedForWriters"
OLDER = "copyRequiresWriterPermission"


def item_restriction(extra: Mapping[str, Any]) -> dict[str, bool]:
    """Return the download restriction that was set on a file or shared drive itself."""
    writers = bool(extra.get(WRITERS))
    return {READERS: writers or bool(extra.get(OLDER)), WRITERS: writers}


def older_field(body: Mapping[str, Any]) -> bool | None:
    """Return whether a body's older fields restrict downloads for readers; None without them."""
    if body.get("viewersCanCopyContent") is not None:
        return not body["viewersCanCopyContent"]
    return None if body.get(OLDER) is None else bool(body[OLDER])


def changed_downloads(
    extra: Mapping[str, Any], older: bool | None, given: Mapping[str, Any] | None
) -> dict[str, bool]:
    """Return the restriction to store, after a change by the older or the newer field.

    "Setting copyRequiresWriterPermission to false" ends the restriction for everybody, and one for
    writers "implies" one for readers.
    """
    if older is None and given is None:
        return {}
    found = item_restriction(extra)
    if older is not None:
        found = {READERS: older, WRITERS: older and found[WRITERS]}
    found |= {name: bool(value) for name, value in (given or {}).items() if name in found}
    return {OLDER: found[READERS] or found[WRITERS], WRITERS: found[WRITERS]}


def effective_restriction(database: Database, node: Node) -> dict[str, bool]:
    """Return the download restriction of a file with that of its shared drive."""
    found = item_restriction(node.extra)
    if node.drive:
        drives = item_restriction(access.drive_restrictions(database, node))
        found = {name: found[name] or drives[name] for name in found}
    return found


def may_download(database: Database, email: str, node: Node) -> bool:
    """Whether the account may download and copy the file."""
    rank = access.rank(database, email, node)
    found = effective_restriction(database, node)
    return rank > (access.WRITER if found[WRITERS] else access.COMMENTER if found[READERS] else 0)


def is_locked(node: Node) -> bool:
    """Whether the file's content is read-only."""
    return any(one.get("readOnly") for one in node.extra.get("contentRestrictions") or ())


def require_unlocked(node: Node) -> None:
    """Raise a 403 if title, content and comments must not change."""
    if is_locked(node):
        raise forbidden("fileContentRestricted", "The content of the file is read-only.")


def is_owners(given: Sequence[Mapping[str, Any]] | None) -> bool:
    """Whether only the owner may change one of these content restrictions."""
    return any(one.get("ownerRestricted") for one in given or ())


def owner_rank(node: Node) -> int:
    """Return the rank that may set what is the owner's to set: in shared drives organizers may."""
    return access.ORGANIZER if node.drive else access.OWNER


def check_change(database: Database, caller: Caller, node: Node, body: Mapping[str, Any]) -> None:
    """Raise a 403 for restrictions that only the owner may change."""
    older = older_field(body)
    if older not in {None, effective_restriction(database, node)[READERS]}:
        # capabilities.canChangeCopyRequiresWriterPermission
        needed = access.FILE_ORGANIZER if node.drive else access.OWNER
        access.require_role(database, caller, node, needed)
    if "downloadRestrictions" in body or (
        "contentRestrictions" in body
        and (
            is_owners(body["contentRestrictions"])
            or is_owners(node.extra.get("contentRestrictions"))
        )
    ):
        access.require_role(database, caller, node, owner_rank(node))
    if "inheritedPermissionsDisabled" in body:
        if not node.is_folder:
            raise bad_request("Limited access is not available for files.")
        if not access.may_limit(database, caller.email, node):
            raise no_permission(node.id)


def changed_content(
    before: Sequence[Mapping[str, Any]], given: Sequence[Mapping[str, Any]], email: str, now: int
) -> list[dict[str, Any]]:
    """Return the content restriction to store, at most one: a new one replaces the old."""
    found = dict(before[0]) if before and given else {}
    for one in given:
        if one.get("readOnly") is not None:
            # "Reason [...] is only mutable on requests that also set readOnly=true."
            found = {k: one[k] for k in ("readOnly", "reason") if one.get(k) is not None}
            found |= {"by": email, "time": now}
        if one.get("ownerRestricted") is not None:
            found["ownerRestricted"] = one["ownerRestricted"]
    return [found] if found.get("readOnly") else []
