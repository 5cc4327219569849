"""Batch requests: several calls in one multipart/mixed request ("Batch requests" of the guide)."""

import re
import secrets
from email.message import Message
from http.client import responses
from urllib.parse import parse_qsl, urlencode, urlsplit

from ..api.calls import Answer, Request, Slice, read_whole, stream_of
from ..dispatch import Service
from ..errors import ApiError, bad_request
from .transport import effective_verb

LARGEST = 100


async def answer(service: Service, request: Request) -> Answer:
    """Process the calls of a batch in order; each part of the answer is a complete HTTP answer."""
    if request.verb != "POST":
        raise ApiError(405, "httpMethodNotAllowed", "Method Not Allowed")
    parts = _split(request.headers.get("content-type", ""), await read_whole(request.body))
    if len(parts) > LARGEST:
        raise bad_request(f"The batch request exceeds the limit of {LARGEST} calls.")
    request.calls = len(parts)
    # All calls are parsed before the first is processed: a refused batch has no effect.
    calls = [_request(request, raw) for _, raw in parts]
    answers: list[bytes] = []
    boundary = "batch_" + secrets.token_hex(16)
    for (content_id, _), call in zip(parts, calls, strict=True):
        answers.append(_part(boundary, content_id, await _answer(service, call)))
    body = b"".join(answers) + f"--{boundary}--\r\n".encode()
    return Answer(200, body, {"Content-Type": f"multipart/mixed; boundary={boundary}"})


def _split(content_type: str, raw: bytes) -> list[tuple[str | None, bytes]]:
    """Return each part of the body as its Content-ID and the request in it."""
    message = Message()
    message["Content-Type"] = content_type
    boundary = message.get_param("boundary")
    if message.get_content_type() != "multipart/mixed" or not isinstance(boundary, str):
        raise bad_request("Failed to parse batch request, error: no multipart/mixed body.")
    pattern = rb"^--" + re.escape(boundary.encode()) + rb"(--)?[ \t]*\r?$"
    lines = list(re.finditer(pattern, raw, re.MULTILINE))
    found: list[tuple[str | None, bytes]] = []
    ends = [*(line.start() for line in lines), len(raw)][1:]
    for line, end in zip(lines, ends, strict=True):
        part = raw[line.end() : end].replace(b"\r\n", b"\n")
        head, blank, call = part.partition(b"\n\n")
        if blank and not line[1]:
            fields = _fields(head.decode("latin-1").split("\n"))
            found.append((fields.get("content-id"), call.removesuffix(b"\n")))
    if not found:
        raise bad_request("Failed to parse batch request, error: no parts.")
    return found


def _fields(lines: list[str]) -> dict[str, str]:
    named = (line.partition(":") for line in lines)
    return {name.strip().lower(): value.strip() for name, _, value in named}


def _request(outer: Request, raw: bytes) -> Request:
    head, _, body = raw.partition(b"\n\n")
    first, *lines = head.decode("latin-1").strip().split("\n")
    verb, _, rest = first.partition(" ")
    try:
        target = urlsplit(rest.rsplit(" HTTP/", 1)[0])
    except ValueError:
        raise bad_request("Failed to parse batch request, error: no URL.") from None
    # Headers of the batch apply to its calls, except those that describe the batch's content.
    shared = {k: v for k, v in outer.headers.items() if not k.startswith("content-")}
    own = _fields(lines)
    return Request(
        verb=effective_verb(verb.upper(), own),
        path=target.path,
        query=parse_qsl(target.query, keep_blank_values=True),
        headers={**shared, **own},
        body=stream_of(body),
        base=outer.base,
    )


async def _answer(service: Service, call: Request) -> Answer:
    if "/upload/" in call.path:
        return Answer.refusal(bad_request("Media cannot be uploaded in a batch."))
    result = await service.answer_batched(call)
    if isinstance(result.body, Slice):
        # A batch cannot return contents: the live service redirects to the content instead.
        location = f"{call.base}/download{call.path}?{urlencode(call.query)}"
        return Answer(302, b"", {"Location": location, "Content-Type": "text/html; charset=UTF-8"})
    return result


def _part(boundary: str, content_id: str | None, result: Answer) -> bytes:
    body = b"" if isinstance(result.body, Slice) else result.body
    status = f"HTTP/1.1 {result.status} {responses.get(result.status, 'Unknown')}\r\n"
    headers = {**result.headers, "Content-Length": str(len(body))}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"--{boundary}\r\nContent-Type: application/http\r\n"
    if content_id is not None:
        bare = content_id.strip().removeprefix("<")
        bracket = "<" if bare != content_id.strip() else ""
        head += f"Content-ID: {bracket}response-{bare}\r\n"
    return (head + "\r\n" + status + lines + "\r\n").encode("latin-1") + body + b"\r\n"
