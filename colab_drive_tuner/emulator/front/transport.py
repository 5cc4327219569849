"""Compression, cross-origin headers and method overrides of Google's front end.

Compression follows "Improve performance" of the Drive guide; cross-origin requests are those of the
JavaScript client.
"""

import gzip
import zlib
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import replace

from ..api.calls import Answer
from ..errors import bad_request, too_large

INFLATED = 64 * 2**20
INFLATION = 100
"""A gzipped body may expand to INFLATED bytes, or to INFLATION times its size if that is more."""
VERBS = "DELETE,GET,HEAD,PATCH,POST,PUT"


def effective_verb(verb: str, headers: Mapping[str, str]) -> str:
    """Return the HTTP method, which X-HTTP-Method-Override of a POST can replace."""
    return headers.get("x-http-method-override", verb).upper() if verb == "POST" else verb


def preflight(verb: str, headers: Mapping[str, str]) -> Answer | None:
    """Answer a browser's CORS preflight request; return None for other requests."""
    if verb != "OPTIONS" or "access-control-request-method" not in headers:
        return None
    allowed = {
        "Access-Control-Allow-Methods": VERBS,
        "Access-Control-Allow-Headers": headers.get("access-control-request-headers", ""),
        "Access-Control-Max-Age": "3600",
    }
    return encode(Answer(200, b"", allowed), headers)


def length_required(verb: str, names: Collection[str]) -> Answer | None:
    """Return Google's 411 for a POST or PUT whose headers do not say how long its body is."""
    if verb not in {"POST", "PUT"} or {"content-length", "transfer-encoding"} & set(names):
        return None
    text = (
        f"<!DOCTYPE html>\n<html lang=en><title>Error 411 (Length Required)!!1</title>\n<p>{verb} "
    )
    text += "requests require a <code>Content-length</code> header.\n"
    return Answer(411, text.encode(), {"Content-Type": "text/html; charset=UTF-8"})


async def gunzip(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Decompress a gzipped body; raise a 400 if it is not gzip, a 413 if it expands too much."""
    inflate = zlib.decompressobj(wbits=31)
    begun = False
    packed = size = 0
    async for chunk in body:
        begun, rest = True, chunk
        packed += len(chunk)
        while rest:
            if inflate.eof:  # a gzip file may have several members
                inflate = zlib.decompressobj(wbits=31)
            try:
                # In pieces, so that a gzip bomb is not expanded at once.
                piece = inflate.decompress(rest, 2**20)
            except zlib.error:
                raise bad_request("The body is not gzip, as Content-Encoding says.") from None
            rest = inflate.unconsumed_tail or inflate.unused_data
            size += len(piece)
            if size > max(INFLATED, INFLATION * packed):
                raise too_large()
            if piece:
                yield piece
    if begun and not inflate.eof:
        raise bad_request("The gzipped body ends early.")


def encode(answer: Answer, headers: Mapping[str, str]) -> Answer:
    """Compress the answer and add CORS headers, as the request's headers ask."""
    more: dict[str, str] = {}
    origin = headers.get("origin")
    if origin is not None:
        more |= {
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Allow-Credentials": "true",
            "Access-Control-Expose-Headers": "Content-Encoding,Content-Length,Content-Range,Date,"
            "ETag,Location,Range,Retry-After,X-GUploader-UploadID,X-HTTP-Status-Code-Override",
            "Vary": "Origin",
        }
    body = answer.body
    # Google requires gzip in Accept-Encoding and in User-Agent.
    wants = "gzip" in headers.get("accept-encoding", "") and "gzip" in headers.get("user-agent", "")
    if wants and body and isinstance(body, bytes):
        body = gzip.compress(body, 1, mtime=0)
        more["Content-Encoding"] = "gzip"
    return replace(answer, body=body, headers={**answer.headers, **more})
