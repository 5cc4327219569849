"""Commands that show a search in a browser: report, dashboard."""

from collections.abc import Callable, Iterable
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Annotated, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import typer

from colab_drive_tuner.cli.common import AsJson, Name, address_printer, echo_result, selected_store
from colab_drive_tuner.errors import ColabDriveTunerError, UsageError, optional_import
from colab_drive_tuner.text import visible


def report(
    context: typer.Context,
    name: Name,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write. Default: NAME.html.")
    ] = None,
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Serve the page on this machine, and keep it up to date."),
    ] = False,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port for --watch. 0: any free port.")
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Write an HTML report of a search: charts, parameters and all trials. It opens offline.

    Example:
        colab-drive-tuner report mnist-cnn -o report.html
    """
    from colab_drive_tuner.search.results.report_page import search_report, write_report

    store = selected_store(context)
    if watch:
        search_report(store, name)  # raises here, rather than in the browser
        notify = address_printer("{} serves the report; press Ctrl-C to stop.", as_json)
        _serve(page_app(lambda: search_report(store, name, refresh=10)), port, notify)
        return
    target = output or Path(f"{name}.html")
    write_report(target, search_report(store, name))
    facts = {"name": name, "file": str(target)}
    echo_result(f"Wrote the report of search {name!r} to {target}.", facts, as_json=as_json)


def dashboard(
    context: typer.Context,
    name: Name,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port on this machine. 0: any free port.")
    ] = 8080,
    as_json: AsJson = False,
) -> None:
    """Serve optuna-dashboard for a copy of a search or study in memory. Needs extra `dashboard`.

    Example:
        colab-drive-tuner dashboard mnist-cnn --port 8081
    """
    from colab_drive_tuner.search.results.exchange.to_optuna import storage_in_memory

    storage = storage_in_memory(selected_store(context), name)
    with optional_import(
        "optuna-dashboard is not installed: pip install 'colab-drive-tuner[dashboard]'."
    ):
        from optuna_dashboard import wsgi
    _serve(
        wsgi(storage),
        port,
        address_printer("{} serves the dashboard; press Ctrl-C to stop.", as_json),
    )


def _serve(app: WSGIApplication, port: int, notify: Callable[[str], None]) -> None:
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
