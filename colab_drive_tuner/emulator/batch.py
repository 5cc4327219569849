"""Batches: several calls in one multipart/mixed request ("Batch requests" of the Drive guide)."""

import secrets
from email.message import Message
from email.parser import BytesParser
from http import HTTPStatus
from urllib.parse import parse_qsl, urlsplit

from .calls import JSON_LIMIT, Answer, Slice, whole
from .errors import ApiError, bad_request
from .service import Request, Service

LARGEST = 100


async def answer(service: Service, request: Request) -> Answer:
    """Do every call of the batch in turn; each part of the answer is an HTTP answer of its own."""
    content_type = request.headers.get("content-type", "")
    if request.verb != "POST":
        raise ApiError(405, "httpMethodNotAllowed", "Method Not Allowed")
    raw = b""
    async for chunk in request.body:
        raw += chunk
        if len(raw) > JSON_LIMIT:
            raise ApiError(413, "requestTooLarge", "Request Entity Too Large")
    head = f"Content-Type: {content_type}\r\n\r\n".encode("latin-1")
    message = BytesParser().parsebytes(head + raw)
    if message.get_content_type() != "multipart/mixed" or not message.is_multipart():
        raise bad_request("Failed to parse batch request, error: no multipart/mixed body.")
    parts = [part for part in message.get_payload() if isinstance(part, Message)]
    if len(parts) > LARGEST:
        raise bad_request(f"The batch request exceeds the limit of {LARGEST} calls.")
    request.calls = len(parts)
    # All are read before the first one takes effect: a batch that is refused did nothing.
    calls = [_request(request, part) for part in parts]
    answers: list[bytes] = []
    boundary = "batch_" + secrets.token_hex(16)
    for part, call in zip(parts, calls, strict=True):
        answers.append(_part(boundary, part.get("Content-ID"), await service.answer_batched(call)))
    body = b"".join(answers) + f"--{boundary}--\r\n".encode()
    return Answer(200, body, {"Content-Type": f"multipart/mixed; boundary={boundary}"})


def _request(outer: Request, part: Message) -> Request:
    raw = part.get_payload(decode=True)
    if not isinstance(raw, bytes):
        raise bad_request("Failed to parse batch request.")
    head, _, body = raw.replace(b"\r\n", b"\n").partition(b"\n\n")
    first, *lines = head.decode("latin-1").strip().split("\n")
    verb, _, rest = first.partition(" ")
    target = urlsplit(rest.rsplit(" HTTP/", 1)[0])
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    # Headers of the batch hold for its calls, but for those that describe its own content.
    shared = {k: v for k, v in outer.headers.items() if not k.startswith("content-")}

    inner = Request(
        verb=verb.upper(),
        path=target.path,
        query=parse_qsl(target.query, keep_blank_values=True),
        headers={**shared, **headers},
        body=whole(body),
        base=outer.base,
    )
    if "/upload/" in inner.path or ("alt", "media") in inner.query:
        raise bad_request("Media cannot be uploaded or downloaded in a batch.")
    return inner


def _part(boundary: str, content_id: str | None, answer_: Answer) -> bytes:
    body = b"" if isinstance(answer_.body, Slice) else answer_.body
    status = f"HTTP/1.1 {answer_.status} {HTTPStatus(answer_.status).phrase}\r\n"
    headers = {**answer_.headers, "Content-Length": str(len(body))}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"--{boundary}\r\nContent-Type: application/http\r\n"
    if content_id is not None:
        bare = content_id.strip().removeprefix("<")
        bracket = "<" if bare != content_id.strip() else ""
        head += f"Content-ID: {bracket}response-{bare}\r\n"
    return (head + "\r\n" + status + lines + "\r\n").encode("latin-1") + body + b"\r\n"
