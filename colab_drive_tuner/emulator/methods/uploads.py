"""Uploads: in one request (simple or multipart), or resumable after an interruption.

They follow "Upload file data" of the Drive guide. The state of a resumable session is on disk, so
it continues with the received bytes even after the emulator was killed.
"""

import mimetypes
import re
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..api.api_versions import answer, creates, read_body, selection
from ..api.calls import Answer, Call
from ..errors import ApiError, bad_request, invalid
from ..media import contents
from ..media.contents import Sink
from ..media.multipart import Multipart
from ..state.database import Database
from . import files

ALIGNMENT = 256 * 1024
"""Every chunk but the last is a multiple of 256 KiB."""

WEEK = 7 * 24 * 3600


@dataclass
class UploadSession:
    """A resumable upload: its announced metadata, and the final answer once it is complete."""

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
    final: dict[str, Any] | None = None
    headers: dict[str, str] = field(default_factory=dict)
    new_parents: list[str] | None = None

    def save(self, database: Database) -> None:
        """Store the session, so that it survives a restart."""
        database.store("session", self.id, asdict(self))


def prepare(call: Call, body: dict[str, Any], media_type: str, size: int = 0) -> None:
    """Check the request before any bytes arrive; `size` is 0 unless it was announced."""
    files.media_type(body, media_type)  # an invalid type is refused
    if creates(call):
        files.check_create(call, body, media_type, size)
    else:
        files.check_update(call, call.requested_file(), body, size)


_TYPES = mimetypes.MimeTypes()  # without those of this machine


def detected_type(body: dict[str, Any]) -> str:
    """Return the type that Drive detects for content without one; here from the file's name."""
    found, encoding = _TYPES.guess_type(body.get("name") or "")
    return "" if encoding else found or ""


async def upload(call: Call) -> Answer:
    """files.create or files.update with media."""
    kind = call.parameters.text("uploadType") or call.parameters.text("upload_protocol")
    if kind == "resumable":
        return await start_session(call)
    wanted = selection(call)
    content_type = call.headers.get("content-type", "")
    if kind == "media" or (kind is None and not content_type.lower().startswith("multipart/")):
        prepare(call, {}, content_type)
        received = await contents.receive(call.database, call.body)
        return answer(call, files.store(call, {}, received, content_type), wanted)
    if kind not in {"multipart", None}:
        raise invalid("uploadType")
    parts = Multipart(content_type, call.body)
    metadata = await parts.read_metadata()
    body = read_body(call, call.parse(metadata, parts.metadata_type))
    media_type = await parts.start_media() or detected_type(body)
    prepare(call, body, media_type)
    received = await contents.receive(call.database, parts.media())
    return answer(call, files.store(call, body, received, media_type), wanted)


async def start_session(call: Call) -> Answer:
    """Open a session; its secret URI, valid for a week, is in the Location header."""
    selection(call)
    body = read_body(call, await call.json())
    media_type = call.headers.get("x-upload-content-type") or detected_type(body)
    announced = call.headers.get("x-upload-content-length")
    if announced is not None and not re.fullmatch("[0-9]{1,18}", announced):
        raise bad_request("Invalid X-Upload-Content-Length.")
    length = int(announced) if announced else None
    prepare(call, body, media_type, length or 0)
    session = UploadSession(
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
        headers={k: v for k, v in call.headers.items() if k in {"if-match", "if-none-match"}},
        new_parents=call.new_parents,
    )
    session.save(call.database)
    query = f"uploadType=resumable&upload_id={session.id}"
    headers = {
        "Location": f"{call.base}{call.path}?{query}",
        "X-GUploader-UploadID": session.id,
        "Content-Type": "text/html; charset=UTF-8",
    }
    return Answer(200, b"", headers)


_CONTENT_RANGE = re.compile(
    r"bytes\s+(?:([0-9]{1,18})-([0-9]{1,18})|\*)/([0-9]{1,18}|\*)\s*$", re.IGNORECASE
)


class Sessions:
    """The open sessions and their incoming files."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._sinks: dict[str, Sink] = {}
        self._busy: set[str] = set()

    def find(self, upload_id: str) -> UploadSession:
        """Return the session; raise a 404 if it is unknown or expired."""
        found = self._database.document("session", upload_id)
        if found is None or found["expires"] < self._database.clock.now():
            raise ApiError(404, "notFound", "Upload session not found.")
        return UploadSession(**found)

    def _path(self, session: UploadSession) -> Path:
        return self._database.incoming / f"session-{session.id}"

    def _sink(self, session: UploadSession) -> Sink:
        if session.id not in self._sinks:
            path = self._path(session)
            size = path.stat().st_size if path.exists() else 0
            self._sinks[session.id] = Sink(path, cut_at=size // ALIGNMENT * ALIGNMENT)
        return self._sinks[session.id]

    async def receive(self, call: Call, session: UploadSession) -> Answer:
        """Receive a chunk or answer a status query, on behalf of the session's creator."""
        if session.id in self._busy:
            raise ApiError(503, "backendError", "The session is receiving another chunk.")
        if call.verb == "DELETE":
            self._forget(session)
            return Answer(499)
        if call.verb not in {"PUT", "POST"}:
            raise ApiError(405, "httpMethodNotAllowed", "Method Not Allowed")
        if session.final is not None:
            # The upload server repeats its last answer, even if the file is deleted by now.
            return Answer(200, session.final["body"].encode(), session.final["headers"])
        self._busy.add(session.id)
        try:
            return await self._receive(call, session)
        finally:
            self._busy.discard(session.id)

    async def _receive(self, call: Call, session: UploadSession) -> Answer:
        start, end, total = self._content_range(call, session)
        sink = self._sink(session)
        if total is not None:
            if total < sink.size or session.length not in {None, total}:
                raise invalid("Content-Range", "The total differs from what was announced before.")
            if session.length is None and start is not None:
                session.length = total
                session.save(self._database)
        if start is None:
            if total is not None and sink.size >= total:
                return await self._complete(call, session, sink)
            return _progress(call, sink)
        if start > sink.size:
            return _gap(start, sink.size)
        # Without Content-Range the body is the whole content.
        last = end is None or (total is not None and end + 1 == total)
        try:
            at = await _append(call, sink, start)
            if not last and end is not None and (end + 1) % ALIGNMENT:
                raise bad_request(
                    "Invalid request.  The number of bytes uploaded is required to be equal or "
                    f"greater than {ALIGNMENT}, except for the final request (it's recommended to "
                    f"be the exact multiple of {ALIGNMENT}).  The received request contained "
                    f"{at - start} bytes, which does not meet this requirement."
                )
            if (end is not None and at != end + 1) or (end is None and at != (total or at)):
                raise bad_request("The body is not as long as was announced.")
        except BaseException:  # also if the request is cancelled
            self._close(session)
            raise
        if last or (total is not None and at >= total):
            return await self._complete(call, session, sink)
        return _progress(call, sink)

    def _close(self, session: UploadSession) -> None:
        """Close the incoming file; the next chunk continues it at a multiple of 256 KiB."""
        if (sink := self._sinks.pop(session.id, None)) is not None:
            sink.close()

    def _content_range(
        self, call: Call, session: UploadSession
    ) -> tuple[int | None, int | None, int | None]:
        header = call.headers.get("content-range")
        if header is None:
            # The whole content in one request; its length need not be announced.
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
        return start, end, total

    async def _complete(self, call: Call, session: UploadSession, sink: Sink) -> Answer:
        received = await sink.finish()
        self._sinks.pop(session.id, None)
        call.headers = {**call.headers, **session.headers}
        call.new_parents = session.new_parents
        node = files.store(call, session.body, received, session.media_type)
        final = answer(call, node, selection(call))
        body = final.body if isinstance(final.body, bytes) else b""
        session.final = {"body": body.decode(), "headers": final.headers}
        session.save(self._database)
        return final

    def close(self) -> None:
        """Close the files; received bytes are kept."""
        for sink in self._sinks.values():
            sink.close()
        self._sinks.clear()

    def _forget(self, session: UploadSession) -> None:
        """Delete a session and its received bytes, also those from before a restart."""
        self._close(session)
        self._path(session).unlink(missing_ok=True)
        self._database.store("session", session.id, None)


async def _append(call: Call, sink: Sink, start: int) -> int:
    """Append the body, without the bytes that the sink has; return the offset of its end."""
    at = start
    async for chunk in call.body:
        await sink.write(chunk[sink.size - at :])
        at += len(chunk)
    await sink.flush()
    return at


def _progress(call: Call, sink: Sink) -> Answer:
    """Answer 308 with the received range and its MD5; with neither if nothing has arrived.

    Google's Go client asks for a 200 with a header instead, since 308 is also a redirect.
    """
    received = {"Range": f"bytes=0-{sink.size - 1}", "X-Range-MD5": sink.md5}
    headers = received if sink.size else {}
    if call.headers.get("x-guploader-no-308") == "yes":
        return Answer(200, b"", {**headers, "X-HTTP-Status-Code-Override": "308"})
    return Answer(308, b"", headers)


def _gap(start: int, size: int) -> Answer:
    """Answer a chunk that starts after the next expected byte; Google's error is plain text."""
    text = (
        f"Invalid request.  According to the Content-Range header, the upload offset is {start} "
        f"byte(s), which exceeds already uploaded size of {size} byte(s)."
    )
    return Answer(503, text.encode(), {"Content-Type": "text/plain; charset=utf-8"})
