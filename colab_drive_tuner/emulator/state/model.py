"""Files, accounts and callers as immutable values.

A change replaces the value of a file, so that delayed listings can show the earlier one.
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
    """Return random characters as they appear in Drive's ids."""
    return secrets.token_urlsafe(length)[:length]


def root_id() -> str:
    """Return a new id of a root folder or shared drive, such as `0ABk...Uk9PVA`."""
    return "0A" + random_text(11) + "Uk9PVA"


def person_id(email: str) -> str:
    """Return a user's permission id: twenty digits, which never change."""
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
    """Whether the file itself is trashed; not set for files below a trashed folder."""
    trashed_at: int = 0
    trashed_by: str = ""
    starred: tuple[str, ...] = ()
    description: str = ""
    properties: Mapping[str, str] = field(default_factory=dict)
    app_properties: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Private properties, by the client that set them."""
    revisions: tuple[Mapping[str, Any], ...] = ()
    """Revisions, oldest first: id, blob, size, md5, sha1, sha256, mime, modified, name, keep, by"""
    permissions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Permissions on the file itself by id, without the owner's."""
    clients: tuple[str, ...] = ()
    """Clients that created or opened the file, for the scope drive.file."""
    original_name: str = ""
    viewed: Mapping[str, int] = field(default_factory=dict)
    shared_with: Mapping[str, int] = field(default_factory=dict)
    modified_by: str = ""
    modified_by_users: Mapping[str, int] = field(default_factory=dict)
    change: int = 0
    """The number of the file's latest change; `changed` is its time."""
    changed: int = 0
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Fields stored unchanged: folderColorRgb, writersCanShare, shortcutDetails, ..."""

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return self.mime_type == FOLDER

    @property
    def has_limited_access(self) -> bool:
        """Whether only owner, organizers and who has permissions of its own open the folder."""
        return self.is_folder and bool(self.extra.get("inheritedPermissionsDisabled"))

    @property
    def head(self) -> Mapping[str, Any] | None:
        """The current revision; None without content (folders, shortcuts, Google's formats)."""
        return self.revisions[-1] if self.revisions else None

    @property
    def size(self) -> int:
        """Size of the current content in bytes."""
        return int(self.revisions[-1]["size"]) if self.revisions else 0

    def to_json(self) -> str:
        """Serialize the file for the database."""
        return json.dumps({f.name: getattr(self, f.name) for f in fields(self)})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Deserialize a file written by `to_json`."""
        found = json.loads(text)
        for name in ("starred", "revisions", "clients"):
            found[name] = tuple(found[name])
        return cls(**found)

    def accounts(self) -> set[str]:
        """Return the accounts that own the file or are named in its permissions."""
        permissions = self.permissions.values()
        named = {str(p["emailAddress"]) for p in permissions if "emailAddress" in p}
        return named | {self.owner} if self.owner else named

    def with_(self, **changes: Any) -> "Node":
        """Return the changed file, with its next version number."""
        return replace(self, version=self.version + 1, **changes)


def display_name(email: str) -> str:
    """Return a person's name derived from the address."""
    return email.partition("@")[0].replace(".", " ").title()


def is_service_account(email: str) -> bool:
    """Whether the address is that of a service account."""
    return email.endswith(".gserviceaccount.com")


@dataclass(frozen=True)
class Account:
    """A Google account: its root folder and storage limit."""

    email: str
    root: str
    limit: int | None = 15 * 2**30
    """Storage limit in bytes; None: unlimited, 0: a service account."""

    @property
    def is_service(self) -> bool:
        """Whether it is a service account."""
        return is_service_account(self.email)

    @property
    def name(self) -> str:
        """A display name derived from the address."""
        return display_name(self.email)


@dataclass(frozen=True)
class Caller:
    """The caller: an account, the client (OAuth app) that it uses, and the granted scopes."""

    account: Account
    client: str = "emulator-client"
    scopes: frozenset[str] = frozenset({"drive"})

    @property
    def email(self) -> str:
        """The account's address."""
        return self.account.email

    @cached_property
    def sees_all(self) -> bool:
        """Whether the scopes allow reading all files of the account, not only the client's."""
        return bool(self.scopes & READ_ALL)

    @cached_property
    def writes_all(self) -> bool:
        """Whether the scopes allow changing files that the client did not create."""
        return bool(self.scopes & {"drive", "drive.metadata", "drive.scripts"})


READ_ALL = frozenset(
    {"drive", "drive.readonly", "drive.metadata", "drive.metadata.readonly", "drive.scripts"}
)
