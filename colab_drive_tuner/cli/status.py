"""Command that shows the progress and state of searches: status."""

from typing import Annotated

import typer

from colab_drive_tuner.cli.common import complete_name, echo, echo_json, selected_store
from colab_drive_tuner.errors import SearchNotFoundError, UsageError


def status(
    context: typer.Context,
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="Name of a search. Default: all searches.",
            autocompletion=complete_name,
        ),
    ] = None,
    exit_code: Annotated[
        bool,
        typer.Option(
            "--exit-code",
            help="Report the state of NAME as exit code: 0 finished, 75 unfinished, 69 running.",
        ),
    ] = False,
    json: Annotated[
        bool,
        typer.Option("--json", help="Print JSON: a list of searches, or one object for NAME."),
    ] = False,
    histories: Annotated[
        bool,
        typer.Option(
            "--histories",
            help="List the histories of NAME: those kept by restarts, and the current one.",
        ),
    ] = False,
) -> None:
    """Show the progress, best loss, state and owner of searches.

    Example:
        colab-drive-tuner status
        colab-drive-tuner --store searches status mnist-cnn --json
    """
    from colab_drive_tuner.cli import status_tables
    from colab_drive_tuner.manage.restore_history import list_histories
    from colab_drive_tuner.rerun.runs import read_rerun_status, read_runs
    from colab_drive_tuner.search.results.read_search import list_searches, read_status

    store = selected_store(context)
    if name is None:
        if exit_code or histories:
            option = "--exit-code" if exit_code else "--histories"
            raise UsageError(f"{option} needs the NAME of one search.")
        searches = list_searches(store)
        if json:
            echo_json([status_tables.status_json(search) for search in searches])
        else:
            status_tables.show_searches(searches)
        return
    if histories:
        restore = store.command("restore", name, "HISTORY")
        status_tables.show_histories(list_histories(store, name), restore, as_json=json)
        return
    try:
        search = read_status(store, name)
    except SearchNotFoundError:
        runs = read_runs(store, name)
        if not runs or json or exit_code:
            raise
        echo(f"Search {name!r} has not begun.")
        status_tables.show_runs(runs)
        return
    runs = read_runs(store, name)
    if json:
        echo_json(status_tables.status_json(search, runs))
    else:
        status_tables.show_searches([search])
        status_tables.show_running(search.running)
        status_tables.show_runs(runs)
    if exit_code:
        raise typer.Exit(read_rerun_status(store, name).exit_code)
