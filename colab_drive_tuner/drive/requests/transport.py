"""HTTP transport for Drive: a single signed attempt, classified as result, retry or error.

It uses requests with a session that never retries by itself, shared by threads and replaced after a
fork. google-auth's AuthorizedSession would only save the handling of 401, and renews a token once
for each thread that receives one.
"""

import json
import os
import re
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from io import BytesIO
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

import requests
import urllib3

from colab_drive_tuner.credentials.http_session import BLOCK, new_session, unlogged
from colab_drive_tuner.drive.requests.endpoint import Authorizer
from colab_drive_tuner.drive.requests.retry_and_refusal import (
    REFUSED_PATIENCE,
    Refusal,
    TryAgainError,
    retry_after,
)
from colab_drive_tuner.drive.source import Window
from colab_drive_tuner.errors import CredentialsError, StoreError

T = TypeVar("T")

CONNECT_TIMEOUT = 20.0
"""Seconds; also the time limit for sending one block of a request body."""
READ_TIMEOUT = 30.0
READ_BLOCK = 256 * 1024
"""Maximum number of bytes of an answer that are read at once."""
ANSWER_DEADLINE = 60.0
"""Time limit in seconds for receiving an answer that is not a download."""


@dataclass(frozen=True)
class Request:
    """An unsigned request; most are built by `calls`."""

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | Window | None = field(default=None, repr=False)
    secret: bool = False
    """Whether the URL is secret, as that of an upload session, which allows writing."""

    def with_changes(self, **changes: Any) -> "Request":
        """Return a copy with other values; `headers` are added to the existing ones."""
        headers = {**self.headers, **changes.pop("headers", {})}
        return replace(self, headers=headers, **changes)


@dataclass(frozen=True)
class Answer:
    """A complete answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def read(self, parse: Callable[[dict[str, Any]], T]) -> T:
        """Parse the JSON body with `parse`; raise `TryAgainError` if it is invalid."""
        try:
            return parse(json.loads(self.body))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise TryAgainError("its answer was truncated or invalid") from None


class ServerClock:
    """The server's clock, computed from its answers, because a runtime's own may be wrong by hours.

    It is the newest Date header plus the monotonic time since, exact to about a second.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._offset: float | None = None

    def learn(self, date: str | None, sent: float) -> None:
        """Process the Date header of an answer to a request sent at `sent` (monotonic)."""
        try:
            stamp = parsedate_to_datetime(date or "").timestamp()
        except (ValueError, OverflowError):
            return
        arrived = self._monotonic()
        offset = stamp - arrived
        with self._lock:
            # Truncated seconds and transit time make every estimate too low, so the highest one is
            # the best, unless one of the clocks was adjusted.
            moved = self._offset is not None and offset < self._offset - 2
            if self._offset is None or offset > self._offset or (moved and arrived - sent < 1):
                self._offset = offset

    def now(self) -> float | None:
        """Return the server's time in seconds since 1970; None before the first answer."""
        with self._lock:
            return None if self._offset is None else self._offset + self._monotonic()


class Transport:
    """A pool of connections to one origin; safe in threads and after a fork."""

    def __init__(
        self,
        signer: Authorizer,
        *,
        local: bool = False,
        patience: float = float("inf"),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.clock = ServerClock(monotonic)
        self._monotonic = monotonic
        self._signer = signer
        self._local = local
        self._patience = patience
        self._lock = threading.Lock()
        self._session: tuple[int, requests.Session] | None = None

    def send(self, request: Request, what: str, *, accept: Collection[int] = ()) -> Answer:
        """Make one attempt; return a 2xx answer or one with a status in `accept`.

        Raises `TryAgainError` if a retry may help, `UnavailableError` if the sign-in server is
        silent, otherwise an error about `what`.
        """
        with self._send_signed(request, what) as (response, signature):
            answer = self._read_all(response)
        if 200 <= answer.status < 300 or answer.status in accept:
            return answer
        raise _refusal(answer, what, request, signature)

    @contextmanager
    def download(
        self, request: Request, what: str
    ) -> Iterator[tuple[requests.Response, Iterator[bytes]]]:
        """Like `send`, for a GET whose body the caller reads in blocks; 416 is passed on."""
        with self._send_signed(request, what) as (response, signature):
            if response.status_code not in {200, 206, 416}:
                raise _refusal(self._read_all(response), what, request, signature)
            yield response, self._blocks(response, float("inf"))

    def close(self) -> None:
        """Close the pooled connections; later calls open new ones."""
        with self._lock:
            if self._session is not None and self._session[0] == os.getpid():
                self._session[1].close()
            self._session = None

    @contextmanager
    def _send_signed(
        self, request: Request, what: str
    ) -> Iterator[tuple[requests.Response, Mapping[str, str]]]:
        # A response that was read completely has returned its connection; others are closed.
        with ExitStack() as stack:
            signature = self._signer.headers()
            response = stack.enter_context(self._send_once(request, signature))
            renewed = False
            while response.status_code == 401 and not renewed:
                renewed = self._signer.renew(signature)
                signature = self._signer.headers()
                response = stack.enter_context(self._send_once(request, signature))
            if 300 <= response.status_code < 400 and response.status_code != 308:
                raise StoreError(f"Google Drive redirected {what}; the new address is not trusted.")
            yield response, signature

    def _send_once(self, request: Request, signature: dict[str, str]) -> requests.Response:
        body = request.body
        data: Any = body
        if isinstance(body, bytes):
            # A larger body is sent in blocks, each with its own timeout.
            data = body if len(body) <= BLOCK else BytesIO(body)
        elif body is not None:
            body.rewind()
        sent = self._monotonic()
        try:
            with unlogged() if request.secret else nullcontext():
                response = self._get_session().request(
                    request.method,
                    request.url,
                    data=data,
                    headers={**request.headers, **signature},
                    timeout=(CONNECT_TIMEOUT, min(READ_TIMEOUT, self._patience)),
                    allow_redirects=False,
                    stream=True,
                )
        except (requests.exceptions.InvalidHeader, UnicodeEncodeError):
            raise CredentialsError(
                "The access token cannot be sent: it contains a line end or another character that "
                "no token has. Remove it from where the token is kept."
            ) from None
        except requests.exceptions.RequestException as error:
            raise _transient(error) from None
        self.clock.learn(response.headers.get("Date"), sent)
        return response

    def _read_all(self, response: requests.Response) -> Answer:
        deadline = self._monotonic() + min(ANSWER_DEADLINE, self._patience)
        content = b"".join(self._blocks(response, deadline))
        return Answer(response.status_code, response.headers, content)

    def _blocks(self, response: requests.Response, deadline: float) -> Iterator[bytes]:
        # The caller checks completeness, by the JSON's end or the file's size.
        try:
            while True:
                # `read` would wait for a full block, however slowly that arrives.
                block: bytes = response.raw.read1(READ_BLOCK, decode_content=True)
                if not block:
                    break
                yield block
                if self._monotonic() > deadline:
                    raise TryAgainError("its answer came too slowly")
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise _transient(error) from None

    def _get_session(self) -> requests.Session:
        with self._lock:
            # A forked child must not use its parent's connections.
            if self._session is None or self._session[0] != os.getpid():
                self._session = (os.getpid(), new_session(local=self._local))
            return self._session[1]


def same_origin(url: str, requested: str) -> bool:
    """Return whether `url`, received from a server, has the origin of the URL `requested`.

    Our token is sent to it. So scheme, host and port must be the same as urllib3 parses them, and
    the URL must not contain anything that other parsers read differently.
    """
    if not re.fullmatch(r"https?://[!-~]+", url) or "\\" in url:
        return False
    if "@" in re.split("[/?#]", url)[2]:  # urllib3 ignores a user without a name
        return False
    try:
        return _origin(urllib3.util.parse_url(url)) == _origin(urllib3.util.parse_url(requested))
    except urllib3.exceptions.LocationParseError:
        return False


def _origin(url: Any) -> tuple[str | None, str | None, int]:
    return url.scheme, url.host, url.port or {"https": 443}.get(url.scheme, 80)


def _refusal(
    answer: Answer, what: str, request: Request, signature: Mapping[str, str]
) -> Exception:
    secrets = signature.get("authorization", "").split()
    if request.secret:
        secrets += [request.url, *(value for _, value in parse_qsl(urlsplit(request.url).query))]
    refusal = Refusal.read(answer.status, answer.body, secrets)
    uploading = "/upload/" in request.url
    return refusal.error(what, after=retry_after(answer.headers), uploading=uploading)


def _transient(error: Exception) -> TryAgainError:
    """Describe a network error without URLs, which may be secret."""
    text = repr(error)
    if "NewConnectionError" in text and "refused" in text:
        return TryAgainError("nothing listens there", patience=REFUSED_PATIENCE)
    if "NameResolutionError" in text:
        return TryAgainError("its name cannot be looked up: is this machine online?")
    if "Timeout" in text or "timed out" in text:
        return TryAgainError("it sent no answer")
    if isinstance(error, requests.exceptions.SSLError):
        return TryAgainError("the secure connection failed: check proxies and certificates")
    return TryAgainError("the connection broke")
