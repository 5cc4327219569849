"""For when something is wrong: `doctor` looks, `clean` tidies up, `repair` rebuilds."""

from typing import Annotated

import typer

from colab_drive_tuner.cli.output import echo
from colab_drive_tuner.cli.search_names import Name


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command()(doctor)
    app.command()(clean)
    app.command()(repair)


def doctor(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check the sign-in, Drive, this machine and every search; exit 1 if there is a problem.

    Example:
        colab-drive-tuner doctor
    """
    from dataclasses import asdict
    from json import dumps

    from colab_drive_tuner.troubleshoot.doctor import Level, examine

    findings = []
    for finding in examine(context.obj):
        findings.append(finding)
        if not as_json:
            echo(finding)
    if as_json:
        echo(dumps([asdict(finding) for finding in findings], indent=1))
    raise typer.Exit(any(finding.level == Level.PROBLEM for finding in findings))


def clean(
    context: typer.Context,
    named: Annotated[
        list[str] | None, typer.Argument(help="Ids or paths of listed items to remove too.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Remove them.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List stale copies and leftovers; with --yes put those of this package into the trash.

    Example:
        colab-drive-tuner clean
        colab-drive-tuner clean --yes
    """
    from json import dumps

    from colab_drive_tuner.troubleshoot.clean import describe, find_leftovers, remove

    found = find_leftovers(store=context.obj)
    removed = remove(found, yes=yes, named=named or ())
    if not as_json:
        echo(describe(found, removed))
        return
    kept_at = {one.leftover.id: one.kept_at for one in removed}
    fields = ("kind", "id", "where", "reason", "ours", "refused")
    listed = [
        {name: getattr(leftover, name) for name in fields} | {"moved_to": kept_at.get(leftover.id)}
        for leftover in found
    ]
    echo(dumps(listed, indent=2))


def repair(context: typer.Context, name: Name) -> None:
    """Rebuild a damaged search, in a new folder, from whatever of it can be read.

    Example:
        colab-drive-tuner repair mnist-cnn
    """
    from colab_drive_tuner.store import open_store
    from colab_drive_tuner.troubleshoot.repair.repair import repair as rebuild

    echo(rebuild(open_store(context.obj), name))
