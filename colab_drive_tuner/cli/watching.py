"""A page served on loopback, made anew for each request."""

from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from colab_drive_tuner.errors import ColabDriveTunerError, UsageError
from colab_drive_tuner.text import visible


def serve_page(make: Callable[[], str], port: int, notify: Callable[[str], None]) -> None:
    """Serve a page until interrupted.

    Args:
        make: Makes the page.
        port: Its port on this machine; 0: any.
        notify: Called with its address when it is served.

    Raises:
        UsageError: The port cannot be used.
    """
    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), handler(make))
    except OSError as error:
        raise UsageError(
            f"Port {port} cannot be used: {error.strerror}. --port 0 takes a free one."
        ) from error
    with server:
        notify(f"http://127.0.0.1:{server.server_port}/")
        server.serve_forever()


def handler(make: Callable[[], str]) -> type[BaseHTTPRequestHandler]:
    """The handler of requests for the one page."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path != "/":
                self.send_error(404)
                return
            # A name that another site gave this address must not read the page.
            host = self.headers.get("Host", "").rpartition(":")[0]
            if host not in ("127.0.0.1", "localhost"):
                self.send_error(403)
                return
            try:
                content, status, kind = make().encode(), 200, "text/html; charset=utf-8"
            except ColabDriveTunerError as error:  # an outage: the page asks again
                content, status, kind = visible(error).encode(), 503, "text/plain; charset=utf-8"
            self.send_response(status)
            for name, value in (
                ("Content-Type", kind),
                ("Content-Length", str(len(content))),
                ("Refresh", "10"),
                ("X-Content-Type-Options", "nosniff"),
            ):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name there
            """Nothing: the terminal is for what the user asked."""

    return Page
