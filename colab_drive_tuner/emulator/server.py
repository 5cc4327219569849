"""The emulator in the foreground: its socket, its HTTP server, and the end by a signal."""

import contextlib
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .front.browser_origins import parse_origin
from .state.tokens import parse_grant

DEFAULT_TOKENS = ("emulator=owner@example.com",)
STOP_SECONDS = 2
"""Seconds after which uvicorn cancels the requests that are left, with a traceback of each."""


def make_server(service: Any, latency: float, origins: Collection[str]) -> Any:
    """Return a uvicorn server whose requests can reach their connection, for faults to break."""
    import uvicorn
    from uvicorn.protocols.http.h11_impl import H11Protocol

    from .front.app import App

    class Protocol(H11Protocol):
        def connection_made(self, transport: Any) -> None:
            self.app_state = {**self.app_state, "transport": transport}
            super().connection_made(transport)

    class Server(uvicorn.Server):
        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            app.release(seconds=STOP_SECONDS / 2)
            await super().shutdown(sockets)

    app = App(service, latency, origins)
    config = uvicorn.Config(
        app,
        http=Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        date_header=False,
        server_header=False,
        h11_max_incomplete_event_size=4 * 2**20,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    return Server(config)


def listen(port: int) -> socket.socket:
    """Return a listening socket on the loopback interface; port 0 chooses a free port."""
    # asyncio disables Nagle's algorithm only on sockets that name the protocol.
    found = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(("127.0.0.1", port))
        found.listen(512)
    except OverflowError:
        found.close()
        raise ValueError(f"the port must be 0 to 65535, not {port}") from None
    except OSError as error:
        found.close()
        reason = f"port {port}: {error.strerror or error} (port 0 chooses a free port)"
        raise OSError(error.errno, reason) from None
    return found


def require_packages() -> None:
    """Raise `ModuleNotFoundError`, which names the extra to install, if a package is missing."""
    for package in ("starlette", "uvicorn"):
        if find_spec(package) is None:
            raise ModuleNotFoundError(
                f"The emulator needs {package}: pip install 'colab-drive-tuner[emulator]'.",
                name=package,
            )


def _print_ready(url: str) -> None:
    sys.stdout.write(f"Drive emulator on {url}\n")
    sys.stdout.flush()


def check_latency(latency: float) -> None:
    """Raise ValueError for a latency that is no duration."""
    if not 0 <= latency < float("inf"):
        raise ValueError(f"the latency must be 0 or more seconds, not {latency:g}")


@contextlib.contextmanager
def _exit_on_termination() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into an exit that cleans up; only the main thread can."""
    known = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    if threading.current_thread() is not threading.main_thread():
        known = []
    # Not those that the caller handles, or nohup ignores.
    ours = [one for one in known if signal.getsignal(one) is signal.SIG_DFL]
    for one in ours:
        signal.signal(one, _exit)
    try:
        yield
    finally:
        for one in ours:
            signal.signal(one, signal.SIG_DFL)


def _exit(number: int, _: object) -> None:
    sys.exit(128 + number)


def serve(
    port: int = 0,
    data: str | Path | None = None,
    tokens: Sequence[str] = (),
    latency: float = 0.0,
    *,
    faults: Sequence[str] = (),
    seed: int = 0,
    origins: Sequence[str] = (),
    notify: Callable[[str], None] = _print_ready,
) -> None:
    """Serve until interrupted.

    Args:
        port: The port; 0 chooses a free one.
        data: The folder that keeps all data; None: a temporary folder.
        tokens: `TOKEN=ACCOUNT[,client=ID][,scopes=SCOPE+SCOPE]`; by default the token `emulator`
            belongs to owner@example.com.
        latency: Seconds to wait before each request is processed.
        faults: Fault rules, `do=KIND,NAME=VALUE,...`.
        seed: Seed of the faults' random choices.
        origins: Origins of other sites' web pages that may call the API; pages of this machine may.
        notify: Called with the URL when ready; by default one line with it is printed.

    Raises:
        ValueError: A token, fault or origin cannot be parsed, the port or latency is out of range,
            or the data folder cannot be used.
    """
    require_packages()
    from .dispatch import Service
    from .faults import parse_rule

    check_latency(latency)
    grants = dict(map(parse_grant, tokens or DEFAULT_TOKENS))
    rules = [parse_rule(text) for text in faults]
    allowed = [parse_origin(text) for text in origins]
    with contextlib.ExitStack() as stack:
        stack.enter_context(_exit_on_termination())
        if data is None:
            data = stack.enter_context(tempfile.TemporaryDirectory(prefix="drive-emulator-"))
        service = Service(Path(data), grants, seed)
        stack.callback(service.close)
        for rule in rules:
            service.faults.add(service.database.clock.now(), **rule)
        listening = stack.enter_context(listen(port))
        notify(f"http://127.0.0.1:{listening.getsockname()[1]}")
        server = make_server(service, latency, allowed)
        with contextlib.suppress(KeyboardInterrupt):
            server.run(sockets=[listening])
