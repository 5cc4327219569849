"""Writable fields of a file, and Drive's limits on them.

Property limits follow "Add custom file properties": key and value have at most 124 bytes of UTF-8
together, and a file has at most 100 properties, 30 of them public and 30 private per app.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ..errors import forbidden, invalid, no_conversion, not_writable
from ..state import restrictions
from ..state.model import FOLDER, GOOGLE, Node
from .discovery import discovery_document

CREATE_ONLY = {"id", "parents", "createdTime", "shortcutDetails"}
STORED = {
    "folderColorRgb",
    "writersCanShare",
    "inheritedPermissionsDisabled",
    "linkShareMetadata",
}
WRITABLE = STORED | CREATE_ONLY | {
    "name", "mimeType", "description", "starred", "trashed", "properties", "appProperties",
    "modifiedTime", "viewedByMeTime", "originalFilename", "contentHints", "kind",
    "viewersCanCopyContent", "copyRequiresWriterPermission", "downloadRestrictions",
    "contentRestrictions",
}  # fmt: skip
_MIME_TYPE = re.compile(r"[!-~](?:[ -~]{0,253}[!-~])?")


def check_mime_type(text: str) -> str:
    """Return the type; raise a 400 if it would not be valid in a Content-Type header."""
    if text and not _MIME_TYPE.fullmatch(text):
        raise invalid("file.mimeType", "Invalid MIME type provided for the uploaded content.")
    return text


def check_body(body: dict[str, Any], *, creating: bool) -> dict[str, Any]:
    """Return the body; raise a 403 `fieldNotWritable` if it sets a read-only field.

    Unknown names are ignored, as the live service does: with v2's `title`, v3 creates a file called
    "Untitled".
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


# A date alone or a time without an offset is accepted; other ISO 8601 forms are not.
_TIME = re.compile(r"\d{4}-\d\d-\d\d([Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)?)?", re.ASCII)
EARLIEST = int(datetime(1, 1, 1, tzinfo=UTC).timestamp()) * 1000
LATEST = int(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()) * 1000 + 999


def parse_time(text: str, location: str) -> int:
    """Convert an RFC 3339 time to milliseconds since 1970; without an offset it is UTC."""
    try:
        moment = datetime.fromisoformat(text.upper())
    except ValueError:
        raise invalid(location) from None
    if not _TIME.fullmatch(text):
        raise invalid(location)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    ms = round(moment.timestamp() * 1000)
    if not EARLIEST <= ms <= LATEST:  # its offset moves it beyond the representable years
        raise invalid(location)
    return ms


def merged_properties(
    old: Mapping[str, str], new: Mapping[str, Any] | None, *, private: bool
) -> dict[str, str]:
    """Return the properties after setting `new`; null clears one. Raise a 403 beyond the limits."""
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


def updated_attributes(
    node: Node, body: Mapping[str, Any], email: str, client: str, now: int
) -> dict[str, Any]:
    """Return the file attributes that the body changes."""
    found = _plain(node, body)
    found |= _stored(node, body, email, now)
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
    """Return the name, type and description."""
    found: dict[str, Any] = {}
    if body.get("name") is not None:
        found["name"] = body["name"]
    if body.get("mimeType"):
        found["mime_type"] = _new_type(node, body["mimeType"])
    if "description" in body:
        found["description"] = body["description"] or ""
    if body.get("originalFilename"):
        found["original_name"] = body["originalFilename"]
    return found


def _stored(node: Node, body: Mapping[str, Any], email: str, now: int) -> dict[str, Any]:
    """Return the restrictions, and the fields that are stored unchanged."""
    stored = {name: body[name] for name in STORED if name in body}
    older = restrictions.older_field(body)
    newer = (body.get("downloadRestrictions") or {}).get("itemDownloadRestriction")
    stored |= restrictions.changed_downloads(node.extra, older, newer)
    if "contentRestrictions" in body:
        before = node.extra.get("contentRestrictions") or ()
        given = body["contentRestrictions"] or ()
        stored["contentRestrictions"] = restrictions.changed_content(before, given, email, now)
    indexable = (body.get("contentHints") or {}).get("indexableText")
    if indexable:
        stored["indexableText"] = str(indexable)
    merged = {**node.extra, **stored}
    # null clears a field
    return {"extra": {k: v for k, v in merged.items() if v is not None}} if stored else {}


def _personal(node: Node, body: Mapping[str, Any], email: str) -> dict[str, Any]:
    """Return the per-account values: star and viewing time."""
    found: dict[str, Any] = {}
    if "starred" in body:
        others = tuple(one for one in node.starred if one != email)
        found["starred"] = (*others, email) if body["starred"] else others
    if body.get("viewedByMeTime"):
        seen = parse_time(body["viewedByMeTime"], "file.viewedByMeTime")
        found["viewed"] = {**node.viewed, email: seen}
    return found


def _properties(node: Node, body: Mapping[str, Any], client: str) -> dict[str, Any]:
    """Return public properties and the client's private ones; at most 100 in total."""
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
    """Return the new type; a folder stays a folder, and no other file becomes one."""
    if wanted != node.mime_type and FOLDER in {wanted, node.mime_type}:
        raise invalid("file.mimeType", "The MIME type of a folder cannot be changed.")
    if wanted != node.mime_type and wanted.startswith(GOOGLE) and node.head is not None:
        raise no_conversion("drive.files.update")
    return wanted
