"""Files, accounts and callers as plain frozen values.

A file is replaced, never changed, so that a listing that lags can still show what it was before.
"""

import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, Self

FOLDER = "application/vnd.google-apps.folder"
SHORTCUT = "application/vnd.google-apps.shortcut"
GOOGLE = "application/vnd.google-apps."
OCTETS = "application/octet-stream"


def random_text(length: int) -> str:
    """Random characters as they appear in Drive's ids."""
    return secrets.token_urlsafe(length)[:length]


def root_id() -> str:
    """A fresh id of a root folder or shared drive, such as `0ABk...Uk9PVA`."""
    return "0A" + random_text(11) + "Uk9PVA"


def person_id(email: str) -> str:
    """The permission id of a user: twenty digits, the same for ever."""
    digest = hashlib.sha256(email.lower().encode()).digest()
    return f"{int.from_bytes(digest[:8], 'big') % 10**20:020d}"


@dataclass(frozen=True, slots=True)
class Node:
    """A file, a folder or a shortcut; times are milliseconds since 1970."""

    id: str
    name: str
    mime_type: str
    owner: str = ""
    """Email of the owner; empty in a shared drive."""
    parent: str = ""
    drive: str = ""
    """Id of the shared drive; empty in My Drive."""
    space: str = "drive"
    created: int = 0
    modified: int = 0
    version: int = 1
    trashed: bool = False
    """Trashed itself; a file below a trashed folder is trashed too without this."""
    trashed_at: int = 0
    trashed_by: str = ""
    starred: tuple[str, ...] = ()
    description: str = ""
    properties: Mapping[str, str] = field(default_factory=dict)
    app_properties: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """By the client that set them: they are private to it."""
    revisions: tuple[Mapping[str, Any], ...] = ()
    """Contents, oldest first: id, blob, size, md5, sha1, sha256, mime, modified, name, keep, by."""
    permissions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Given on this very file, by permission id; the owner's is not among them."""
    clients: tuple[str, ...] = ()
    """Clients that created or opened it: what the scope drive.file sees."""
    original_name: str = ""
    viewed: Mapping[str, int] = field(default_factory=dict)
    shared_with: Mapping[str, int] = field(default_factory=dict)
    modified_by: str = ""
    modified_by_users: Mapping[str, int] = field(default_factory=dict)
    change: int = 0
    """The number of its latest change, of all that the emulator ever saw; `changed` is when."""
    changed: int = 0
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Fields stored as they came: folderColorRgb, writersCanShare, shortcutDetails, ..."""

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return self.mime_type == FOLDER

    @property
    def head(self) -> Mapping[str, Any] | None:
        """The current content; None for what has none (folders, shortcuts, Google's formats)."""
        return self.revisions[-1] if self.revisions else None

    @property
    def size(self) -> int:
        """Bytes of the current content."""
        return int(self.revisions[-1]["size"]) if self.revisions else 0

    def to_json(self) -> str:
        """The file as text, for the database."""
        return json.dumps({f.name: getattr(self, f.name) for f in fields(self)})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The file that `to_json` wrote."""
        found = json.loads(text)
        for name in ("starred", "revisions", "clients"):
            found[name] = tuple(found[name])
        return cls(**found)

    def people(self) -> set[str]:
        """The accounts that own this very file, or to which it was shared by name."""
        named = {
            str(one["emailAddress"]) for one in self.permissions.values() if "emailAddress" in one
        }
        return named | {self.owner} if self.owner else named

    def with_(self, **changes: Any) -> "Node":
        """The same file one version later."""
        return replace(self, version=self.version + 1, **changes)


@dataclass(frozen=True)
class Account:
    """A Google account: its root folder and how much it may store."""

    email: str
    root: str
    limit: int | None = 15 * 2**30
    """Bytes; None is unlimited, 0 is a service account's."""

    @property
    def is_service(self) -> bool:
        """Whether it is a service account."""
        return self.email.endswith(".gserviceaccount.com")

    @property
    def name(self) -> str:
        """A display name made from the address."""
        return self.email.split("@")[0].replace(".", " ").title()


@dataclass(frozen=True)
class Caller:
    """Who calls: an account, through a client (an OAuth app), with the scopes it was granted."""

    account: Account
    client: str = "emulator-client"
    scopes: frozenset[str] = frozenset({"drive"})

    @property
    def email(self) -> str:
        """The account's address."""
        return self.account.email

    @cached_property
    def sees_all(self) -> bool:
        """Whether the scopes open every file of the account, or just those of the client."""
        return bool(self.scopes & READ_ALL)

    @cached_property
    def writes_all(self) -> bool:
        """Whether the scopes allow changing files that the client did not make."""
        return bool(self.scopes & {"drive", "drive.metadata", "drive.scripts"})


READ_ALL = frozenset(
    {"drive", "drive.readonly", "drive.metadata", "drive.metadata.readonly", "drive.scripts"}
)
