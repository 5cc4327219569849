"""Web server of this machine for a report or a dashboard."""

from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from colab_drive_tuner.errors import ColabDriveTunerError, UsageError
from colab_drive_tuner.text import visible


def serve(app: WSGIApplication, port: int, notify: Callable[[str], None]) -> None:
    """Serve an application until interrupted, and call `notify` with its address."""
    with server_of(app, port) as server:
        notify(f"http://127.0.0.1:{server.server_port}/")
        server.serve_forever()


def server_of(app: WSGIApplication, port: int) -> WSGIServer:
    """Create a server that only this machine can reach; port 0: any free port."""

    def answer(request: WSGIEnvironment, respond: StartResponse) -> Iterable[bytes]:
        # Protects against DNS rebinding: another site's name may resolve to this address.
        if request.get("HTTP_HOST", "").partition(":")[0] in ("127.0.0.1", "localhost"):
            return app(request, respond)
        return _text(respond, "403 Forbidden", "Open this page as http://localhost.")

    try:
        return make_server("127.0.0.1", port, answer, _Server, _Requests)
    except OSError as error:
        raise UsageError(
            f"Port {port} cannot be used: {error.strerror}. Use --port 0 for any free port."
        ) from error


def page_app(make: Callable[[], str]) -> WSGIApplication:
    """Create an application that serves one page, rendered for each request."""

    def answer(request: WSGIEnvironment, respond: StartResponse) -> Iterable[bytes]:
        if request["PATH_INFO"] != "/":
            return _text(respond, "404 Not Found", "The only page is /.")
        try:
            return _text(respond, "200 OK", make(), "html")
        except ColabDriveTunerError as error:  # such as an outage; the browser retries
            return _text(respond, "503 Service Unavailable", visible(error))

    return answer


def _text(respond: StartResponse, status: str, text: str, kind: str = "plain") -> list[bytes]:
    content = text.encode()
    respond(
        status,
        [
            ("Content-Type", f"text/{kind}; charset=utf-8"),
            ("Content-Length", str(len(content))),
            ("Refresh", "10"),
            ("X-Content-Type-Options", "nosniff"),
        ],
    )
    return [content]


class _Server(ThreadingMixIn, WSGIServer):
    """Threaded server: browsers keep idle connections open, which would block a single thread."""

    daemon_threads = True


class _Requests(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Log nothing to the user's terminal."""
