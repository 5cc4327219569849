"""Commands for troubleshooting: `doctor` checks, `clean` tidies up, `repair` rebuilds a search."""

from typing import Annotated

import typer

from colab_drive_tuner.cli.arguments import AsJson, Name, selected_store
from colab_drive_tuner.cli.output import echo, echo_json, echo_result


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

    found = find_leftovers(store=context.obj)
    kept_at = remove(found, yes=yes, named=named or ())
    if not as_json:
        echo(describe(found, kept_at))
        return
    fields = ("kind", "id", "where", "reason", "ours", "refused")
    listed = [
        {name: getattr(leftover, name) for name in fields} | {"moved_to": kept_at.get(leftover.id)}
        for leftover in found
    ]
    echo_json(listed)


def repair(context: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """Rebuild a damaged search in a new folder, from all of its data that can be read.

    Example:
        colab-drive-tuner repair mnist-cnn
    """
    from dataclasses import asdict

    from colab_drive_tuner.troubleshoot.repair.repair import repair as rebuild

    repaired = rebuild(selected_store(context), name)
    echo_result(repaired, asdict(repaired), as_json=as_json)
