"""ASGI application of the emulator: it connects HTTP requests to the service and injects faults."""

import asyncio
import contextlib
import random
import re
import socket
import struct
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Collection, MutableMapping
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from ..api.calls import Answer, Request, Slice
from ..api.discovery import discovery_document
from ..dispatch import Service
from ..errors import ApiError
from ..faults import Rule
from ..state.log import public_query
from . import admin, batch, browser_origins, oauth, transport

_PIECE_BYTES = 256 * 1024
_MAX_DRAINED = 64 * 2**20
"""Bytes of an unread body that are read after an error, so that the client gets the answer."""


class ResetError(Exception):
    """Raised to reset the connection instead of answering."""


class Body:
    """A request's body, whose bytes are counted."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.size = 0
        self.done = False

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives; raise `ClientDisconnect` if the client disconnects."""
        while not self.done:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self.done = True
                raise ClientDisconnect
            chunk = message.get("body", b"")
            self.size += len(chunk)
            self.done = not message.get("more_body", False)
            if chunk:
                yield chunk

    async def drain(self) -> None:
        """Read and drop the rest of the body, up to a limit."""
        async for _ in self.chunks():
            if self.size > _MAX_DRAINED:
                return


class App:
    """The emulator as an ASGI application."""

    def __init__(
        self, service: Service, latency: float = 0.0, origins: Collection[str] = ()
    ) -> None:
        self.service = service
        self.latency = latency
        self.origins = frozenset(origins)
        """Origins of other sites whose pages may call the API."""
        self._late: set[asyncio.Task[None]] = set()
        self._closing = asyncio.Event()
        self._open: list[Scope] = []
        """The requests that are being served."""

    def release(self, seconds: float) -> None:
        """End the waits of faults, and all other requests soon, so that the server can stop."""
        self._closing.set()
        asyncio.get_running_loop().call_later(seconds, lambda: list(map(abort, self._open)))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request."""
        body = Body(receive)
        headers = {
            key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]
        }
        admin_path = scope["raw_path"].startswith(b"/_emulator")
        port = scope["server"][1]
        refused = browser_origins.refusal(headers, port, self.origins, admin=admin_path)
        if refused is not None:
            await body.drain()
            await self._send(send, Answer.refusal(refused))
            return
        chunks = body.chunks()
        if headers.get("content-encoding", "").lower() == "gzip":
            headers.pop("content-length", None)  # the length of the compressed body
            chunks = transport.gunzip(chunks)
        request = Request(
            verb=transport.effective_verb(scope["method"], headers),
            path=scope["raw_path"].decode("latin-1"),
            query=parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True),
            headers=headers,
            body=chunks,
            base=f"http://{headers.get('host', f'127.0.0.1:{port}')}",
        )
        if admin_path:
            answer = await admin.answer(self.service, request)
            await body.drain()
            await self._send(send, answer)
            return
        allowed = transport.preflight(request.verb, headers)
        if allowed is not None:
            await self._send(send, allowed)
            return
        await self._serve(scope, request, body, send)

    async def _serve(self, scope: Scope, request: Request, body: Body, send: Send) -> None:
        begun = time.perf_counter()
        service = self.service
        entry: dict[str, Any] = {
            "time": round(service.database.clock.now(), 6),
            "method": request.verb,
            "path": request.path,
            "query": public_query(request.query),
        }
        service.identify(request)
        struck: list[Rule] = []
        sent = status = 0
        stream = _transport(scope)

        async def sending(message: MutableMapping[str, Any]) -> None:
            nonlocal sent
            # The server drops what is sent after that: a large file would be read at once.
            if stream is not None and stream.is_closing():
                raise ClientDisconnect
            await send(message)
            sent += len(message.get("body", b""))

        self._open.append(scope)
        try:
            struck = service.faults.triggered(service.database.clock.now(), request)
            names = [name.decode("latin-1") for name, _ in scope["headers"]]
            found = transport.length_required(scope["method"], names)
            found = found or await self._answer(request, body, struck)
            answer = transport.encode(found, request.headers)
            status = answer.status
            await self._send(sending, answer, struck, head=request.verb == "HEAD")
        except (ResetError, ClientDisconnect):
            abort(scope)
            # Let the server notice the closed connection, or it warns about a missing answer.
            await asyncio.sleep(0)
        finally:
            self._open.remove(scope)
            service.log.add(
                entry
                | {
                    "status": status,
                    "bytes_in": body.size,
                    "bytes_out": sent,
                    "account": request.account,
                    "api": request.api,
                    "calls": request.calls,
                    "seconds": round(time.perf_counter() - begun, 6),
                    "faults": [rule.do for rule in struck],
                }
            )

    async def _answer(self, request: Request, body: Body, struck: list[Rule]) -> Answer:
        await self._wait(struck)
        await self._inject_before(request, body, struck)
        error = self.service.injected_error(request, struck)
        if error is not None:
            answer = Answer.refusal(error)
        else:
            answer = await self.process(request)
        await body.drain()
        if any(rule.do == "reset" and rule.when == "after" for rule in struck):
            raise ResetError
        return answer

    async def process(self, request: Request) -> Answer:
        """Answer a batch, a sign-in request, an API call, or a request for the API description."""
        path = request.path
        try:
            if path.startswith("/batch/drive/"):
                return await batch.answer(self.service, request)
            now = self.service.database.clock.now()
            if (found := await oauth.answer(self.service.tokens, request, now)) is not None:
                return found
            if (described := _DISCOVERY.fullmatch(path)) is not None:
                return _discovery(request, described["version"])
        except ApiError as error:
            return Answer.refusal(error)
        return await self.service.answer(request)

    async def _wait(self, struck: list[Rule]) -> None:
        wait = self.latency
        for rule in struck:
            if rule.do == "latency":
                jitter = rule.stream.uniform(0, rule.jitter)
                wait += rule.seconds + jitter
        if wait:
            await self._sleep(wait)

    async def _sleep(self, seconds: float) -> None:
        """Wait; reset the connection if the server stops before."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._closing.wait(), seconds)
            raise ResetError

    async def _inject_before(self, request: Request, body: Body, struck: list[Rule]) -> None:
        """Inject the faults that act before the service sees the request."""
        for rule in struck:
            if rule.do == "outage" and rule.status is None:
                raise ResetError
            if rule.do == "hang":
                await body.drain()
                await self._sleep(rule.seconds or 3600)
                raise ResetError
            if rule.do == "reset" and rule.when == "before":
                raise ResetError
            if rule.do == "reset" and rule.when == "during":
                await self._interrupt(request, body, rule)
            if rule.do == "late":
                await self._deliver_late(request, rule)

    async def _interrupt(self, request: Request, body: Body, rule: Rule) -> None:
        """Let the service read only part of the body, as if the connection broke there."""
        length = int(request.headers.get("content-length") or 0)
        limit = int(length * rule.fraction)

        async def part() -> AsyncIterator[bytes]:
            left = limit
            async for chunk in body.chunks():
                yield chunk[:left]
                left -= len(chunk)
                if left <= 0:
                    break
            raise ClientDisconnect

        request.body = part()
        if "upload_id" in dict(request.query):
            with contextlib.suppress(ClientDisconnect):
                await self.process(request)
        raise ResetError

    async def _deliver_late(self, request: Request, rule: Rule) -> None:
        """Read the whole request, reset the connection, and process the request later."""
        spool = tempfile.SpooledTemporaryFile(max_size=2**20)  # noqa: SIM115 outlives this call
        try:
            async for chunk in request.body:
                spool.write(chunk)
        except ApiError:  # not gzip: nothing to process
            spool.close()
            raise ResetError from None
        spool.seek(0)

        async def later() -> None:
            await asyncio.sleep(rule.seconds)

            async def chunks() -> AsyncIterator[bytes]:
                while chunk := spool.read(_PIECE_BYTES):
                    yield chunk

            request.body = chunks()
            await self.process(request)
            spool.close()

        task = asyncio.ensure_future(later())
        self._late.add(task)
        task.add_done_callback(self._late.discard)
        raise ResetError

    async def _send(
        self, send: Send, answer: Answer, struck: list[Rule] | None = None, *, head: bool = False
    ) -> None:
        """Send an answer, truncated or corrupted by fault rules."""
        body = answer.body
        length = body.length if isinstance(body, Slice) else len(body)
        source = body.path.open("rb") if isinstance(body, Slice) else None
        headers = {
            **answer.headers,
            "Date": formatdate(self.service.database.clock.now(), usegmt=True),
        }
        if answer.status not in {204, 304}:
            headers["Content-Length"] = str(length)
        pairs = [(k.encode("latin-1"), v.encode("latin-1")) for k, v in headers.items()]
        spoil: Callable[[bytes], bytes] = bytes  # unchanged
        end, reset = (0 if head else length), False
        for rule in struck or ():
            if rule.do == "truncate" or (rule.do == "reset" and rule.when == "answer"):
                end, reset = int(length * rule.fraction), True
            if rule.do == "corrupt":
                spoil = _spoiler(rule.stream)
        await send({"type": "http.response.start", "status": answer.status, "headers": pairs})
        sent = 0
        if isinstance(body, Slice) and source is not None:
            with source:
                source.seek(body.start)
                while sent < end and (piece := source.read(min(_PIECE_BYTES, end - sent))):
                    sent += len(piece)
                    message = {"type": "http.response.body", "body": spoil(piece)}
                    await send({**message, "more_body": sent < length})
        elif end:
            piece = spoil(body[:end]) if isinstance(body, bytes) else b""
            sent = len(piece)
            await send({"type": "http.response.body", "body": piece, "more_body": sent < length})
        if reset and sent < length:
            # Let the sent part arrive: a reset would discard it.
            await asyncio.sleep(0.05)
            raise ResetError
        if not sent:
            await send({"type": "http.response.body", "body": b""})


def _spoiler(source: random.Random) -> Callable[[bytes], bytes]:
    def spoil(piece: bytes) -> bytes:
        changed = bytearray(piece)
        for start in range(0, len(changed), 65536):
            at = source.randrange(start, min(start + 65536, len(changed)))
            changed[at] ^= source.randrange(1, 256)
        return bytes(changed)

    return spoil


def _transport(scope: Scope) -> Any:
    return scope.get("state", {}).get("transport")


def abort(scope: Scope) -> None:
    """Close the connection with a TCP reset, as a failing network does."""
    stream = _transport(scope)
    if stream is None:
        return
    connection = stream.get_extra_info("socket")
    if connection is not None:
        with contextlib.suppress(OSError):
            # No lingering: the kernel sends RST instead of FIN.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.abort()


_DISCOVERY = re.compile(r"/(discovery/v1/apis/drive/(?P<version>[^/]+)|(\$|%24)discovery)/rest")


def _discovery(request: Request, version: str | None) -> Answer:
    """Return Drive's discovery document with this emulator as its root URL."""
    version = version or dict(request.query).get("version", "v3")
    if version not in {"v2", "v3"}:
        raise ApiError(404, "notFound", "Not Found")
    root = f"{request.base}/"
    return Answer.json({**discovery_document(version), "rootUrl": root, "baseUrl": root})
