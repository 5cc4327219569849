"""The typer application. Commands import what they need when they run, so that `--help` is fast."""

import itertools
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
    status,
    troubleshoot,
)
from colab_drive_tuner.cli.common import echo
from colab_drive_tuner.environment_variables import Variable
from colab_drive_tuner.store import list_forms
from colab_drive_tuner.version import __version__


class _SharedOptions(TyperGroup):
    """Command group that accepts `--store` and `--debug` before and after the command's name."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Move the shared options before the command, where click expects them."""
        shared, own, remaining = [], [], iter(args)
        for argument in remaining:
            if argument == "--":
                own += [argument, *remaining]
            elif argument == "--debug" or argument.startswith("--store="):
                shared.append(argument)
            elif argument == "--store":
                value = list(itertools.islice(remaining, 1))
                if not value and not ctx.resilient_parsing:  # shell completion asks for one
                    ctx.fail("Option '--store' requires an argument.")
                shared += [argument, *value]
            else:
                own.append(argument)
        return super().parse_args(ctx, shared + own)


app = typer.Typer(
    cls=_SharedOptions,
    help="""Hyperparameter searches that outlive Google Colab runtimes.

    Searches are kept in Google Drive, or in a store given by --store, such as a local folder.

    Example:
        colab-drive-tuner --store searches status
    """,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)


def _show_version(requested: bool) -> None:
    if requested:
        echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    store: Annotated[
        str | None,
        typer.Option(
            help=f"Store that holds the searches: {list_forms()}. Default: Google Drive.",
            envvar=Variable.STORE.value,
        ),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    del debug, version  # handled by main() and _show_version()
    context.obj = store


for _panel, _commands in {
    "Look at searches": (
        *(status.status, manage.list_, results.show, results.trials, results.best, results.compare),
        *(results.tail, report.report, report.dashboard),
    ),
    "Manage searches": (
        *(manage.rm, manage.rename, manage.copy, manage.move, manage.restore),
        *(manage.export, manage.import_),
    ),
    "Run unattended": (rerun.rerun,),
    "Sign in to Google Drive": (login.login, login.logout, login.whoami),
    "Troubleshoot and test": (
        *(troubleshoot.doctor, troubleshoot.clean, troubleshoot.repair, troubleshoot.emulator),
    ),
}.items():
    for _command in _commands:
        app.command(_command.__name__.removesuffix("_"), rich_help_panel=_panel)(_command)
app.add_typer(schedule.schedule_app, name="schedule", rich_help_panel="Run unattended")
