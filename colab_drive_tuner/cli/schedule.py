"""Commands that manage scheduled reruns: schedule add, list, remove, release."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from colab_drive_tuner.cli.common import AsJson, Name, echo, echo_json, echo_result
from colab_drive_tuner.cli.rerun import (
    Program,
    Project,
    Region,
    RunOptions,
    Search,
    with_run_options,
)
from colab_drive_tuner.errors import ColabDriveTunerError, UsageError
from colab_drive_tuner.rerun.schedulers import NAMES
from colab_drive_tuner.text import visible

schedule_app = typer.Typer(
    no_args_is_help=True,
    help="""Rerun a search at intervals until it is finished.

    Example:
        colab-drive-tuner schedule list
    """,
)


@schedule_app.command()
@with_run_options
def add(
    context: typer.Context,
    program: Program,
    search: Search,
    options: RunOptions,
    with_: Annotated[
        str,
        typer.Option(
            "--with",
            help=f"Scheduler: {', '.join(NAMES)}.",
            autocompletion=lambda: list(NAMES),
        ),
    ] = "cron",
    every: Annotated[
        str, typer.Option(help="Interval: 15m, 2h, 1d, or cron's five fields.")
    ] = "30m",
    print_: Annotated[
        bool, typer.Option("--print", help="Print the schedule without installing it.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Print and install a schedule that calls `rerun` with these options.

    Example:
        colab-drive-tuner schedule add train.ipynb --search mnist-cnn --every 30m
        colab-drive-tuner schedule add train.ipynb --search mnist-cnn --with systemd
    """
    from colab_drive_tuner.journal.folder.properties import check_name
    from colab_drive_tuner.rerun.enterprise import EnterpriseRunner, EnterpriseSchedule
    from colab_drive_tuner.rerun.program import RunTask, load_program
    from colab_drive_tuner.rerun.runners.local import LocalRunner
    from colab_drive_tuner.rerun.schedulers import find_scheduler
    from colab_drive_tuner.rerun.schedulers.plan import Plan, parse_interval
    from colab_drive_tuner.rerun.stopping import StopSignals
    from colab_drive_tuner.search.spec.arguments import parse_duration
    from colab_drive_tuner.store import absolute_spec

    check_name(search)
    max_seconds = parse_duration(options.max_time)
    store = absolute_spec(context.obj) if context.obj else None
    plan = Plan(search, program, parse_interval(every), options.arguments(), store)

    runner = options.runner(with_ if with_ == "enterprise" else options.on)
    loaded = load_program(program)
    if isinstance(runner, LocalRunner) and with_ != "github" and not print_:
        runner.check(RunTask(loaded, search, Path(), StopSignals()))
    if with_ == "enterprise" and isinstance(runner, EnterpriseRunner):
        schedule = EnterpriseSchedule(plan, runner, loaded, max_seconds)
        text, install = schedule.text(), schedule.install
    else:
        scheduler = find_scheduler(with_)
        text, install = scheduler.text(plan), partial(scheduler.install, plan)
    if not as_json:
        typer.echo(text)
    installed = None if print_ else install()
    facts = {"search": search, "scheduler": with_, "when": plan.cron, "text": text}
    if as_json or installed:
        echo_result(installed, facts | {"installed": installed}, as_json=as_json)


@schedule_app.command("list")
def list_(project: Project = None, region: Region = "us-central1", as_json: AsJson = False) -> None:
    """List the schedules of this machine and of the repository in the working directory.

    With --project, also list those of Colab Enterprise.

    Example:
        colab-drive-tuner schedule list
    """
    from colab_drive_tuner.rerun import enterprise, schedulers

    listed, problem = schedulers.installed()
    found = [(of.search, name, of.when, of.store) for name, of in listed]
    if project:
        try:
            more = enterprise.installed(enterprise.Vertex(project, region))
            found += [(search, "enterprise", when, None) for search, when in more]
        except ColabDriveTunerError as error:
            problem = error
    if as_json:
        keys = ("search", "scheduler", "when", "store")
        echo_json([dict(zip(keys, schedule, strict=True)) for schedule in found])
    else:
        for schedule in found:
            typer.echo("\t".join(visible(field) for field in schedule if field is not None))
        if not found and not problem:
            echo("There are no schedules.")
    if problem:
        raise problem


@schedule_app.command()
def remove(
    context: typer.Context,
    search: Name,
    project: Project = None,
    region: Region = "us-central1",
    as_json: AsJson = False,
) -> None:
    """Remove the schedules of a search from this machine and the repository in this directory.

    Without --store, those of its name in every store. With --project, also remove them from Colab
    Enterprise.

    Example:
        colab-drive-tuner schedule remove mnist-cnn
    """
    from colab_drive_tuner.rerun import enterprise, schedulers
    from colab_drive_tuner.store import absolute_spec

    store = absolute_spec(context.obj) if context.obj else None
    removed, problem = schedulers.remove(search, store)
    try:
        if project and enterprise.remove(enterprise.Vertex(project, region), search):
            removed.append("enterprise")
    except ColabDriveTunerError as error:
        problem = error
    if not removed and not problem:
        of = f"{search!r} of {store}" if store else repr(search)
        raise UsageError(f"Search {of} has no schedule: `schedule list` shows all schedules.")
    if removed:
        text = f"Removed the schedule of {search!r} from {', '.join(removed)}."
        echo_result(text, {"search": search, "removed_from": removed}, as_json=as_json)
    if problem:
        raise problem


@schedule_app.command()
def release(as_json: AsJson = False) -> None:
    """Release the Colab runtimes that killed runs of this machine left behind.

    The stop hooks of schedulers call this command.

    Example:
        colab-drive-tuner schedule release
    """
    from colab_drive_tuner.rerun.runners.colab import release_abandoned

    released = release_abandoned()
    if as_json:
        echo_json(released)
        return
    for session in released:
        echo(f"Released {session}.")
