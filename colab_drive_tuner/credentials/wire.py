"""HTTP sessions that show no secret: not in urllib3's log, nor by http.client's debug level.

The addresses of upload sessions, tokens in headers and refresh tokens in bodies all pass through
here; whoever turns logging on for a bug report must be able to publish it.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

BLOCK = 64 * 1024
"""Bytes of a request body that leave together: 3 kB/s must be possible."""

_LOGGERS = ("urllib3.connectionpool", "urllib3.connection", "urllib3.util.retry")
"""Those that name the address of a request."""

_unlogged: ContextVar[bool] = ContextVar("unlogged", default=False)


def new_session(*, local: bool) -> requests.Session:
    """A session that repeats nothing and has no credentials of its own.

    Args:
        local: Whether it talks to an emulator: this machine's proxies are none of its concern.
    """
    session = requests.Session()
    session.trust_env = not local
    # Keeps requests from replacing our header by a password out of ~/.netrc.
    session.auth = lambda request: request
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Adapter(pool_connections=4, pool_maxsize=64, max_retries=0))
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_may_be_logged)  # adding it again changes nothing
    return session


@contextmanager
def unlogged() -> Iterator[None]:
    """Within the block urllib3 logs nothing of this thread: its address is a secret."""
    before = _unlogged.set(True)
    try:
        yield
    finally:
        _unlogged.reset(before)


def _may_be_logged(_: logging.LogRecord) -> bool:
    return not _unlogged.get()


# http.client prints headers and bodies where its debug level was raised for the whole process.
class _Plain(HTTPConnection):
    debuglevel = 0


class _Secure(HTTPSConnection):
    debuglevel = 0


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _Plain


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _Secure


_POOLS = {"http": _PlainPool, "https": _SecurePool}


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, blocksize=BLOCK)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = _POOLS
        return manager
