"""Commands that show a search in a browser: report, dashboard."""

from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Annotated, Any

import typer

from colab_drive_tuner.cli.arguments import AsJson, Name, given_store
from colab_drive_tuner.cli.output import address_printer, echo_outcome
from colab_drive_tuner.errors import ColabDriveTunerError, UsageError
from colab_drive_tuner.text import visible


def report(
    context: typer.Context,
    name: Name,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file. NAME.html without it.")
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Serve the page on this machine, always up to date.")
    ] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of --watch; 0: any.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Write a search as one HTML page that opens offline: pictures, parameters, all trials.

    Example:
        colab-drive-tuner report mnist-cnn -o report.html
    """
    from colab_drive_tuner.search.results.exchange.export import write_file
    from colab_drive_tuner.search.results.page import page_of

    store = given_store(context)
    if watch:
        page_of(store, name)  # what is wrong with the search is said here, not in the browser
        notify = address_printer("{} shows the search; Ctrl-C ends it.", as_json)
        _serve(lambda: page_of(store, name, refresh=10), port, notify)
        return
    target = output or Path(f"{name}.html")
    write_file(target, page_of(store, name).encode())
    facts = {"name": name, "file": str(target)}
    echo_outcome(f"{target} shows search {name!r}.", facts, as_json=as_json)


def dashboard(
    context: typer.Context,
    name: Name,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on this machine.")] = 8080,
    as_json: AsJson = False,
) -> None:
    """Open optuna-dashboard on a search or study, from memory; needs the extra `dashboard`.

    Example:
        colab-drive-tuner dashboard mnist-cnn --port 8081
    """
    from colab_drive_tuner.search.results.exchange.to_optuna import study_in_store
    from colab_drive_tuner.studies import serve_dashboard

    study = study_in_store(given_store(context), name)
    serve_dashboard(study, port, address_printer("{} shows it; Ctrl-C ends it.", as_json))


def _serve(make: Callable[[], str], port: int, notify: Callable[[str], None]) -> None:
    """Serve a page until interrupted, on a port of this machine (0: any); `notify` its address."""
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
