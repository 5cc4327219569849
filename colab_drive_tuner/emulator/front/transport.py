"""Compression, cross-origin headers and verb overrides, as Google's front end has them.

Compression after "Improve performance" of the Drive guide, cross-origin requests as the JavaScript
client makes them, and the verb that a client could not send itself.
"""

import gzip
import zlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace

from ..errors import bad_request, too_large
from ..protocol.calls import Answer

INFLATED = 64 * 2**20
INFLATION = 100
"""A packed body may grow to INFLATED bytes; beyond these, to INFLATION times its own size."""
VERBS = "DELETE,GET,HEAD,PATCH,POST,PUT"


def real_verb(verb: str, headers: Mapping[str, str]) -> str:
    """The verb that is meant: a POST may carry another one in X-HTTP-Method-Override."""
    return headers.get("x-http-method-override", verb).upper() if verb == "POST" else verb


def preflight(verb: str, headers: Mapping[str, str]) -> Answer | None:
    """The answer to a browser that asks whether it may send a request; None for other requests."""
    if verb != "OPTIONS" or "access-control-request-method" not in headers:
        return None
    allowed = {
        "Access-Control-Allow-Methods": VERBS,
        "Access-Control-Allow-Headers": headers.get("access-control-request-headers", ""),
        "Access-Control-Max-Age": "3600",
    }
    return dressed(Answer(200, b"", allowed), headers)


async def unpacked(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """A gzipped body as it was; 400 where it is not gzip, 413 where little becomes very much."""
    inflate = zlib.decompressobj(wbits=31)
    begun = False
    packed = size = 0
    async for chunk in body:
        begun, rest = True, chunk
        packed += len(chunk)
        while rest:
            try:
                # By pieces: what inflates to gigabytes must not do so at once.
                piece = inflate.decompress(rest, 2**20)
            except zlib.error:
                raise bad_request("The body is not gzip, as Content-Encoding says.") from None
            rest = inflate.unconsumed_tail
            size += len(piece)
            if size > max(INFLATED, INFLATION * packed):
                raise too_large()
            if piece:
                yield piece
    if begun and not inflate.eof:
        raise bad_request("The gzipped body ends early.")


def dressed(answer: Answer, headers: Mapping[str, str]) -> Answer:
    """The answer with what the request's headers ask for: compression, and access for a page."""
    more: dict[str, str] = {}
    origin = headers.get("origin")
    if origin is not None:
        more |= {
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Allow-Credentials": "true",
            "Access-Control-Expose-Headers": "Content-Encoding,Content-Length,Content-Range,Date,"
            "ETag,Location,Range,Retry-After,X-GUploader-UploadID",
            "Vary": "Origin",
        }
    body = answer.body
    # Both are needed: a client that says gzip in its User-Agent is known to mean it.
    wants = "gzip" in headers.get("accept-encoding", "") and "gzip" in headers.get("user-agent", "")
    if wants and body and isinstance(body, bytes):
        body = gzip.compress(body, 1, mtime=0)
        more["Content-Encoding"] = "gzip"
    return replace(answer, body=body, headers={**answer.headers, **more})
