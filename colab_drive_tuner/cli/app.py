"""The commands; what a command needs is imported when it runs, so that `--help` is quick."""

import itertools
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from colab_drive_tuner.cli import (
    login,
    manage,
    report,
    rerun,
    results,
    schedule,
    troubleshoot,
)
from colab_drive_tuner.cli.arguments import AsJson, Name, complete_name, given_store
from colab_drive_tuner.cli.output import address_printer, echo, echo_json, echo_outcome
from colab_drive_tuner.environment_variables import Variable
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
    help="""Hyperparameter searches that outlive Google Colab runtimes.

    Searches are kept in Google Drive, or in the local folder that --store names.

    Example:
        colab-drive-tuner --store searches status
    """,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for _command in (
    *(results.show, results.trials, results.best, results.compare, results.tail),
    *(report.report, report.dashboard),
    *(manage.list_, manage.rm, manage.rename, manage.copy, manage.move),
    *(manage.restore, rerun.rerun),
    *(login.login, login.logout, login.whoami),
    *(troubleshoot.doctor, troubleshoot.clean, troubleshoot.repair),
):
    app.command(_command.__name__.removesuffix("_"))(_command)
app.add_typer(schedule.schedule_app, name="schedule")


def _show_version(wanted: bool) -> None:
    if wanted:
        echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    store: Annotated[
        str | None,
        typer.Option(
            help="The local folder in which searches are kept. Google Drive without it.",
            envvar=Variable.STORE.value,
        ),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    del debug, version  # read in main(), and done with already
    context.obj = store


@app.command()
def status(
    context: typer.Context,
    name: Annotated[
        str | None,
        typer.Argument(
            help="The name of one search. All searches without it.", autocompletion=complete_name
        ),
    ] = None,
    exit_code: Annotated[
        bool,
        typer.Option(
            "--exit-code",
            help="Tell the state of NAME by the exit code: 0 finished, 75 unfinished, 69 running.",
        ),
    ] = False,
    json: Annotated[
        bool,
        typer.Option("--json", help="Print JSON: a list of all searches, or one object for NAME."),
    ] = False,
    histories: Annotated[
        bool,
        typer.Option("--histories", help="List the histories of NAME that restarts have kept."),
    ] = False,
) -> None:
    """Show the progress, the best loss and the owner of each search.

    Example:
        colab-drive-tuner status
        colab-drive-tuner --store searches status mnist-cnn --json
    """
    from colab_drive_tuner.cli.tables import described, show_running, show_runs, show_searches
    from colab_drive_tuner.errors import UsageError
    from colab_drive_tuner.search.results.read_search import list_searches, read_status

    if exit_code and name is None:
        raise UsageError("--exit-code needs the NAME of one search.")
    if histories and name is None:
        raise UsageError("--histories needs the NAME of one search.")
    store = given_store(context)
    if histories and name:
        from colab_drive_tuner.cli.tables import show_histories
        from colab_drive_tuner.manage.restore_history import list_histories

        restore = store.command("restore", name, "HISTORY")
        show_histories(list_histories(store, name), restore, as_json=json)
        return
    searches = [read_status(store, name)] if name else list_searches(store)
    runs = None
    if name:
        from colab_drive_tuner.rerun.runs import read_runs

        runs = read_runs(store, name)
    if json:
        found = [described(search, runs) for search in searches]
        echo_json(found[0] if name else found)
    else:
        show_searches(searches)
        if name:
            show_running(searches[0].running)
        show_runs(runs or [])
    if exit_code and name:
        from colab_drive_tuner.rerun.exit_code import read_rerun_status

        raise typer.Exit(read_rerun_status(store, name).exit_code)


@app.command()
def export(
    context: typer.Context,
    name: Name,
    file: Annotated[
        Path, typer.Argument(help="The file to write. A name that ends in .csv gets a table.")
    ],
    as_json: AsJson = False,
) -> None:
    """Write the trials of a search to a file: a pickle of hyperopt Trials, or a table.

    Example:
        colab-drive-tuner export mnist-cnn trials.pkl
        colab-drive-tuner export mnist-cnn trials.csv
    """
    from colab_drive_tuner.search.results.exchange.import_export import export_trials

    count = export_trials(given_store(context), name, file)
    facts = {"name": name, "trials": count, "file": str(file)}
    echo_outcome(f"{count} trials of {name!r} are in {file}.", facts, as_json=as_json)


@app.command("import")
def import_(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The name of the new search.")],
    file: Annotated[
        Path,
        typer.Argument(
            help="A pickle of hyperopt Trials, whose code is not run; or a KerasTuner folder."
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Make a new search from a pickle of hyperopt Trials, or from a KerasTuner project.

    Example:
        colab-drive-tuner import mnist-cnn-2 trials.pkl
    """
    from colab_drive_tuner.search.results.exchange.import_export import import_trials

    count = import_trials(given_store(context), name, file)
    facts = {"name": name, "trials": count}
    echo_outcome(f"{count} trials are now in the new search {name!r}.", facts, as_json=as_json)


@app.command()
def emulator(
    port: Annotated[
        int, typer.Option(help="The port. 0 takes a free one.", min=0, max=65535)
    ] = 8085,
    data: Annotated[Path, typer.Option(help="The folder for its files.")] = Path("drive-emulator"),
    token: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TOKEN=ACCOUNT",
            help="An access token and its account. May be given more than once.",
        ),
    ] = None,
    latency: Annotated[float, typer.Option(help="Seconds before each answer.", min=0)] = 0.0,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            metavar="do=KIND,NAME=VALUE",
            help="A fault to inject: do=error,status=503,every=10. May be given more than once.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="The seed of the faults' random choices.")] = 0,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ORIGIN",
            help="A web site whose pages may call the API, such as https://app.example. "
            "May be given more than once.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Serve a local emulator of Google Drive for tests, until interrupted.

    Example:
        colab-drive-tuner emulator --port 8085 --data drive-emulator
    """
    from colab_drive_tuner.emulator import serve
    from colab_drive_tuner.errors import MissingExtraError, UsageError

    try:
        serve(
            port,
            data,
            token or [],
            latency,
            faults=fault or [],
            seed=seed,
            origins=allow_origin or [],
            notify=address_printer("Drive emulator on {}", as_json),
        )
    except ModuleNotFoundError as error:
        raise MissingExtraError(str(error)) from None
    except (ValueError, OSError) as error:
        why = str(error)
        if isinstance(error, OSError) and error.filename is None:  # no file's error: the socket's
            why = error.strerror or why
        raise UsageError(f"The emulator cannot start: {why}.") from error
