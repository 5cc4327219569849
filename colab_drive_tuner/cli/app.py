"""The commands; what a command needs is imported when it runs, so that `--help` is quick."""

import itertools
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from colab_drive_tuner.cli import rerunning, scheduling, signing_in, troubleshooting
from colab_drive_tuner.cli.output import echo
from colab_drive_tuner.store.protocol import Store
from colab_drive_tuner.version import __version__


class _SharedOptions(TyperGroup):
    """The commands; `--store` and `--debug` may stand before a command or after it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As click's, which knows them only before the command."""
        shared, own, given = [], [], iter(args)
        for argument in given:
            if argument == "--":
                own += [argument, *given]
            elif argument == "--debug" or argument.startswith("--store="):
                shared.append(argument)
            elif argument == "--store":
                shared += [argument, *itertools.islice(given, 1)]
            else:
                own.append(argument)
        return super().parse_args(ctx, shared + own)


app = typer.Typer(
    cls=_SharedOptions,
    help="Hyperparameter searches that outlive Google Colab runtimes.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
rerunning.register(app)
scheduling.register(app)
signing_in.register(app)
troubleshooting.register(app)
Name = Annotated[str, typer.Argument(help="The search's name.")]


def _say_version(wanted: bool) -> None:
    if wanted:
        echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    store: Annotated[
        str | None,
        typer.Option(help="A local folder, instead of Drive.", envvar="COLAB_DRIVE_TUNER_STORE"),
    ] = None,
    debug: Annotated[bool, typer.Option(help="Show tracebacks.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Say which.")
    ] = False,
) -> None:
    del debug, version  # read in main(), and done with already
    context.obj = store


def _store(context: typer.Context) -> Store:
    from colab_drive_tuner.store import open_store

    return open_store(context.obj)


@app.command()
def status(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="One search; all of them without it.")] = None,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Exit 0 finished, 75 unfinished, 69 held.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="For programs: a list, or with NAME one object.")
    ] = False,
) -> None:
    """Show how far searches are, who holds them, and what was best."""
    from colab_drive_tuner.cli.tables import as_json, show_runs, show_searches
    from colab_drive_tuner.errors import UsageError
    from colab_drive_tuner.search.results.status import list_searches, read_status

    if exit_code and name is None:
        raise UsageError("--exit-code needs the NAME of one search.")
    store = _store(context)
    searches = [read_status(store, name)] if name else list_searches(store)
    runs = None
    if name:
        from colab_drive_tuner.rerun.runs import read_runs

        runs = read_runs(store, name)
    if json:
        echo(as_json(searches, runs))
    else:
        show_searches(searches)
        show_runs(runs or [])
    if exit_code and name:
        from colab_drive_tuner.rerun.outcome import read_verdict

        raise typer.Exit(read_verdict(store, name).outcome)


@app.command()
def export(
    context: typer.Context,
    name: Name,
    file: Annotated[Path, typer.Argument(help="Where it goes: x.pkl, or x.csv for a table.")],
) -> None:
    """Write a search to FILE as a plain pickle of hyperopt Trials, or as a table (.csv)."""
    from colab_drive_tuner.search.results.export import export_trials

    count = export_trials(_store(context), name, file)
    echo(f"{count} trials of {name!r} are in {file}.")


@app.command("import")
def import_(
    context: typer.Context,
    name: Name,
    file: Annotated[Path, typer.Argument(help="The pickle, whoever made it.")],
) -> None:
    """Make a new search from FILE, a plain pickle of hyperopt Trials; no code in it is run."""
    from colab_drive_tuner.search.results.export import import_trials

    count = import_trials(_store(context), name, file)
    echo(f"{count} trials are now in the new search {name!r}.")


@app.command()
def emulator(
    port: Annotated[int, typer.Option(help="0 picks a free one.", min=0, max=65535)] = 8085,
    data: Annotated[Path, typer.Option(help="Where its files live.")] = Path("drive-emulator"),
    token: Annotated[
        list[str] | None, typer.Option(help="TOKEN=ACCOUNT; may be given again.")
    ] = None,
    latency: Annotated[float, typer.Option(help="Seconds before each answer.", min=0)] = 0.0,
    fault: Annotated[
        list[str] | None, typer.Option(help="do=KIND,NAME=VALUE; may be given again.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the faults' random choices.")] = 0,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ORIGIN",
            help="Web pages of other sites that may call the API, such as https://app.example.",
        ),
    ] = None,
) -> None:
    """Serve a local Drive for tests, on loopback, until interrupted."""
    from colab_drive_tuner.emulator import serve
    from colab_drive_tuner.errors import UsageError

    try:
        serve(
            port,
            data,
            token or [],
            latency,
            faults=fault or [],
            seed=seed,
            origins=allow_origin or [],
        )
    except (ValueError, OSError) as error:
        why = str(error)
        if isinstance(error, OSError) and error.filename is None:  # no file's error: the socket's
            why = f"port {port}: {error.strerror or error} (--port 0 takes a free one)"
        raise UsageError(f"The emulator cannot start: {why}.") from error
