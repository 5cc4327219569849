"""Commands for troubleshooting and tests: doctor, clean, repair, emulator."""

import warnings
from pathlib import Path
from typing import Annotated

import typer

from colab_drive_tuner.cli.common import (
    AsJson,
    Name,
    Port,
    address_printer,
    echo,
    echo_json,
    echo_result,
    selected_store,
)
from colab_drive_tuner.errors import MissingExtraError, NotebookWarning, UsageError


def doctor(context: typer.Context, as_json: AsJson = False) -> None:
    """Check the sign-in, Drive, this machine and every search. Exit code 1 means a problem.

    Example:
        colab-drive-tuner doctor
    """
    from dataclasses import asdict

    from colab_drive_tuner.troubleshoot.doctor import Level, examine

    findings = []
    for finding in examine(context.obj):
        findings.append(finding)
        if not as_json:
            echo(finding)
    if as_json:
        echo_json([asdict(finding) for finding in findings])
    raise typer.Exit(any(finding.level == Level.PROBLEM for finding in findings))


def clean(
    context: typer.Context,
    named: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="ITEMS", help="Ids or paths of listed items that --yes removes in addition."
        ),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Remove the listed items that this package created.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List leftovers of earlier runs, such as stale copies; with --yes, move them to the trash.

    Example:
        colab-drive-tuner clean
        colab-drive-tuner clean --yes
    """
    from colab_drive_tuner.troubleshoot.clean import describe, find_leftovers, remove

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always", NotebookWarning)
        found = find_leftovers(store=context.obj)
    # Others are of libraries, such as of requests about the version of another one.
    unlisted = any(issubclass(warning.category, NotebookWarning) for warning in warned)
    kept_at = remove(found, yes=yes, named=named or ())
    if as_json:
        fields = ("kind", "id", "where", "reason", "ours", "refused")
        listed = [
            {name: getattr(one, name) for name in fields} | {"moved_to": kept_at.get(one.id)}
            for one in found
        ]
        echo_json(listed)
    elif found or not unlisted:
        echo(describe(found, kept_at))
    for warning in warned:
        echo(f"colab-drive-tuner: {warning.message}", err=True)
    if unlisted:
        raise typer.Exit(1)


def repair(context: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """Rebuild a damaged search in a new folder, from all of its data that can be read.

    Example:
        colab-drive-tuner repair mnist-cnn
    """
    from dataclasses import asdict

    from colab_drive_tuner.troubleshoot.repair.repair import repair as rebuild

    repaired = rebuild(selected_store(context), name)
    echo_result(repaired, asdict(repaired), as_json=as_json)


def emulator(
    port: Port = 8085,
    data: Annotated[Path, typer.Option(help="Folder for the emulator's files.")] = Path(
        "drive-emulator"
    ),
    token: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TOKEN=ACCOUNT",
            help="Access token and its account. May be given more than once.",
        ),
    ] = None,
    latency: Annotated[float, typer.Option(help="Delay of each answer, in seconds.", min=0)] = 0.0,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            metavar="do=KIND,NAME=VALUE",
            help="Fault to inject, such as do=error,status=503,every=10. "
            "May be given more than once.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed for the random choices of faults.")] = 0,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ORIGIN",
            help="Web site whose pages may call the API, such as https://app.example. "
            "May be given more than once.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run a local emulator of Google Drive for tests, until interrupted.

    Example:
        colab-drive-tuner emulator --port 8085 --data drive-emulator
    """
    from colab_drive_tuner.emulator import serve

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
        reason = str(error)
        if isinstance(error, OSError) and error.filename is None:  # an error of the socket
            reason = error.strerror or reason
        raise UsageError(f"The emulator cannot start: {reason}.") from error
