"""The Drive service without sockets: it turns requests into answers by calling API methods."""

import logging
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect

from .api import discovery
from .api.api_versions import check_conversion
from .api.calls import FORM_LIMIT, Answer, Call, Request, read_whole, stream_of
from .errors import ApiError, insufficient_scopes, not_emulated
from .faults import Faults, Rule, injected_error
from .handlers import HANDLERS
from .methods import uploads
from .queries.listing import ListLag
from .state.database import Database
from .state.log import RequestLog
from .state.model import Caller, is_service_account
from .state.tokens import Grant, Tokens


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
        self.list_lag = ListLag(self.database, self.faults)

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

    def injected_error(self, request: Request, struck: Iterable[Rule]) -> ApiError | None:
        """Return the error with which triggered faults answer the request, if any."""
        for rule in struck:
            if rule.do == "expire":
                self.tokens.expire(request.token() or "")  # a chunk of an upload may have none
        return injected_error(
            (rule for rule in struck if rule.do != "quota" or request.is_upload()),
            service=is_service_account(request.account),
        )

    async def answer_batched(self, request: Request) -> Answer:
        """Answer one call of a batch, with its faults."""
        self.identify(request)
        now = self.database.clock.now()
        struck = self.faults.triggered(now, request, batched=True)
        error = self.injected_error(request, struck)
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
            self.list_lag.note_changes()

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
            **{**vars(request), "query": query},
            database=self.database,
            caller=caller,
            match=match,
            parameters=discovery.Parameters(match.method, query),
            apply_list_lag=self.list_lag.apply,
        )

    async def _read_query(self, request: Request) -> None:
        """Read the query from the body of a long GET sent as a POST (X-HTTP-Method-Override)."""
        kind = request.headers.get("content-type", "")
        if request.verb == "GET" and kind.startswith("application/x-www-form-urlencoded"):
            raw = await read_whole(request.body, FORM_LIMIT)
            more = parse_qsl(raw.decode("utf-8", "replace"), keep_blank_values=True)
            request.query = request.query + more

    def _requested_session(self, request: Request) -> uploads.UploadSession | None:
        """Return the upload session that the request names; raise a 404 for an unknown one."""
        upload_id = dict(request.query).get("upload_id")
        if upload_id is None or "/upload/" not in request.path:
            return None
        return self.sessions.find(upload_id)

    async def _session(self, request: Request, session: uploads.UploadSession) -> Answer:
        if token := request.token():
            self.tokens.caller(token)
        account = self.database.account(session.email)
        caller = Caller(account, session.client, frozenset(session.scopes))
        match = discovery.match(session.verb, session.path)
        call = self._call(request, match, caller, session.query)
        return await self.sessions.receive(call, session)
