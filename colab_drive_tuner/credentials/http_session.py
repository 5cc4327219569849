"""HTTP sessions that show no secret: not in urllib3's log, nor by http.client's debug level.

The addresses of upload sessions, tokens in headers and refresh tokens in bodies all pass through
here; whoever turns logging on for a bug report must be able to publish it.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connectionpool import HTTPConnectionPool

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
    guard(session)
    return session


def guard(session: requests.Session) -> None:
    """Have a session show no secret and repeat nothing."""
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Adapter(pool_connections=4, pool_maxsize=64, max_retries=0))
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_may_be_logged)  # adding it again changes nothing


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


@cache
def _silent(pool: type[HTTPConnectionPool]) -> type[HTTPConnectionPool]:
    """The pool, of connections that ignore a debug level that was raised for the whole process.

    http.client would print headers and bodies then.
    """
    connection = type(pool.ConnectionCls.__name__, (pool.ConnectionCls,), {"debuglevel": 0})
    return type(pool.__name__, (pool,), {"ConnectionCls": connection})


def _silence(manager: Any) -> Any:
    pools = manager.pool_classes_by_scheme
    manager.pool_classes_by_scheme = {scheme: _silent(pool) for scheme, pool in pools.items()}
    return manager


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, blocksize=BLOCK)
        _silence(self.poolmanager)

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        known = len(self.proxy_manager)
        manager = super().proxy_manager_for(*args, **kwargs)
        return _silence(manager) if len(self.proxy_manager) > known else manager
