"""The upload protocols: simple media, multipart, and resumable sessions.

After "Upload file data" of the Drive documentation. A session's state is on disk: an upload goes on
after the emulator was killed, from the bytes that had arrived.
"""

import base64
import re
import secrets
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, field
from email.message import Message
from typing import Any

from . import contents, files, writing
from .calls import JSON_LIMIT, Answer, Call, parse_json
from .contents import Received, Sink
from .database import Database
from .errors import ApiError, bad_request, invalid
from .fields import Selection
from .model import Node
from .resources import DEFAULT, file

ALIGNMENT = 256 * 1024
"""Sessions keep whole multiples of 256 KiB until the last chunk."""
WEEK = 7 * 24 * 3600


async def upload(call: Call) -> Answer:
    """files.create or files.update with media."""
    kind = call.parameters.text("uploadType") or call.parameters.text("upload_protocol")
    if kind == "resumable":
        return await start_session(call)
    selection = call.selection(DEFAULT)
    content_type = call.headers.get("content-type", "")
    if kind == "media" or (kind is None and not content_type.startswith("multipart/")):
        target = prepare(call, {}, content_type)
        received = await contents.receive(call.database, call.body)
        return finish(call, target, {}, received, content_type, selection)
    if kind not in {"multipart", None}:
        raise invalid("uploadType")
    parts = Multipart(content_type, call.body)
    body = writing.check_body(parse_json(await parts.read_metadata()), creating=_creates(call))
    media_type = await parts.start_media()
    target = prepare(call, body, media_type)
    received = await contents.receive(call.database, parts.media())
    return finish(call, target, body, received, media_type, selection)


def _creates(call: Call) -> bool:
    return call.method.id.endswith((".create", ".insert"))


def prepare(call: Call, body: dict[str, Any], media_type: str) -> Node | None:
    """The file to be updated, or None for a new one; refuses what can be refused before bytes."""
    if _creates(call):
        files.check_create(call, body, media_type, media=True)
        return None
    node = files.the_file(call)
    files.check_update(call, node, body, media=True)
    return node


def store(
    call: Call, target: Node | None, body: dict[str, Any], received: Received, media_type: str
) -> Node:
    """Make or change the file; what arrived is deleted if that is refused."""
    try:
        if target is None:
            return files.create_node(call, body, received, media_type)
        # Looked up again: it may have changed while the bytes were arriving.
        return files.update_node(call, files.the_file(call), body, received, media_type)
    finally:
        received.discard()


def finish(
    call: Call,
    target: Node | None,
    body: dict[str, Any],
    received: Received,
    media_type: str,
    selection: Selection,
) -> Answer:
    """Store the upload and answer with the file."""
    return Answer.json(file(call.view, store(call, target, body, received, media_type), selection))


class Multipart:
    """A multipart/related body with two parts, read as a stream.

    Lines end with CRLF or, as Python's email package writes them, with LF; which, the first
    boundary line shows, so that a content may end in either.
    """

    def __init__(self, content_type: str, chunks: AsyncIterator[bytes]) -> None:
        message = Message()
        message["Content-Type"] = content_type
        boundary = message.get_param("boundary")
        if message.get_content_maintype() != "multipart" or not isinstance(boundary, str):
            raise bad_request("Missing multipart boundary.")
        self._boundary = b"--" + boundary.encode()
        self._chunks = chunks
        self._buffer = bytearray()
        self._newline = b"\r\n"
        self._base64 = False

    async def _more(self) -> None:
        async for chunk in self._chunks:
            if chunk:
                self._buffer += chunk
                return
        raise bad_request("Malformed multipart body.")

    async def _headers(self) -> Message:
        """Read up to the empty line after a boundary's headers."""
        while True:
            found = re.match(rb"(?:[^\r\n]+\r?\n)*\r?\n", bytes(self._buffer[:65536]))
            if found is not None:
                break
            if len(self._buffer) > 65536:
                raise bad_request("Malformed multipart body.")
            await self._more()
        message = Message()
        for line in self._buffer[: found.end()].decode("latin-1").splitlines():
            name, _, value = line.partition(":")
            if value:
                message[name.strip()] = value.strip()
        del self._buffer[: found.end()]
        return message

    async def read_metadata(self) -> bytes:
        """The first part: JSON."""
        while True:
            start = self._buffer.find(self._boundary)
            end = self._buffer.find(b"\n", start + 1)
            if start >= 0 and end >= 0:
                break
            await self._more()
        self._newline = b"\r\n" if self._buffer[end - 1 : end] == b"\r" else b"\n"
        del self._buffer[: end + 1]
        await self._headers()
        delimiter = self._newline + self._boundary
        while (end := self._buffer.find(delimiter)) < 0:
            if len(self._buffer) > JSON_LIMIT:
                raise ApiError(413, "requestTooLarge", "Request Entity Too Large")
            await self._more()
        metadata = bytes(self._buffer[:end])
        del self._buffer[: end + len(delimiter)]
        return metadata

    async def start_media(self) -> str:
        """Read the second part's headers; returns its content type."""
        while b"\n" not in self._buffer:
            await self._more()
        line_end = self._buffer.index(b"\n")
        if self._buffer.startswith(b"--"):
            raise bad_request("The multipart body has no media part.")
        del self._buffer[: line_end + 1]
        headers = await self._headers()
        self._base64 = headers.get("Content-Transfer-Encoding", "").lower() == "base64"
        return headers.get("Content-Type", "")

    async def _raw(self) -> AsyncIterator[bytes]:
        delimiter = self._newline + self._boundary
        while (end := self._buffer.find(delimiter)) < 0:
            keep = len(delimiter) - 1
            if len(self._buffer) > keep:
                piece = bytes(self._buffer[:-keep])
                del self._buffer[:-keep]
                yield piece
            await self._more()
        yield bytes(self._buffer[:end])
        async for _ in self._chunks:
            pass  # the epilogue means nothing

    async def media(self) -> AsyncIterator[bytes]:
        """The second part's content, decoded where it says that it is base64."""
        if not self._base64:
            async for piece in self._raw():
                yield piece
            return
        rest = b""
        async for piece in self._raw():
            rest += b"".join(piece.split())
            cut = len(rest) // 4 * 4
            yield _unbase64(rest[:cut])
            rest = rest[cut:]
        if rest:
            raise bad_request("Malformed base64 media.")


def _unbase64(text: bytes) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise bad_request("Malformed base64 media.") from None


@dataclass
class Session:
    """A resumable upload: what was announced, and the file's answer once it is complete."""

    id: str
    email: str
    client: str
    scopes: list[str]
    verb: str
    path: str
    query: list[tuple[str, str]]
    body: dict[str, Any]
    media_type: str
    length: int | None
    expires: float
    file_id: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    def save(self, database: Database) -> None:
        database.store("session", self.id, asdict(self))


async def start_session(call: Call) -> Answer:
    """Open a session: its URI comes in Location, is a secret, and lives for a week."""
    call.selection(DEFAULT)
    body = writing.check_body(await call.json(), creating=_creates(call))
    media_type = call.headers.get("x-upload-content-type", "")
    announced = call.headers.get("x-upload-content-length")
    if announced is not None and not announced.isdigit():
        raise bad_request("Invalid X-Upload-Content-Length.")
    target = prepare(call, body, media_type)
    length = int(announced) if announced else None
    if length is not None:
        owner = target.owner if target is not None else call.caller.email
        drive = target.drive if target is not None else files.parent_for(call, body).drive
        files.check_room(call.database, owner or call.caller.email, drive, length)
    session = Session(
        id=secrets.token_urlsafe(48),
        email=call.caller.email,
        client=call.caller.client,
        scopes=sorted(call.caller.scopes),
        verb=call.verb,
        path=call.path,
        query=call.query,
        body=body,
        media_type=media_type,
        length=length,
        expires=call.database.clock.now() + WEEK,
        headers={k: v for k, v in call.headers.items() if k == "if-match"},
    )
    session.save(call.database)
    query = f"uploadType=resumable&upload_id={session.id}"
    headers = {
        "Location": f"{call.base}{call.path}?{query}",
        "X-GUploader-UploadID": session.id,
        "Content-Type": "text/html; charset=UTF-8",
    }
    return Answer(200, b"", headers)


_CONTENT_RANGE = re.compile(r"bytes\s+(?:(\d+)-(\d+)|\*)/(\d+|\*)\s*$", re.IGNORECASE)


class Sessions:
    """The sessions that are open, with the files into which their bytes go."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._sinks: dict[str, Sink] = {}
        self._busy: set[str] = set()

    def find(self, upload_id: str) -> Session:
        """The session of this id; 404 when it is unknown or a week old."""
        found = self._database.document("session", upload_id)
        if found is None or found["expires"] < self._database.clock.now():
            raise ApiError(404, "notFound", "Upload session not found.")
        return Session(**found)

    def _sink(self, session: Session) -> Sink:
        if session.id not in self._sinks:
            path = self._database.incoming / f"session-{session.id}"
            size = path.stat().st_size if path.exists() else 0
            self._sinks[session.id] = Sink(path, cut_at=size // ALIGNMENT * ALIGNMENT)
        return self._sinks[session.id]

    async def receive(self, call: Call, session: Session) -> Answer:
        """Take a chunk, or say how much has arrived; `call` acts for who opened the session."""
        if call.verb == "DELETE":
            self.forget(session, delete=True)
            return Answer(499)
        if session.file_id:
            return self._completed(call, session)
        if session.id in self._busy:
            raise ApiError(503, "backendError", "The session is receiving another chunk.")
        self._busy.add(session.id)
        try:
            return await self._receive(call, session)
        finally:
            self._busy.discard(session.id)

    async def _receive(self, call: Call, session: Session) -> Answer:
        start, end, total = self._content_range(call, session)
        sink = self._sink(session)
        if start is None:
            if total is not None and sink.size >= total:
                return await self._complete(call, session, sink)
            return progress(sink.size)
        if start > sink.size:
            raise invalid("Content-Range", f"The next byte that is expected is {sink.size}.")
        # Without Content-Range, and so without an end, the body is all there is.
        last = end is None or (total is not None and end + 1 == total)
        try:
            at = await self._take(call, sink, start, last=last)
        except BaseException:
            # The connection broke: what is there counts, in whole multiples of 256 KiB.
            self._reopen(session)
            raise
        if (end is not None and at != end + 1) or (end is None and at != (total or at)):
            self._reopen(session)
            raise bad_request("The body is not as long as was announced.")
        if last or (total is not None and at >= total):
            return await self._complete(call, session, sink)
        return progress(sink.size)

    async def _take(self, call: Call, sink: Sink, start: int, *, last: bool) -> int:
        """Append what is new; returns where the body ended."""
        at = start
        fresh = bytearray()
        try:
            async for chunk in call.body:
                # What the session has already is skipped.
                fresh += chunk[max(0, min(len(chunk), sink.size + len(fresh) - at)) :]
                at += len(chunk)
                if len(fresh) >= contents.PIECE:
                    await _put(sink, fresh, len(fresh) // ALIGNMENT * ALIGNMENT)
        except BaseException:
            await _put(sink, fresh, len(fresh) // ALIGNMENT * ALIGNMENT)
            raise
        await _put(sink, fresh, len(fresh) if last else len(fresh) // ALIGNMENT * ALIGNMENT)
        return at

    def _reopen(self, session: Session) -> None:
        sink = self._sinks.pop(session.id, None)
        if sink is not None:
            sink.close()

    def _content_range(
        self, call: Call, session: Session
    ) -> tuple[int | None, int | None, int | None]:
        header = call.headers.get("content-range")
        if header is None:
            # The whole content in one request; a length need not have been announced.
            length = call.headers.get("content-length")
            return 0, None, int(length) if length else session.length
        found = _CONTENT_RANGE.match(header)
        if found is None:
            raise invalid("Content-Range", "Failed to parse Content-Range header.")
        total = None if found[3] == "*" else int(found[3])
        if found[1] is None:
            return None, None, total
        start, end = int(found[1]), int(found[2])
        if end < start or (total is not None and end >= total):
            raise invalid("Content-Range", "Failed to parse Content-Range header.")
        if total is not None and session.length is not None and total != session.length:
            raise invalid("Content-Range", "The total differs from X-Upload-Content-Length.")
        return start, end, total

    async def _complete(self, call: Call, session: Session, sink: Sink) -> Answer:
        received = await sink.finish()
        self._sinks.pop(session.id, None)
        target = None if _creates(call) else files.the_file(call)
        if session.headers:
            call.headers = {**call.headers, **session.headers}
        node = store(call, target, session.body, received, session.media_type)
        session.file_id = node.id
        session.save(self._database)
        return self._completed(call, session)

    def _completed(self, call: Call, session: Session) -> Answer:
        node = self._database.nodes.get(session.file_id)
        if node is None:
            raise ApiError(410, "gone", "The uploaded file is gone.")
        return Answer.json(file(call.view, node, call.selection(DEFAULT)))

    def forget(self, session: Session, *, delete: bool) -> None:
        """Drop a session and what it received."""
        sink = self._sinks.pop(session.id, None)
        if sink is not None:
            sink.discard()
        if delete:
            self._database.store("session", session.id, None)


async def _put(sink: Sink, fresh: bytearray, count: int) -> None:
    await sink.write(bytes(fresh[:count]))
    await sink.flush()
    del fresh[:count]


def progress(size: int) -> Answer:
    """308 with how much has arrived; no Range where nothing has."""
    headers = {"Range": f"bytes=0-{size - 1}"} if size else {}
    return Answer(308, b"", headers)
