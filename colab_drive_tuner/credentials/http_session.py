"""HTTP without leaks of secrets: sessions that log none, and redaction of a server's text.

Upload session URLs, tokens in headers and refresh tokens in bodies pass through here. Users who
enable logging, also http.client's debug level, for a bug report must be able to publish the log.
"""

import base64
import html
import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache
from socket import SHUT_RDWR, socket
from threading import Timer
from time import monotonic
from typing import Any
from urllib.parse import unquote_plus

import requests
from requests.adapters import HTTPAdapter

BLOCK = 64 * 1024
"""Bytes of a request body sent at once: small enough for the timeout to allow 3 kB/s."""

_HEADERS_SECONDS = 300.0
"""Time limit for the headers of an answer to a request without a timeout."""

_LOGGERS = ("urllib3.connectionpool", "urllib3.connection", "urllib3.util.retry")
"""Loggers that log request URLs."""

_SHORTEST = 10
"""Minimum length of a secret: shorter ones, such as the emulator's token, are ordinary words."""
_PIECE = 20
"""Length of a piece of a secret that must not be shown."""
_DEPTH = 3
"""Number of nested encodings that are decoded."""
_REMOVED = "[removed]"
_SHOWN = 300
"""Maximum length of the result, in characters."""
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2}))")
_WORD = re.compile(r"[^\s\"'<>(){}\[\],]+")

_unlogged: ContextVar[bool] = ContextVar("unlogged", default=False)


def new_session(*, local: bool) -> requests.Session:
    """Create a session that never retries and has no credentials of its own.

    `local`: it talks to an emulator, without the machine's proxy settings.
    """
    session = requests.Session()
    session.trust_env = not local
    # Otherwise requests replaces our header with a password from ~/.netrc.
    session.auth = lambda request: request
    guard(session)
    return session


def guard(session: requests.Session) -> None:
    """Prevent a session from leaking secrets and from retrying."""
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Adapter(pool_connections=4, pool_maxsize=64, max_retries=0))
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_may_be_logged)  # adding it twice has no effect


@contextmanager
def unlogged() -> Iterator[None]:
    """Suppress urllib3's log messages of this thread during the block: the URL is a secret."""
    before = _unlogged.set(True)
    try:
        yield
    finally:
        _unlogged.reset(before)


def _may_be_logged(_: logging.LogRecord) -> bool:
    return not _unlogged.get()


class _Guarded:
    """Base of a connection that prints nothing and bounds its waiting.

    With http.client's global debug level it would print headers and bodies. A socket's timeout
    starts again with each byte, so a server that sends a few at a time would never be given up.
    """

    debuglevel = 0

    def getresponse(self: Any) -> Any:
        limit, begun = self.timeout or _HEADERS_SECONDS, monotonic()
        timer = Timer(limit, _shut_down, [self.sock])
        timer.daemon = True
        with suppress(RuntimeError):  # while the interpreter ends, Python 3.12 starts no thread
            timer.start()
        try:
            answer = super().getresponse()  # type: ignore[misc]  # of urllib3's connection
        finally:
            timer.cancel()
        if monotonic() - begun >= limit:
            answer.close()
            raise TimeoutError("the headers came too slowly")  # they may be cut off
        return answer


@cache
def _guarded(connection: type) -> type:
    """Return a subclass of a class of connections, whatever proxy they use."""
    return type(connection.__name__, (_Guarded, connection), {})


def _shut_down(connected: socket) -> None:
    """End the waiting for a connected socket's bytes in another thread."""
    with suppress(OSError, TypeError):  # closed meanwhile, or not a socket of Python
        socket.shutdown(connected, SHUT_RDWR)  # not SSL's own, which waits for the server


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, blocksize=BLOCK)

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
        if not issubclass(pool.ConnectionCls, _Guarded):
            pool.ConnectionCls = _guarded(pool.ConnectionCls)
        return pool


def redact(text: str, secrets: Iterable[str]) -> str:
    """Return a server's text, printable and truncated, without the words that contain a secret.

    Also without any longer piece of one: in any letter case, or encoded by percent-encoding,
    base64, hexadecimal digits, escapes or character references.
    """
    pieces = _pieces(secrets)
    # Limited, so that a server cannot cause unbounded work.
    shown = "".join(char if char.isprintable() else " " for char in text[: 20 * _SHOWN])
    if pieces:
        shown = _WORD.sub(lambda word: _REMOVED if _holds(word[0], pieces) else word[0], shown)
        if _holds(re.sub(r"\s", "", shown), pieces):
            shown = _REMOVED  # split by spaces or quotes
    return shown[:_SHOWN].strip()


def _pieces(secrets: Iterable[str]) -> frozenset[str]:
    return frozenset(
        secret[start : start + _PIECE].lower()
        for secret in secrets
        if len(secret) >= _SHORTEST
        for start in range(max(1, len(secret) - _PIECE + 1))
    )


def _holds(word: str, pieces: frozenset[str], depth: int = _DEPTH) -> bool:
    lower = word.lower()
    sizes = {len(piece) for piece in pieces}
    for size in sizes:
        if any(lower[at : at + size] in pieces for at in range(len(lower) - size + 1)):
            return True
    if not depth or len(word) < _SHORTEST:
        return False
    return any(_holds(inner, pieces, depth - 1) for inner in _decoded(word) if inner != word)


def _decoded(word: str) -> Iterator[str]:
    yield unquote_plus(word)
    yield html.unescape(word)
    yield _ESCAPE.sub(lambda found: chr(int(found[1] or found[2], 16)), word)
    for run in re.findall(r"[0-9A-Fa-f]{20,}", word):
        for start in (0, 1):
            digits = run[start : start + (len(run) - start) // 2 * 2]
            yield bytes.fromhex(digits).decode("latin-1")
    for run in re.findall(r"[A-Za-z0-9+/_-]{12,}", word):
        plain = run.replace("-", "+").replace("_", "/")
        for start in range(4):  # the encoding may begin anywhere in the run
            rest = plain[start:-1] if (len(plain) - start) % 4 == 1 else plain[start:]
            yield base64.b64decode(rest + "=" * (-len(rest) % 4)).decode("latin-1")
