"""Search queries of Drive, and parsing of folder paths, ids and links."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from colab_drive_tuner.drive.file import checked_text
from colab_drive_tuner.errors import UsageError


def quoted(text: str) -> str:
    """Return a string literal for `q`; backslashes are escaped first, before new ones are added."""
    return "'" + checked_text(text).replace("\\", "\\\\").replace("'", "\\'") + "'"


def query(
    *,
    name: str | None = None,
    parent: str | None = None,
    mime_types: Iterable[str] | None = None,
    properties: Mapping[str, str] | None = None,
    trashed: bool | None = False,
) -> str:
    """Return a `q` for files that meet all given conditions.

    `trashed` selects files in the trash or outside of it; None selects both.
    """
    terms = []
    if parent is not None:
        terms.append(f"{quoted(parent)} in parents")
    if trashed is not None:
        terms.append("trashed = true" if trashed else "trashed = false")
    for key, value in (properties or {}).items():
        terms.append(f"properties has {{ key={quoted(key)} and value={quoted(value)} }}")
    if name is not None:
        terms.append(f"name = {quoted(name)}")
    if mime_types is not None:
        kinds = " or ".join(f"mimeType = {quoted(kind)}" for kind in mime_types)
        terms.append(f"({kinds})")
    return " and ".join(terms)


@dataclass(frozen=True)
class FolderId:
    """A folder's id; `certain` is False if the text could also be a folder's name."""

    id: str
    certain: bool


_ID = re.compile(r"[A-Za-z0-9_-]{10,}")
_FOLDER_PATH = re.compile(r"/folders/([A-Za-z0-9_-]{10,})")


def parse_folder(text: str) -> FolderId | tuple[str, ...]:
    """Parse `folder=`: return the id in a link, a possible id, or the components of a path.

    Links are those that the browser shows (`…/folders/ID`, `…/open?id=ID`, `…/my-drive`). A path is
    relative to My Drive, which it may name, or starts with Colab's mount point of it. Raises
    `UsageError` for anything else.
    """
    text = checked_text(text).strip()
    if "://" in text:
        return _parse_link(text)
    if text.startswith("drive.google.com/"):  # browsers omit the scheme
        return _parse_link(f"https://{text}")
    if re.fullmatch(r"[A-Za-z0-9_-]{25,}", text) and re.search(r"[0-9]", text):
        return FolderId(text, certain=False)
    parts = tuple(part for part in text.split("/") if part)
    if text.startswith("/content/drive/"):
        parts = parts[2:]
        if parts[:1] not in {("MyDrive",), ("My Drive",)}:
            raise UsageError(
                f"folder={text!r} is outside of My Drive: open the folder in the browser, and "
                "paste its address."
            )
        parts = ("My Drive", *parts[1:])
    if parts[:1] == ("My Drive",):
        parts = parts[1:]
    for part in parts:
        if part in {".", ".."} or any(ord(letter) < 32 or ord(letter) == 127 for letter in part):
            raise UsageError(
                f"folder={text!r} is not a path in My Drive: {part!r} cannot be a folder's name."
            )
    return parts


def _parse_link(link: str) -> FolderId | tuple[str, ...]:
    try:
        address = urlsplit(link)
        known = (address.hostname or "").endswith(".google.com")
    except ValueError:
        known = False
    if not known:
        raise UsageError(
            f"folder={link!r} is not a link to Google Drive; paste the address that the browser "
            "shows when the folder is open."
        )
    found = _FOLDER_PATH.search(address.path)
    if found:
        return FolderId(found[1], certain=True)
    given = parse_qs(address.query).get("id", [""])[0]
    if _ID.fullmatch(given):
        return FolderId(given, certain=True)
    if address.path.rstrip("/").endswith("/my-drive"):
        return ()
    raise UsageError(
        f"folder={link!r} names no folder; open the folder in Drive and paste its address."
    )
