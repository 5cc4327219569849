"""HTTP attempts at Drive: signed, timed, each answer sorted into result, retry or error.

Plain requests on a session of ours: nothing is ever repeated silently, many threads share the pool,
and a fork gets its own. google-auth's AuthorizedSession would save only the lines about a 401, and
renews a token once for each thread that meets one.
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
from typing import Any, Protocol, TypeVar
from urllib.parse import parse_qsl, urlsplit

import requests
import urllib3

from colab_drive_tuner.credentials.http_session import BLOCK, new_session, unlogged
from colab_drive_tuner.drive.requests.refusal import Refusal, retry_after
from colab_drive_tuner.drive.requests.retry import REFUSED_PATIENCE, TryAgainError
from colab_drive_tuner.drive.requests.signing import Authorizer
from colab_drive_tuner.errors import StoreError, UnavailableError

T = TypeVar("T")

CONNECT_TIMEOUT = 20.0
"""Seconds; also how long one block of a request body may take to leave."""
READ_TIMEOUT = 30.0
READ_BLOCK = 256 * 1024
"""Bytes of an answer that are read together, if that many have arrived."""
ANSWER_DEADLINE = 60.0
"""Seconds in which an answer that is not a download must have arrived completely."""


class Body(Protocol):
    """Content that can be sent more than once, without being held in memory."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[bytes]: ...
    def read(self, size: int = -1, /) -> bytes:
        """The next bytes."""

    def rewind(self) -> None:
        """Start again from the first byte."""


@dataclass(frozen=True)
class Request:
    """What is to be asked; the signature comes later. `api` builds most of them."""

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | Body | None = field(default=None, repr=False)
    secret: bool = False
    """Whether the address is one, as that of an upload session: whoever has it can write."""

    def having(self, **changes: Any) -> "Request":
        """The same with other values; `headers` are added to those that there are."""
        headers = {**self.headers, **changes.pop("headers", {})}
        return replace(self, headers=headers, **changes)


@dataclass(frozen=True)
class Answer:
    """A complete answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def read(self, parse: Callable[[dict[str, Any]], T]) -> T:
        """What `parse` makes of the JSON body; one that makes no sense is worth another attempt."""
        try:
            return parse(json.loads(self.body))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise TryAgainError("its answer was cut off or makes no sense") from None


@dataclass
class Download:
    """An answer whose body is still arriving."""

    status: int
    headers: Mapping[str, str]
    blocks: Iterator[bytes] = field(repr=False)


class ServerClock:
    """The server's clock, learned from its answers: a runtime's own may be wrong by hours.

    The newest Date header plus the monotonic time since; exact to about a second.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._offset: float | None = None

    def learn(self, date: str | None, sent: float) -> None:
        """Take in the Date header of an answer whose request left at `sent` (monotonic)."""
        try:
            stamp = parsedate_to_datetime(date or "").timestamp()
        except ValueError:
            return
        arrived = self._monotonic()
        offset = stamp - arrived
        with self._lock:
            # Whole seconds are cut off and transit adds up, so the truth is at or above each
            # estimate: the highest is best, unless the clocks have really moved apart.
            moved = self._offset is not None and offset < self._offset - 2
            if self._offset is None or offset > self._offset or (moved and arrived - sent < 1):
                self._offset = offset

    def now(self) -> float | None:
        """Seconds since 1970 by the server's clock; None before the first answer."""
        with self._lock:
            return None if self._offset is None else self._offset + self._monotonic()


class Transport:
    """A pool of connections to one origin; safe to use from many threads, and after a fork."""

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
        """Make one attempt and return a 2xx answer, or one whose status is in `accept`.

        Raises `TryAgainError` where a repetition may help, else an error that `what` completes.
        """
        with self._open(request, what) as (response, signature):
            answer = self._whole(response)
        if 200 <= answer.status < 300 or answer.status in accept:
            return answer
        raise _refusal(answer, what, request, signature)

    @contextmanager
    def download(self, request: Request, what: str) -> Iterator[Download]:
        """Like `send`, for a GET whose body is read by the caller, block by block."""
        with self._open(request, what) as (response, signature):
            if response.status_code not in {200, 206}:
                raise _refusal(self._whole(response), what, request, signature)
            blocks = self._blocks(response, float("inf"))
            yield Download(response.status_code, response.headers, blocks)

    def close(self) -> None:
        """Close the pooled connections; a later call opens new ones."""
        with self._lock:
            if self._session is not None and self._session[0] == os.getpid():
                self._session[1].close()
            self._session = None

    @contextmanager
    def _open(
        self, request: Request, what: str
    ) -> Iterator[tuple[requests.Response, Mapping[str, str]]]:
        # Read to its end, a connection is already back in the pool; otherwise it is closed.
        with ExitStack() as stack:
            try:
                signature = self._signer.headers()
                response = stack.enter_context(self._attempt(request, signature))
                renewed = False
                while response.status_code == 401 and not renewed:
                    renewed = self._signer.renew(signature)
                    signature = self._signer.headers()
                    response = stack.enter_context(self._attempt(request, signature))
            except UnavailableError:
                raise TryAgainError("Google's sign-in server was silent or busy") from None
            if 300 <= response.status_code < 400 and response.status_code != 308:
                raise StoreError(f"Google Drive sent {what} elsewhere; the address is not trusted.")
            yield response, signature

    def _attempt(self, request: Request, signature: dict[str, str]) -> requests.Response:
        body = request.body
        data: Any = body
        if isinstance(body, bytes):
            # A small body leaves with its headers; a larger one in blocks, each with its timeout.
            data = body if len(body) <= BLOCK else BytesIO(body)
        elif body is not None:
            body.rewind()
        sent = self._monotonic()
        try:
            with unlogged() if request.secret else nullcontext():
                response = self._pool().request(
                    request.method,
                    request.url,
                    data=data,
                    headers={**request.headers, **signature},
                    timeout=(CONNECT_TIMEOUT, min(READ_TIMEOUT, self._patience)),
                    allow_redirects=False,
                    stream=True,
                )
        except requests.exceptions.RequestException as error:
            raise _transient(error) from None
        self.clock.learn(response.headers.get("Date"), sent)
        return response

    def _whole(self, response: requests.Response) -> Answer:
        deadline = self._monotonic() + min(ANSWER_DEADLINE, self._patience)
        content = b"".join(self._blocks(response, deadline))
        return Answer(response.status_code, response.headers, content)

    def _blocks(self, response: requests.Response, deadline: float) -> Iterator[bytes]:
        # Whether all has come is for the reader to judge, by the JSON's end or the file's size.
        try:
            while True:
                # read1, because read would wait for a full block however slowly it trickles in.
                block: bytes = response.raw.read1(READ_BLOCK, decode_content=True)
                if not block:
                    break
                yield block
                if self._monotonic() > deadline:
                    raise TryAgainError("its answer came too slowly")
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise _transient(error) from None

    def _pool(self) -> requests.Session:
        with self._lock:
            # A forked child must not talk on its parent's connections.
            if self._session is None or self._session[0] != os.getpid():
                self._session = (os.getpid(), new_session(local=self._local))
            return self._session[1]


def same_origin(url: str, asked: str) -> bool:
    """Whether a request to `url`, which a server named, goes where the one to `asked` went.

    Our token is sent along, so scheme, host and port must be the same as urllib3 reads them, and
    nothing may be in the address that another parser reads otherwise.
    """
    if not re.fullmatch(r"https?://[!-~]+", url) or "\\" in url:
        return False
    if "@" in re.split("[/?#]", url)[2]:  # urllib3 passes over a user without a name
        return False
    try:
        return _origin(urllib3.util.parse_url(url)) == _origin(urllib3.util.parse_url(asked))
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
    """The network's error in plain words, without addresses: some are secrets."""
    text = repr(error)
    if "NewConnectionError" in text and "refused" in text:
        return TryAgainError("nothing listens there", patience=REFUSED_PATIENCE)
    if "NameResolutionError" in text:
        return TryAgainError("its name cannot be looked up: is this machine online?")
    if "Timeout" in text or "timed out" in text:
        return TryAgainError("it kept silent")
    if isinstance(error, requests.exceptions.SSLError):
        return TryAgainError("the secure connection failed: check proxies and certificates")
    return TryAgainError("the connection broke")
