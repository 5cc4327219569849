"""Commands that show a search in a browser: report, dashboard."""

from pathlib import Path
from typing import Annotated

import typer

from colab_drive_tuner.cli.common import (
    AsJson,
    Name,
    Port,
    address_printer,
    echo_result,
    selected_store,
)
from colab_drive_tuner.errors import UsageError, optional_import


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
    port: Port = 0,
    as_json: AsJson = False,
) -> None:
    """Write an HTML report of a search: charts, parameters and all trials. It opens offline.

    Example:
        colab-drive-tuner report mnist-cnn -o report.html
    """
    from colab_drive_tuner.search.results.report_page import search_report, write_report

    store = selected_store(context)
    if watch and output:
        raise UsageError("--watch serves the report and writes no file: leave out --output.")
    if watch:
        from colab_drive_tuner.cli.page_server import page_app, serve

        search_report(store, name)  # raises here, rather than in the browser
        notify = address_printer("{} serves the report; press Ctrl-C to stop.", as_json)
        serve(page_app(lambda: search_report(store, name)), port, notify)
        return
    target = output or Path(f"{name}.html")
    write_report(target, search_report(store, name))
    facts = {"name": name, "file": str(target)}
    echo_result(f"Wrote the report of search {name!r} to {target}.", facts, as_json=as_json)


def dashboard(
    context: typer.Context,
    name: Name,
    port: Port = 8080,
    as_json: AsJson = False,
) -> None:
    """Serve optuna-dashboard for a copy of a search or study in memory. Needs extra `dashboard`.

    Example:
        colab-drive-tuner dashboard mnist-cnn --port 8081
    """
    from colab_drive_tuner.cli.page_server import serve
    from colab_drive_tuner.search.results.exchange.to_optuna import storage_in_memory

    storage = storage_in_memory(selected_store(context), name)
    with optional_import(
        "optuna-dashboard is not installed: pip install 'colab-drive-tuner[dashboard]'."
    ):
        from optuna_dashboard import wsgi
    serve(
        wsgi(storage),
        port,
        address_printer("{} serves the dashboard; press Ctrl-C to stop.", as_json),
    )
