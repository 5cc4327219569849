"""Access rules: inherited roles, and OAuth scopes.

They follow "Share files, folders & drives" and "Choose Google Drive API scopes": permissions of a
folder apply to everything below it; the scope drive.file covers only files that the client created.
"""

from collections.abc import Iterator, Mapping
from math import inf
from typing import Any

from ..errors import (
    drive_not_found,
    file_not_found,
    forbidden,
    insufficient_spaces,
    no_permission,
)
from .database import Database
from .model import FOLDER, Caller, Node, person_id

READER, COMMENTER, WRITER, FILE_ORGANIZER, ORGANIZER, OWNER = range(1, 7)
RANKS = {
    "reader": READER,
    "commenter": COMMENTER,
    "writer": WRITER,
    "fileOrganizer": FILE_ORGANIZER,
    "organizer": ORGANIZER,
    "owner": OWNER,
}


def lineage(database: Database, node: Node) -> Iterator[Node]:
    """Yield the file and its ancestor folders, from the inside out."""
    current: Node | None = node
    while current is not None:
        yield current
        current = database.nodes.get(current.parent)


def is_trashed(database: Database, node: Node) -> bool:
    """Whether the file or a folder above it is trashed."""
    return any(item.trashed for item in lineage(database, node))


def applies(permission: Mapping[str, Any], email: str) -> bool:
    """Whether a permission applies to this account, by address or by domain."""
    kind = permission["type"]
    if kind == "domain":
        return email.endswith("@" + permission["domain"])
    return kind in {"user", "group"} and permission["emailAddress"].lower() == email


def active_permissions(database: Database, node: Node) -> Iterator[Mapping[str, Any]]:
    """Yield the unexpired permissions set on the file itself."""
    for permission in node.permissions.values():
        if permission.get("expires", inf) > database.clock.ms():
            yield permission


def rank(database: Database, email: str, node: Node, *, listed: bool = False) -> int:
    """Return the rank of the account's highest role on the file; 0 for none.

    With `listed`, a permission for anyone does not count, and one for a domain only if it allows
    discovery: a link makes a file readable, but does not add it to listings.
    """
    return Inheritance(database, email, listed=listed).rank(node)


class Inheritance:
    """Cache of the roles and trash states that files inherit from their folders.

    Valid for one answer only: it does not notice changes.
    """

    def __init__(self, database: Database, email: str, *, listed: bool) -> None:
        self._database = database
        self._email = email
        self._listed = listed
        self._inherited_below: dict[str, tuple[int, bool]] = {"": (0, False)}

    def rank(self, node: Node) -> int:
        """Like the function `rank`."""
        if node.owner == self._email:
            return OWNER
        inherited = self._inherited(node.parent)[0]
        if node.has_limited_access and inherited < ORGANIZER:
            # Who has access to the folder above sees that the folder exists.
            inherited = min(inherited, READER)
        return max(self._direct_rank(node), inherited)

    def opens(self, folder: Node) -> bool:
        """Whether the account may see what is in the folder."""
        return self._inherited(folder.id)[0] > 0

    def is_trashed(self, node: Node) -> bool:
        """Like the function `is_trashed`."""
        return node.trashed or self._inherited(node.parent)[1]

    def _direct_rank(self, node: Node) -> int:
        """Return the account's highest role from permissions on the file itself."""
        best = 0
        for permission in active_permissions(self._database, node):
            kind = permission["type"]
            by_link = kind == "anyone" or not permission.get("allowFileDiscovery")
            if self._listed and kind in {"anyone", "domain"} and by_link:
                continue
            if kind == "anyone" or applies(permission, self._email):
                best = max(best, RANKS[permission["role"]])
        return best

    def _inherited(self, folder_id: str) -> tuple[int, bool]:
        """Return the role and trash state that a folder passes on to its files."""
        known = self._inherited_below.get(folder_id)
        if known is None:
            folder = self._database.nodes.get(folder_id)
            if folder is None:
                return (0, False)
            role, trashed = self._inherited(folder.parent)
            if folder.has_limited_access and role < ORGANIZER:
                role = 0
            # A folder's owner may edit others' files in it, but does not own them.
            owned = WRITER if folder.owner == self._email else 0
            known = (max(role, owned, self._direct_rank(folder)), trashed or folder.trashed)
            self._inherited_below[folder_id] = known
        return known


def may_limit(database: Database, email: str, node: Node) -> bool:
    """Whether the account may limit the access to a folder ("Set limited access on a folder")."""
    needed = ORGANIZER if node.drive else sharing_rank(database, node)
    return node.is_folder and bool(node.parent) and rank(database, email, node) >= needed


def in_scope(caller: Caller, node: Node) -> bool:
    """Whether the scopes cover the file, regardless of the account's role."""
    if node.space == "appDataFolder":
        return "drive.appdata" in caller.scopes and caller.client in node.clients
    if caller.sees_all:
        return True
    return "drive.file" in caller.scopes and caller.client in node.clients


def visible(database: Database, caller: Caller, node: Node) -> bool:
    """Whether the caller can get the file."""
    return in_scope(caller, node) and rank(database, caller.email, node) > 0


def find(database: Database, caller: Caller, file_id: str, *, all_drives: bool = True) -> Node:
    """Return the file with an id or alias; raise a 404 if the caller cannot see it.

    A client without `supportsAllDrives` gets a 404 for files in shared drives ("Implement shared
    drive support").
    """
    node = database.nodes.get(real_id(database, caller, file_id))
    if node is None or (node.drive and not all_drives) or not visible(database, caller, node):
        # The live service names no file where an alias or a query does.
        raise file_not_found("" if file_id == "root" else file_id)
    return node


def real_id(database: Database, caller: Caller, file_id: str) -> str:
    """Return the id of which `root` or `appDataFolder` is an alias; another id as it is."""
    if file_id == "root":
        return caller.account.root
    if file_id == "appDataFolder":
        return app_data_folder(database, caller).id
    return file_id


def find_drive(database: Database, caller: Caller, drive_id: str) -> Node:
    """Return the shared drive's root folder; raise a 404 unless the caller is a member."""
    node = database.nodes.get(drive_id)
    if node is None or node.id != node.drive or not visible(database, caller, node):
        raise drive_not_found(drive_id)
    return node


def app_data_folder(database: Database, caller: Caller) -> Node:
    """Return the client's hidden app data folder in this account; create it on first use."""
    if "drive.appdata" not in caller.scopes:
        raise insufficient_spaces()
    key = f"{caller.email} {caller.client}"
    known = database.document("appdata", key)
    if known is not None:
        return database.nodes[known]
    now = database.clock.ms()
    node = Node(
        id=database.new_id(caller.email),
        name="Application Data",
        mime_type=FOLDER,
        owner=caller.email,
        space="appDataFolder",
        created=now,
        modified=now,
        clients=(caller.client,),
    )
    with database.transaction():
        database.put(node)
        database.store("appdata", key, node.id)
    return node


def require_role(database: Database, caller: Caller, node: Node, needed: int) -> None:
    """Raise a 403 unless the account has this role and the client may write to the file."""
    if rank(database, caller.email, node) < needed:
        raise no_permission(node.id)
    if node.space == "drive" and not caller.writes_all and caller.client not in node.clients:
        raise forbidden(
            "appNotAuthorizedToFile",
            f"The user has not granted the app {caller.client} write access to the file {node.id}.",
        )


def sharing_rank(database: Database, node: Node) -> int:
    """Return the rank that may share the file ("Scenarios for sharing Drive resources")."""
    if not node.drive:
        return OWNER if node.extra.get("writersCanShare") is False else WRITER
    if node.id == node.drive:
        return ORGANIZER
    if not node.is_folder:
        return WRITER
    strict = drive_restrictions(database, node).get("sharingFoldersRequiresOrganizerPermission")
    return ORGANIZER if strict else FILE_ORGANIZER


def drive_restrictions(database: Database, node: Node) -> dict[str, Any]:
    """Return the restrictions that were set on the file's shared drive."""
    found: dict[str, Any] = shared_drive(database, node).extra.get("restrictions", {})
    return found


def shared_drive(database: Database, node: Node) -> Node:
    """Return the file's shared drive; the file itself if a list with lag shows it for longer."""
    return database.nodes.get(node.drive, node)


def effective_permissions(database: Database, node: Node) -> dict[str, dict[str, Any]]:
    """Return all permissions that apply to the file, by id, each with its origin.

    As seen live, the newest is first and the owner's last.
    """
    found: dict[str, dict[str, Any]] = {}
    if node.owner:
        identity = person_id(node.owner)
        found[identity] = {
            "id": identity,
            "type": "user",
            "role": "owner",
            "emailAddress": node.owner,
            "inherited": "",
        }
    limited: list[Node] = []
    for one in lineage(database, node):
        given = list(active_permissions(database, one))
        if one is not node and one.owner and one.owner != node.owner:
            identity = person_id(one.owner)
            given.append(
                {"id": identity, "type": "user", "role": "writer", "emailAddress": one.owner}
            )
        for permission in given:
            passed = _through(permission, limited, node)
            known = found.get(permission["id"])
            if passed and (known is None or RANKS[known["role"]] < RANKS[passed["role"]]):
                inherited = "" if one is node else one.id
                found[permission["id"]] = {**passed, "inherited": inherited}
        if one.has_limited_access:
            limited.append(one)
    return dict(reversed(found.items()))


def _through(
    permission: Mapping[str, Any], limited: list[Node], node: Node
) -> Mapping[str, Any] | None:
    """Return what of a permission passes through folders with limited access to the file."""
    if not limited or RANKS[permission["role"]] >= ORGANIZER:
        return permission
    return {**permission, "role": "reader", "view": "metadata"} if limited == [node] else None
