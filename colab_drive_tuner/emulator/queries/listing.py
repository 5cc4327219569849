"""files.list: query, sort and page through files; the lag of lists."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from ..api.calls import Answer, Call
from ..api.fields import prune, within
from ..api.resources import DEFAULT
from ..errors import ApiError, file_not_found, insufficient_spaces, invalid
from ..faults import Faults
from ..state import access
from ..state.database import Database
from ..state.model import Node, person_id
from . import query
from .paging import Order, next_link, page
from .query import Condition, Term

DEFAULT_LIST = {"kind": {}, "incompleteSearch": {}, "nextPageToken": {}, "files": DEFAULT}
TEXT_LIMIT = 2**20
CORPORA = {"user", "domain", "drive", "allDrives", "default", "teamDrive", "allTeamDrives"}


class Search:
    """One search: candidate files and the test of their terms."""

    def __init__(self, call: Call, text: str) -> None:
        self.database = call.database
        self.caller = call.caller
        self.above = access.Inheritance(call.database, call.caller.email, listed=True)
        self.condition: Condition | None = query.parse(text, call.method.version)
        self.test = query.matcher(self.condition, self.term)
        for parent in query.compared_values(self.condition, "parents"):
            if parent not in {"root", "appDataFolder"}:
                folder = self.database.nodes.get(parent)
                # An inaccessible folder in a query is a 404, too.
                if folder is None or not access.rank(self.database, self.caller.email, folder):
                    raise file_not_found("")

    def candidates(self) -> Iterable[Node]:
        """Return candidate files from the smallest index of a required folder or name."""
        nodes = self.database.nodes
        required = query.required(self.condition, "parents")
        parents = [access.real_id(self.database, self.caller, one) for one in required]
        names = [one.lower() for one in query.required(self.condition, "name")]
        found = [self.database.children.get(one, {}) for one in parents]
        found += [self.database.names.get(one, {}) for one in names]
        return [nodes[one] for one in min(found, key=len)] if found else list(nodes.values())

    def term(self, node: Node, term: Term) -> bool:
        """Whether a file matches a single term."""
        field, operator, value = term.field, term.operator, term.value
        if field == "parents":
            return node.parent == access.real_id(self.database, self.caller, value)
        if field == "name":
            if operator == "contains":
                return query.has_prefixes(node.name, value)
            # The live service compares names case-insensitively (as rclone found).
            return query.compare(operator, node.name.lower(), value.lower())
        if field == "mimeType":
            if operator == "contains":
                return value.lower() in node.mime_type.lower()
            return query.compare(operator, node.mime_type, value)
        if field == "labels":
            return False  # the emulator has no labels, so no file matches
        if field in {"owners", "writers", "readers"}:
            return self._has_role(node, field, value)
        if field in {"properties", "appProperties"}:
            return self._has_property(node, field, value)
        if field == "fullText":
            return self._full_text(node, value)
        return query.compare(operator, self._value(node, field), value)

    def _value(self, node: Node, field: str) -> Any:
        if field == "trashed":
            return self.above.is_trashed(node)
        if field == "starred":
            return self.caller.email in node.starred
        if field == "sharedWithMe":
            return person_id(self.caller.email) in node.permissions
        if field == "visibility":
            return self._visibility(node)
        if field == "shortcutDetails.targetId":
            return (node.extra.get("shortcutDetails") or {}).get("targetId")
        if field == "viewedByMeTime":
            return node.viewed.get(self.caller.email, 0)
        return node.modified if field == "modifiedTime" else node.created

    def _visibility(self, node: Node) -> str:
        found = access.effective_permissions(self.database, node).values()
        for kind in ("anyone", "domain"):
            for one in found:
                if one["type"] == kind:
                    return f"{kind}CanFind" if one.get("allowFileDiscovery") else f"{kind}WithLink"
        return "limited"

    def _has_role(self, node: Node, field: str, who: str) -> bool:
        email = self.caller.email if who == "me" else who.lower()
        if field == "owners":
            return node.owner == email
        needed = access.WRITER if field == "writers" else access.READER
        return access.rank(self.database, email, node, listed=True) >= needed

    def _has_property(self, node: Node, field: str, wanted: dict[str, str]) -> bool:
        private = node.app_properties.get(self.caller.client, {})
        if field == "appProperties" or wanted.get("visibility") == "PRIVATE":
            return private.get(wanted["key"]) == wanted["value"]
        return node.properties.get(wanted["key"]) == wanted["value"]

    def _full_text(self, node: Node, wanted: str) -> bool:
        text = " ".join([node.name, node.description, node.extra.get("indexableText", "")])
        head = node.head
        if head is not None and head["size"] <= TEXT_LIMIT:
            if node.mime_type.startswith("text/") or "json" in node.mime_type:
                with suppress(FileNotFoundError):  # deleted, and still listed with list lag
                    raw = (self.database.blobs / head["blob"]).read_bytes()
                    text += " " + raw.decode("utf-8", "replace")
        known = query.words(text)
        if not query.words(wanted):
            return wanted.strip('" ') in text
        if wanted.startswith('"') and wanted.endswith('"') and len(wanted) > 1:
            return f" {' '.join(query.words(wanted))} " in f" {' '.join(known)} "
        return set(query.words(wanted)) <= set(known)


def find_all(call: Call, text: str, order: Order) -> list[Node]:
    """Return all files that match the call's query and corpora, in order."""
    search = Search(call, text)
    if order.keys[:-2] and query.compared_values(search.condition, "fullText"):
        message = (
            "Sorting is not supported for queries with fullText terms. "
            "Results are always in descending relevance order."
        )
        raise ApiError(400, "badRequest", message, location="orderBy")
    in_corpora = corpora(call)
    caller = call.caller
    found = [
        node
        for node in call.apply_list_lag(search.candidates())
        if node.parent and search.test(node) and in_corpora(node) and access.in_scope(caller, node)
    ]
    found = [node for node in found if search.above.rank(node)]
    order.sort(found)
    return found


def corpora(call: Call) -> Callable[[Node], bool]:
    """Return a test for the listed corpora, driveId and spaces ("Search for files")."""
    parameters = call.parameters
    wanted = parameters.text("corpora") or (parameters.text("corpus") or "user").lower()
    drive = parameters.text("driveId") or parameters.text("teamDriveId")
    with_drives = parameters.flag("includeItemsFromAllDrives", "includeTeamDriveItems")
    spaces = requested_spaces(call)
    if wanted not in CORPORA:
        raise invalid("corpora")
    if (wanted in {"drive", "teamDrive"}) != bool(drive):
        raise invalid(
            "corpora" if drive else "driveId",
            "The driveId parameter must be specified if and only if corpora is set to drive.",
        )
    if with_drives and not call.all_drives:
        raise ApiError(
            403,
            "teamDrivesNotSupported",
            "The supportsAllDrives parameter must be true with includeItemsFromAllDrives.",
        )
    if wanted in {"drive", "allDrives", "teamDrive", "allTeamDrives"} and not with_drives:
        raise ApiError(
            403,
            "teamDriveCorporaRequiresInclude",
            "The includeItemsFromAllDrives parameter must be true for this corpora.",
        )
    if drive:
        access.find_drive(call.database, call.caller, drive)
        return lambda node: node.drive == drive and node.space in spaces
    if with_drives:
        return lambda node: node.space in spaces
    return lambda node: not node.drive and node.space in spaces


def requested_spaces(call: Call) -> set[str]:
    """Return the listed spaces; raise a 400 or 403 for those that are unknown or not granted."""
    spaces = {one.strip() for one in (call.parameters.text("spaces") or "drive").split(",")}
    if spaces - {"drive", "appDataFolder", "photos"}:
        raise invalid("spaces")
    if "appDataFolder" in spaces and "drive.appdata" not in call.caller.scopes:
        raise insufficient_spaces()
    return spaces


async def list_files(call: Call) -> Answer:
    """files.list, in both versions."""
    v3 = not call.is_v2
    selection = call.selection(DEFAULT_LIST if v3 else {})
    order = Order(call)
    found = find_all(call, call.parameters.text("q") or "", order)
    shown, following = page(call, found, order)
    answer: dict[str, Any] = {"kind": "drive#fileList", "incompleteSearch": False}
    if not v3:
        answer["selfLink"] = f"{call.base}{call.path}"
        answer["etag"] = f'"{call.database.clock.ms()}"'
    if following:
        answer["nextPageToken"] = following
        if not v3:
            answer["nextLink"] = next_link(call, following)
    name = "files" if v3 else "items"
    below = within(selection, name) if selection else call.resources.DEFAULT
    if below is not None:
        show, view = call.resources.file, call.view
        # Computed with only the selected fields, so no pruning is needed.
        answer[name] = [show(view, node, below) for node in shown]
        selection = {**selection, name: {}} if selection else selection
    return Answer.json(prune(answer, selection))


class ListLag:
    """Files whose latest change is not listed yet, because of the fault `list_lag`."""

    def __init__(self, database: Database, faults: Faults) -> None:
        self._database, self._faults = database, faults
        self._lagging: dict[str, tuple[float, Node | None]] = {}
        """By id: when lists show the change, and the file as it is listed until then."""

    def note_changes(self) -> None:
        """Let the changes made since the last call appear in lists late, if a rule says so."""
        changed, self._database.changed = self._database.changed, []
        now = self._database.clock.now()
        for before, after in changed:
            node = after or before
            lag = self._faults.lag(now)
            if lag is None or node is None:
                continue
            known = self._lagging.get(node.id)
            if known is None or known[0] <= now:
                self._lagging[node.id] = (now + lag, before)

    def apply(self, nodes: Iterable[Node]) -> list[Node]:
        """Return the files as a listing shows them now."""
        if not self._lagging:
            return list(nodes)
        now = self._database.clock.now()
        self._lagging = {k: v for k, v in self._lagging.items() if v[0] > now}
        shown = [node for node in nodes if node.id not in self._lagging]
        return shown + [old for _, old in self._lagging.values() if old is not None]
