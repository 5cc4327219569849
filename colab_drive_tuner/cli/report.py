"""Commands that show a search in a browser: report, dashboard."""

from collections.abc import Callable, Iterable
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Annotated, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

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
    from colab_drive_tuner.search.results.exchange.import_export import write_file
    from colab_drive_tuner.search.results.report_page import search_report

    store = given_store(context)
    if watch:
        search_report(store, name)  # what is wrong with the search is said here, not in the browser
        notify = address_printer("{} shows the search; Ctrl-C ends it.", as_json)
        _serve(page_app(lambda: search_report(store, name, refresh=10)), port, notify)
        return
    target = output or Path(f"{name}.html")
    write_file(target, search_report(store, name).encode())
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
    from colab_drive_tuner.optuna_backend import dashboard_app
    from colab_drive_tuner.search.results.exchange.to_optuna import study_in_store

    app = dashboard_app(study_in_store(given_store(context), name))
    _serve(app, port, address_printer("{} shows it; Ctrl-C ends it.", as_json))


def _serve(app: WSGIApplication, port: int, notify: Callable[[str], None]) -> None:
    """Serve an application until interrupted; `notify` its address."""
    with server_of(app, port) as server:
        notify(f"http://127.0.0.1:{server.server_port}/")
        server.serve_forever()


def server_of(app: WSGIApplication, port: int) -> WSGIServer:
    """A server for this machine alone, on a port of it (0: any)."""

    def answer(request: WSGIEnvironment, respond: StartResponse) -> Iterable[bytes]:
        # A name that another site gave this address must not read the page.
        if request.get("HTTP_HOST", "").partition(":")[0] in ("127.0.0.1", "localhost"):
            return app(request, respond)
        return _text(respond, "403 Forbidden", "Ask for it as localhost.")

    try:
        return make_server("127.0.0.1", port, answer, _Server, _Requests)
    except OSError as error:
        raise UsageError(
            f"Port {port} cannot be used: {error.strerror}. --port 0 takes a free one."
        ) from error


def page_app(make: Callable[[], str]) -> WSGIApplication:
    """An application of one page, which is made anew for each request."""

    def answer(request: WSGIEnvironment, respond: StartResponse) -> Iterable[bytes]:
        if request["PATH_INFO"] != "/":
            return _text(respond, "404 Not Found", "There is one page: /")
        try:
            return _text(respond, "200 OK", make(), "html")
        except ColabDriveTunerError as error:  # an outage: the page asks again
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
    """Several requests at once: browsers hold connections open that they do not use."""

    daemon_threads = True


class _Requests(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name there
        """Nothing: the terminal is for what the user asked."""
