"""Docs Editors formats: the types that Drive imports to them and exports them to.

The emulator has no converter. It keeps the content that a document was imported from, and exports
that. Exports are those of "Export MIME types for Google Workspace documents"; imports are the
common ones of `importFormats`.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from ..errors import ApiError, forbidden, no_conversion
from ..state.model import FOLDER, GOOGLE, SHORTCUT, Node

_OPEN = "application/vnd.openxmlformats-officedocument."
_OASIS = "application/vnd.oasis.opendocument."
DOCUMENT, SPREADSHEET = GOOGLE + "document", GOOGLE + "spreadsheet"
PRESENTATION, DRAWING, SCRIPT = GOOGLE + "presentation", GOOGLE + "drawing", GOOGLE + "script"
_WORD = (_OPEN + "wordprocessingml.document", _OASIS + "text", "application/rtf")
_EXCEL = (_OPEN + "spreadsheetml.sheet", _OASIS + "spreadsheet")
_POWERPOINT = (_OPEN + "presentationml.presentation", _OASIS + "presentation")
_PAGE = ("text/plain", "text/html", "text/markdown")
_TABLE = ("text/csv", "text/tab-separated-values")
_PICTURE = ("image/jpeg", "image/png")
_PDF, _ZIP = "application/pdf", "application/zip"

EXPORTS: Mapping[str, tuple[str, ...]] = {
    DOCUMENT: (*_WORD, *_PAGE, _PDF, _ZIP, "application/epub+zip"),
    SPREADSHEET: (*_EXCEL, *_TABLE, _PDF, _ZIP),
    PRESENTATION: (*_POWERPOINT, _PDF, "text/plain"),
    DRAWING: (*_PICTURE, _PDF, "image/svg+xml"),
    SCRIPT: (SCRIPT + "+json",),
}
"""The export formats of each Docs Editors format."""

_IMPORTED = {
    DOCUMENT: (*_WORD, *_PAGE, *_PICTURE, _PDF, "image/gif", "text/rtf", "application/msword"),
    SPREADSHEET: (*_EXCEL, *_TABLE, "application/vnd.ms-excel"),
    PRESENTATION: (*_POWERPOINT, "application/vnd.ms-powerpoint"),
    DRAWING: ("application/x-msmetafile",),
    SCRIPT: (SCRIPT + "+json",),
}
IMPORTS: Mapping[str, list[str]] = {
    source: [target] for target, sources in _IMPORTED.items() for source in sources
}
"""The Docs Editors formats that a type is imported to."""

IMPORT_SIZES = {
    DOCUMENT: 10 * 2**20,
    SPREADSHEET: 100 * 2**20,
    PRESENTATION: 100 * 2**20,
    DRAWING: 2 * 2**20,
}
EXPORT_LIMIT = 10 * 2**20
""""The exported content is limited to 10 MB" (files.export)."""

_EDITORS = {
    DOCUMENT: "document",
    SPREADSHEET: "spreadsheets",
    PRESENTATION: "presentation",
    DRAWING: "drawings",
    GOOGLE + "form": "forms",
}


def editor_link(node: Node) -> str | None:
    """Return the address of the file's editor; None for a type without one."""
    editor = _EDITORS.get(node.mime_type)
    return editor and f"https://docs.google.com/{editor}/d/{node.id}/edit?usp=drivesdk"


def export_links(base: str, node: Node) -> dict[str, str] | None:
    """Return the addresses of the file's exports in this emulator; None if it has none."""
    where = f"{base}/drive/v3/files/{node.id}/export?mimeType="
    formats = EXPORTS.get(node.mime_type, ())
    return {one: where + quote(one, safe="") for one in formats} or None


def check_import(mime_type: str, source: str) -> None:
    """Raise a 400 if Drive does not make a file of this type from content of type `source`."""
    if mime_type not in IMPORTS.get(source, ()):
        raise ApiError(
            400,
            "conversionUnsupportedConversionPath",
            "Conversion of the uploaded content to the requested output type is not supported.",
        )


def exported(node: Node, wanted: str) -> Mapping[str, Any] | None:
    """Return the revision whose content is the export; None for an empty text.

    Raise Drive's error for what it does not export, and a 501 for what only Drive converts.
    """
    if not node.mime_type.startswith(GOOGLE) or node.mime_type in {FOLDER, SHORTCUT}:
        raise forbidden("fileNotExportable", "Export only supports Docs Editors files.")
    if wanted not in EXPORTS.get(node.mime_type, ()):
        message = "The requested conversion is not supported."
        raise ApiError(400, "badRequest", message, location="convertTo")
    found = node.revisions[-1] if node.revisions else None
    if found is not None and int(found["size"]) > EXPORT_LIMIT:
        raise forbidden("exportSizeLimitExceeded", "This file is too large to be exported.")
    if wanted != (found["source"] if found else wanted if wanted.startswith("text/") else ""):
        raise no_conversion("drive.files.export")
    return found
