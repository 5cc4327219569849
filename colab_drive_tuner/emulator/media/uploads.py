"""Uploads in one request, simple or multipart; see `resumable` for resumable uploads.

They follow "Upload file data" of the Drive documentation.
"""

from ..errors import invalid
from ..protocol.api_versions import answer, read_body, selection
from ..protocol.calls import Answer, Call
from . import contents
from .multipart import Multipart
from .resumable import prepare, start_session, store


async def upload(call: Call) -> Answer:
    """files.create or files.update with media."""
    kind = call.parameters.text("uploadType") or call.parameters.text("upload_protocol")
    if kind == "resumable":
        return await start_session(call)
    wanted = selection(call)
    content_type = call.headers.get("content-type", "")
    if kind == "media" or (kind is None and not content_type.startswith("multipart/")):
        prepare(call, {}, content_type)
        received = await contents.receive(call.database, call.body)
        return answer(call, store(call, {}, received, content_type), wanted)
    if kind not in {"multipart", None}:
        raise invalid("uploadType")
    parts = Multipart(content_type, call.body)
    body = read_body(call, call.parse(await parts.read_metadata()))
    media_type = await parts.start_media()
    prepare(call, body, media_type)
    received = await contents.receive(call.database, parts.media())
    return answer(call, store(call, body, received, media_type), wanted)
