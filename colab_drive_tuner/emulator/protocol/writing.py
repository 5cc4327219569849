"""Fields of a file that a request body may set, and Drive's limits on them.

The limits of properties are those of "Add custom file properties": key and value together at most
124 bytes of UTF-8, at most 100 properties a file, 30 public ones and 30 private ones per app.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ..errors import forbidden, invalid, no_conversion, not_writable
from ..state.model import FOLDER, GOOGLE, Node
from .surface import discovery_document

CREATE_ONLY = {"id", "parents", "createdTime", "shortcutDetails"}
STORED = {
    "folderColorRgb",
    "writersCanShare",
    "copyRequiresWriterPermission",
    "contentRestrictions",
    "inheritedPermissionsDisabled",
    "downloadRestrictions",
    "linkShareMetadata",
}
WRITABLE = STORED | CREATE_ONLY | {
    "name", "mimeType", "description", "starred", "trashed", "properties", "appProperties",
    "modifiedTime", "viewedByMeTime", "originalFilename", "contentHints", "kind",
    "viewersCanCopyContent",
}  # fmt: skip


_MIME_TYPE = re.compile(r"[!-~](?:[ -~]{0,253}[!-~])?")


def check_mime_type(text: str) -> str:
    """The type, or nothing; 400 for one that the Content-Type of a download could not hold."""
    if text and not _MIME_TYPE.fullmatch(text):
        raise invalid("file.mimeType", "Invalid MIME type provided for the uploaded content.")
    return text


def check_body(body: dict[str, Any], *, creating: bool) -> dict[str, Any]:
    """The body; 403 `fieldNotWritable` where it sets what only the server sets.

    Names that v3 does not know at all are ignored, as the service does: v2's `title` sent to v3
    makes a file called "Untitled".
    """
    known = discovery_document("v3")["schemas"]["File"]["properties"]
    refused = [name for name in body if name in known and name not in WRITABLE]
    if not creating:
        refused += [name for name in ("id", "createdTime") if name in body]
        if "parents" in body:
            raise forbidden(
                "fieldNotWritable",
                "The parents field is not directly writable in update requests. "
                "Use the addParents and removeParents parameters instead.",
            )
    if refused:
        raise not_writable()
    check_mime_type(body.get("mimeType") or "")
    return body


# A date alone, and a time without an offset, are taken too; ISO 8601's other forms are not.
_TIME = re.compile(r"\d{4}-\d\d-\d\d([Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)?)?", re.ASCII)


EARLIEST = int(datetime(1, 1, 1, tzinfo=UTC).timestamp()) * 1000
LATEST = int(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()) * 1000 + 999


def parse_time(text: str, location: str) -> int:
    """Milliseconds of an RFC 3339 time; without an offset it is UTC."""
    try:
        moment = datetime.fromisoformat(text.upper())
    except ValueError:
        raise invalid(location) from None
    if not _TIME.fullmatch(text):
        raise invalid(location)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    ms = round(moment.timestamp() * 1000)
    if not EARLIEST <= ms <= LATEST:  # its offset moves it out of the years that can be shown
        raise invalid(location)
    return ms


def merged_properties(
    old: Mapping[str, str], new: Mapping[str, Any] | None, *, private: bool
) -> dict[str, str]:
    """The properties after setting `new`: null clears one; 403 beyond the limits."""
    result = dict(old)
    for key, value in (new or {}).items():
        if value is None:
            result.pop(key, None)
            continue
        if len(key.encode()) + len(value.encode()) > 124:
            raise forbidden(
                "propertyLengthLimitExceeded" if not private else "appPropertyLengthLimitExceeded",
                "The combined length of key and value of a property must not exceed 124 bytes.",
            )
        result[key] = value
    if len(result) > 30:
        raise forbidden(
            "publicPropertyLimitExceeded" if not private else "privatePropertyLimitExceeded",
            "A file may have at most 30 properties of this visibility.",
        )
    return result


def changes(
    node: Node, body: Mapping[str, Any], email: str, client: str, now: int
) -> dict[str, Any]:
    """The new values of the file's attributes for what the body sets."""
    found = _plain(node, body)
    found |= _properties(node, body, client)
    found |= _personal(node, body, email)
    if "trashed" in body:
        trashed = bool(body["trashed"])
        found |= {"trashed": trashed, "trashed_at": now if trashed else 0}
        found["trashed_by"] = email if trashed else ""
    if body.get("modifiedTime"):
        found["modified"] = parse_time(body["modifiedTime"], "file.modifiedTime")
    elif set(body) - {"starred", "viewedByMeTime", "trashed", "kind"}:
        found["modified"] = now
    if "modified" in found:
        found["modified_by"] = email
        found["modified_by_users"] = {**node.modified_by_users, email: found["modified"]}
    return found


def _plain(node: Node, body: Mapping[str, Any]) -> dict[str, Any]:
    """Name, type, description, and what is stored as it came."""
    found: dict[str, Any] = {}
    if body.get("name") is not None:
        found["name"] = body["name"]
    if body.get("mimeType"):
        found["mime_type"] = _new_type(node, body["mimeType"])
    if "description" in body:
        found["description"] = body["description"] or ""
    if body.get("originalFilename"):
        found["original_name"] = body["originalFilename"]
    stored = {name: body[name] for name in STORED if name in body}
    if "viewersCanCopyContent" in body:
        stored["copyRequiresWriterPermission"] = not body["viewersCanCopyContent"]
    indexable = (body.get("contentHints") or {}).get("indexableText")
    if indexable:
        stored["indexableText"] = str(indexable)
    if stored:
        found["extra"] = {**node.extra, **stored}
    return found


def _personal(node: Node, body: Mapping[str, Any], email: str) -> dict[str, Any]:
    """What each account has for itself: star and time of viewing."""
    found: dict[str, Any] = {}
    if "starred" in body:
        others = tuple(one for one in node.starred if one != email)
        found["starred"] = (*others, email) if body["starred"] else others
    if body.get("viewedByMeTime"):
        seen = parse_time(body["viewedByMeTime"], "file.viewedByMeTime")
        found["viewed"] = {**node.viewed, email: seen}
    return found


def _properties(node: Node, body: Mapping[str, Any], client: str) -> dict[str, Any]:
    """Public properties, and the client's private ones; at most 100 in all."""
    found: dict[str, Any] = {}
    if "properties" in body:
        found["properties"] = merged_properties(node.properties, body["properties"], private=False)
    if "appProperties" in body:
        mine = merged_properties(
            node.app_properties.get(client, {}), body["appProperties"], private=True
        )
        found["app_properties"] = {**node.app_properties, client: mine}
    private = found.get("app_properties", node.app_properties)
    public = found.get("properties", node.properties)
    if sum(map(len, private.values())) + len(public) > 100:
        raise forbidden("propertyLimitExceeded", "A file may have at most 100 properties.")
    return found


def _new_type(node: Node, wanted: str) -> str:
    """A type that this file may take; a folder stays a folder and nothing becomes one."""
    if wanted != node.mime_type and FOLDER in {wanted, node.mime_type}:
        raise invalid("file.mimeType", "The MIME type of a folder cannot be changed.")
    if wanted != node.mime_type and wanted.startswith(GOOGLE) and node.head is not None:
        raise no_conversion("drive.files.update")
    return wanted
