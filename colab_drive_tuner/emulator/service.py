"""The Drive service without sockets: it turns requests into answers by calling API methods."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect

from .errors import ApiError, insufficient_scopes, not_emulated
from .faults import Faults, Rule, refusal
from .media import uploads
from .methods import (
    about,
    changes,
    comments,
    copying,
    drives,
    files,
    permissions,
    removal,
    revisions,
    v2,
)
from .protocol import discovery
from .protocol.api_versions import check_conversion
from .protocol.calls import FORM_LIMIT, Answer, Call, read_whole, stream_of
from .queries import listing
from .state.database import Database
from .state.log import RequestLog, public_query
from .state.model import Caller, Node, is_service_account
from .state.tokens import Grant, Tokens

Handler = Callable[[Call], Awaitable[Answer]]

_SHARED: dict[str, Handler] = {
    "files.get": files.get,
    "files.list": listing.list_files,
    "files.update": files.update,
    "files.copy": copying.copy,
    "files.delete": removal.delete,
    "files.emptyTrash": removal.empty_trash,
    "files.generateIds": copying.generate_ids,
    "permissions.list": permissions.list_permissions,
    "permissions.get": permissions.get,
    "permissions.update": permissions.update,
    "permissions.delete": permissions.delete,
    "comments.list": comments.list_entries,
    "comments.get": comments.get,
    "comments.update": comments.update,
    "comments.delete": comments.delete,
    "replies.list": comments.list_entries,
    "replies.get": comments.get,
    "replies.update": comments.update,
    "replies.delete": comments.delete,
    "files.export": revisions.export,
    "revisions.list": revisions.list_revisions,
    "revisions.get": revisions.get,
    "revisions.update": revisions.update,
    "revisions.delete": revisions.delete,
    "changes.getStartPageToken": changes.start_token,
    "changes.list": changes.list_changes,
    "teamdrives.get": drives.get,
    "teamdrives.list": drives.list_drives,
    "teamdrives.update": drives.update,
    "teamdrives.delete": drives.delete,
    "drives.get": drives.get,
    "drives.list": drives.list_drives,
    "drives.update": drives.update,
    "drives.delete": drives.delete,
    "drives.hide": drives.hide,
    "drives.unhide": drives.unhide,
}
_V3: dict[str, Handler] = _SHARED | {
    "about.get": about.get,
    "files.create": files.create,
    "permissions.create": permissions.create,
    "comments.create": comments.create,
    "replies.create": comments.create,
    "teamdrives.create": drives.create,
    "drives.create": drives.create,
}
_V2: dict[str, Handler] = _SHARED | {
    "about.get": about.get_v2,
    "files.insert": files.create,
    "files.patch": files.update,
    "files.touch": v2.touch,
    "files.trash": v2.trash,
    "files.untrash": v2.untrash,
    "permissions.insert": permissions.create,
    "permissions.patch": permissions.update,
    "comments.insert": comments.create,
    "comments.patch": comments.update,
    "replies.insert": comments.create,
    "replies.patch": comments.update,
    "changes.get": changes.get,
    "teamdrives.insert": drives.create,
    "drives.insert": drives.create,
    "parents.list": v2.list_parents,
    "parents.get": v2.get_parent,
    "parents.insert": v2.insert_parent,
    "parents.delete": v2.delete_parent,
    "children.list": v2.list_children,
    "children.get": v2.get_child,
    "children.insert": v2.insert_child,
    "children.delete": v2.delete_child,
    "properties.list": v2.list_properties,
    "properties.get": v2.get_property,
    "properties.insert": v2.insert_property,
    "properties.update": v2.update_property,
    "properties.patch": v2.update_property,
    "properties.delete": v2.delete_property,
    "revisions.patch": revisions.update,
    "permissions.getIdForEmail": v2.permission_id,
}
HANDLERS: dict[str, Handler] = {f"v3 drive.{name}": handler for name, handler in _V3.items()}
HANDLERS |= {f"v2 drive.{name}": handler for name, handler in _V2.items()}


@dataclass
class Request:
    """An HTTP request, and what was determined about it for the log."""

    verb: str
    path: str
    """The path as sent, with percent-encoding."""
    query: list[tuple[str, str]]
    headers: dict[str, str]
    body: AsyncIterator[bytes]
    base: str
    calls: int = 1
    """Number of API calls in the request; a batch has several."""
    account: str = ""
    api: str = ""

    def token(self) -> str | None:
        """Return the bearer token, from the header or from the query."""
        kind, _, value = self.headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            return value.strip()
        named = dict(self.query)
        return named.get("access_token") or named.get("oauth_token")

    def is_upload(self) -> bool:
        """Whether the request uploads content or creates a file."""
        return self.verb in {"POST", "PUT"} and (
            "/upload/" in self.path or self.path.endswith(("/files", "/copy"))
        )


class Service:
    """One emulated Drive, without its sockets."""

    def __init__(self, folder: Path, tokens: dict[str, Grant], seed: int = 0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.database = Database(folder)
        self.tokens = Tokens(self.database)
        for token, grant in tokens.items():
            self.tokens.allow(token, grant)
            self.tokens.allow_refresh(token, grant)  # so that a client with this token can renew it
        self.log = RequestLog(folder / "requests.jsonl")
        self.faults = Faults(seed)
        self.sessions = uploads.Sessions(self.database)
        self._lagging: dict[str, tuple[float, Node | None]] = {}

    def close(self) -> None:
        """Close the files."""
        self.sessions.close()
        self.database.close()
        self.log.close()

    def identify(self, request: Request) -> None:
        """Determine caller and API method as far as possible; refuse nothing."""
        with suppress(ApiError):
            request.account = self.tokens.caller(request.token()).email
        request.api = ""
        with suppress(ApiError):
            session = self._requested_session(request)
            if session is None:
                request.api = discovery.match(request.verb, request.path).method.id
            else:
                request.account = session.email
                request.api = discovery.match(session.verb, session.path).method.id

    def refusal(self, request: Request, struck: Iterable[Rule]) -> ApiError | None:
        """Return the error with which triggered faults answer the request, if any."""
        for rule in struck:
            if rule.do == "expire":
                self.tokens.expire(request.token())
        return refusal(
            (rule for rule in struck if rule.do != "quota" or request.is_upload()),
            service=is_service_account(request.account),
        )

    async def answer_batched(self, request: Request) -> Answer:
        """Answer one call of a batch, with its faults."""
        self.identify(request)
        now, query = self.database.clock.now(), public_query(request.query)
        struck = self.faults.triggered(
            now, request.verb, request.path, query, request.api, request.account, batched=True
        )
        error = self.refusal(request, struck)
        return await self.answer(request) if error is None else Answer.refusal(error)

    async def answer(self, request: Request) -> Answer:
        """Answer a request; errors become error responses."""
        try:
            return await self._answer(request)
        except ApiError as error:
            return Answer.refusal(error)
        except ClientDisconnect:
            raise
        except Exception:  # a bug here must not end the server
            logging.getLogger(__name__).exception("%s %s", request.verb, request.path)
            return Answer.refusal(ApiError(500, "internalError", "Internal Error"))
        finally:
            self._note_changes()

    async def _answer(self, request: Request) -> Answer:
        await self._read_query(request)
        session = self._requested_session(request)
        if session is not None:
            return await self._session(request, session)
        match = discovery.match(request.verb, request.path)
        # Unknown tokens are refused before any other check.
        caller = self.tokens.caller(request.token())
        if not caller.scopes & match.method.scopes:
            raise insufficient_scopes()
        call = self._call(request, match, caller, request.query)
        call.selection({})  # unknown fields are refused before the method runs
        handler = HANDLERS.get(f"{match.method.version} {match.method.id}")
        if handler is None:
            raise not_emulated(match.method.id)
        check_conversion(call)
        if match.upload:
            return await uploads.upload(call)
        # The body is read first: from then on the method never awaits, so that
        # its reads and writes are atomic with respect to other calls.
        call.body = stream_of(await call.read())
        return await handler(call)

    def _call(
        self,
        request: Request,
        match: discovery.Match,
        caller: Caller,
        query: list[tuple[str, str]],
    ) -> Call:
        return Call(
            verb=request.verb,
            path=request.path,
            query=query,
            headers=request.headers,
            body=request.body,
            base=request.base,
            database=self.database,
            caller=caller,
            match=match,
            parameters=discovery.Parameters(match.method, query),
            apply_list_lag=self.apply_list_lag,
        )

    async def _read_query(self, request: Request) -> None:
        """Read the query from the body of a long GET sent as a POST (X-HTTP-Method-Override)."""
        kind = request.headers.get("content-type", "")
        if request.verb == "GET" and kind.startswith("application/x-www-form-urlencoded"):
            raw = await read_whole(request.body, FORM_LIMIT)
            more = parse_qsl(raw.decode("utf-8", "replace"), keep_blank_values=True)
            request.query = request.query + more

    def _requested_session(self, request: Request) -> uploads.Session | None:
        """Return the upload session that the request names; raise a 404 for an unknown one."""
        upload_id = dict(request.query).get("upload_id")
        if upload_id is None or "/upload/" not in request.path:
            return None
        return self.sessions.find(upload_id)

    async def _session(self, request: Request, session: uploads.Session) -> Answer:
        if request.token() is not None:
            self.tokens.caller(request.token())
        account = self.database.account(session.email)
        caller = Caller(account, session.client, frozenset(session.scopes))
        match = discovery.match(session.verb, session.path)
        call = self._call(request, match, caller, [(k, v) for k, v in session.query])
        return await self.sessions.receive(call, session)

    # Delayed listings

    def _note_changes(self) -> None:
        changed, self.database.changed = self.database.changed, []
        now = self.database.clock.now()
        for before, after in changed:
            node = after or before
            lag = self.faults.lag(now)
            if lag is None or node is None:
                continue
            known = self._lagging.get(node.id)
            if known is None or known[0] <= now:
                self._lagging[node.id] = (now + lag, before)

    def apply_list_lag(self, nodes: Iterable[Node]) -> list[Node]:
        """Return the files as a listing shows them now."""
        if not self._lagging:
            return list(nodes)
        now = self.database.clock.now()
        self._lagging = {k: v for k, v in self._lagging.items() if v[0] > now}
        shown = [node for node in nodes if node.id not in self._lagging]
        return shown + [old for _, old in self._lagging.values() if old is not None]
