"""The commands that bring a search to its end by themselves: `rerun` once, `schedule` for ever."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from colab_drive_tuner.errors import UsageError

if TYPE_CHECKING:
    from colab_drive_tuner.rerun import Run
    from colab_drive_tuner.rerun.enterprise import EnterprisePlace
    from colab_drive_tuner.rerun.place import Place
    from colab_drive_tuner.rerun.plan import Plan
    from colab_drive_tuner.store.protocol import Store

Program = Annotated[
    str,
    typer.Argument(help="The notebook or script, or a notebook in Drive: drive://Folder/x.ipynb."),
]
Search = Annotated[str, typer.Option(help="The search that it works on.")]
On = Annotated[str, typer.Option(help="Where it runs: local, colab or enterprise.")]
Gpu = Annotated[str | None, typer.Option(help="T4, L4, A100, ... (colab and enterprise).")]
Folder = Annotated[
    str | None, typer.Option(help="The folder of Drive, where setup() is given another one.")
]
Install = Annotated[
    str | None, typer.Option(help="What pip installs on the runtime, instead of this version.")
]
MaxTime = Annotated[str | None, typer.Option(help="How long one run may take: 11h30m.")]
GiveUp = Annotated[
    int, typer.Option(help="Runs without a new trial after which nothing is started; 0: never.")
]
Project = Annotated[str | None, typer.Option(help="enterprise: the project.")]
Region = Annotated[str, typer.Option(help="enterprise: the region.")]
Bucket = Annotated[str | None, typer.Option(help="enterprise: gs://..., for executed notebooks.")]
Account = Annotated[str | None, typer.Option(help="enterprise: the service account to run as.")]
User = Annotated[str | None, typer.Option(help="enterprise: the person to run as.")]
_WAYS = ("cron", "systemd", "github")

schedule_app = typer.Typer(
    no_args_is_help=True, help="Have a search rerun every so often, until it is finished."
)


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(rerun)
    app.add_typer(schedule_app, name="schedule")


def rerun(
    context: typer.Context,
    program: Program,
    search: Search,
    on: On = "local",
    gpu: Gpu = None,
    folder: Folder = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option(
            "-p", "--parameter", help="NAME=VALUE for papermill (local); may be repeated."
        ),
    ] = None,
    max_time: MaxTime = None,
    loop: Annotated[bool, typer.Option("--loop", help="Go on until it is finished.")] = False,
    give_up_after: GiveUp = 3,
    install: Install = None,
    project: Project = None,
    region: Region = "us-central1",
    bucket: Bucket = None,
    service_account: Account = None,
    user: User = None,
    scheduled: Annotated[bool, typer.Option("--scheduled", hidden=True)] = False,
) -> None:
    """Run a notebook or script once more if its search is unfinished; safe to run twice.

    Exits 0 (finished, now or before), 75 (more to do), 69 (another runtime is at it), 1 (failed).
    """
    from colab_drive_tuner.rerun import Outcome, Rerunner, rerun_until_finished
    from colab_drive_tuner.rerun.stopping import StoppedError
    from colab_drive_tuner.search.resume import parse_duration

    place = _place(
        on, gpu=gpu, install=install, parameters=parameter or [], project=project, region=region,
        bucket=bucket, service_account=service_account, user=user,
    )  # fmt: skip
    rerunner = Rerunner(
        store=_store(context, folder, on),
        program=program,
        search=search,
        place=place,
        max_seconds=parse_duration(max_time),
        give_up_after=give_up_after,
        say=typer.echo,
    )
    try:
        verdict = rerun_until_finished(rerunner) if loop else rerunner.once()
    except StoppedError as stopped:
        typer.echo(f"colab-drive-tuner: {stopped}", err=True)
        raise typer.Exit(128 + stopped.signum) from None
    failed = verdict.outcome is Outcome.FAILED
    typer.echo(verdict.words, err=failed)
    if scheduled and verdict.outcome is Outcome.FINISHED:
        typer.echo(f"To remove its schedule: colab-drive-tuner schedule remove {search!r}")
    raise typer.Exit(verdict.outcome)


@schedule_app.command("add")
def schedule_add(
    context: typer.Context,
    program: Program,
    search: Search,
    with_: Annotated[
        str, typer.Option("--with", help="cron, systemd, github or enterprise.")
    ] = "cron",
    every: Annotated[str, typer.Option(help="15m, 2h, 1d, or five fields of cron.")] = "30m",
    print_: Annotated[
        bool, typer.Option("--print", help="Show what would be installed, and do nothing.")
    ] = False,
    on: On = "local",
    gpu: Gpu = None,
    folder: Folder = None,
    max_time: MaxTime = None,
    give_up_after: GiveUp = 3,
    install: Install = None,
    project: Project = None,
    region: Region = "us-central1",
    bucket: Bucket = None,
    service_account: Account = None,
    user: User = None,
) -> None:
    """Show a schedule, then install it: `rerun` every so often, with the same options."""
    from colab_drive_tuner.rerun.plan import Plan, parse_every
    from colab_drive_tuner.search.resume import parse_duration

    parse_duration(max_time)
    place = _place(
        "enterprise" if with_ == "enterprise" else on, gpu=gpu, install=install, parameters=[],
        project=project, region=region, bucket=bucket, service_account=service_account, user=user,
    )  # fmt: skip
    given = {
        "--on": on if on != "local" else None, "--gpu": gpu, "--folder": folder,
        "--install": install,
        "--max-time": max_time, "--project": project, "--bucket": bucket, "--user": user,
        "--service-account": service_account, "--region": region if project else None,
        "--give-up-after": None if give_up_after == 3 else str(give_up_after),
    }  # fmt: skip
    options = tuple(word for name, value in given.items() if value for word in (name, value))
    store = str(Path(context.obj).resolve()) if context.obj else None
    plan = Plan(search, program, parse_every(every), options, store)
    if with_ == "enterprise":
        typer.echo(_enterprise_schedule(plan, place, print_))
        return
    from colab_drive_tuner.rerun.program import load_program

    load_program(program)
    way = _way(with_)
    typer.echo(way.text(plan))
    if not print_:
        typer.echo(way.install(plan))


@schedule_app.command("list")
def schedule_list(project: Project = None, region: Region = "us-central1") -> None:
    """List the schedules of this machine, of the repository here and (--project) of Enterprise."""
    found = [(search, name, when) for name in _WAYS for search, when in _installed(name)]
    if project:
        found += [
            (item["displayName"], "enterprise", item.get("cron", ""))
            for item in _enterprise_list(project, region)
        ]
    for search, name, when in found:
        typer.echo(f"{search}\t{name}\t{when}")
    if not found:
        typer.echo("No schedules here.")


@schedule_app.command("remove")
def schedule_remove(search: str, project: Project = None, region: Region = "us-central1") -> None:
    """Remove every schedule of a search from this machine and the repository here."""
    removed = [
        name for name in _WAYS if search in dict(_installed(name)) and _way(name).remove(search)
    ]
    if project:
        place = _enterprise(project, region)
        for item in _enterprise_list(project, region):
            if item["displayName"] == f"colab-drive-tuner {search}"[:128]:
                place.call("DELETE", item["name"])
                removed.append("enterprise")
    if not removed:
        raise UsageError(f"Search {search!r} has no schedule here: `schedule list` shows all.")
    typer.echo(f"Removed the schedule of {search!r} from {', '.join(removed)}.")


@schedule_app.command("release")
def schedule_release() -> None:
    """Give back every Colab runtime that a killed run of this machine left; for stop hooks."""
    from colab_drive_tuner.rerun.colab import release_left_behind

    for session in release_left_behind():
        typer.echo(f"Released {session}.")


def show_runs(runs: "list[Run]") -> None:
    """One line for each run: when, where, how long, how many trials, how it ended."""
    from datetime import UTC, datetime

    from rich.console import Console
    from rich.table import Table

    if not runs:
        return
    table = Table("run (UTC)", "where", "minutes", "trials", "ended", "notebook", box=None)
    for run in runs:
        when = f"{datetime.fromtimestamp(run.began, UTC):%Y-%m-%d %H:%M}"
        minutes = f"{run.seconds / 60:.1f}"
        table.add_row(when, run.where, minutes, f"+{run.trials}", run.ended, run.url)
    console = Console(soft_wrap=True, highlight=False, markup=False)
    console.print()
    console.print(table)


def _store(context: typer.Context, folder: str | None, on: str) -> "Store":
    from colab_drive_tuner.store import open_store

    if context.obj and on != "local":
        raise UsageError(
            f"--on {on} keeps searches in Drive: the folder {context.obj} is here only."
        )
    if folder is None:
        return open_store(context.obj)
    if context.obj:
        raise UsageError("--folder is a folder of Drive; it does not go with --store.")
    from colab_drive_tuner.store.drive import DriveStore

    return DriveStore.connect(folder)


def _place(on: str, *, parameters: list[str], **options: Any) -> "Place":
    gpu, install = options["gpu"], options["install"]
    if on == "local":
        from colab_drive_tuner.rerun.local import LocalPlace

        if gpu:
            raise UsageError("--gpu goes with --on colab and --on enterprise.")
        return LocalPlace(dict(map(_parameter, parameters)))
    if parameters:
        raise UsageError("-p goes with --on local.")
    chosen = {"install": install} if install else {}
    if on == "colab":
        from colab_drive_tuner.rerun.colab import ColabPlace

        return ColabPlace(gpu, **chosen)
    if on != "enterprise":
        raise UsageError(f"--on {on}: it runs on local, colab or enterprise.")
    if not options["project"] or not options["bucket"]:
        raise UsageError("Colab Enterprise needs --project and --bucket.")
    from colab_drive_tuner.rerun.enterprise import EnterprisePlace

    return EnterprisePlace(
        options["project"], options["region"], options["bucket"], options["service_account"],
        options["user"], gpu, **chosen,
    )  # fmt: skip


def _parameter(text: str) -> tuple[str, Any]:
    import json

    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise UsageError(f"-p {text!r}: write NAME=VALUE.")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _way(name: str) -> Any:
    from importlib import import_module

    if name not in _WAYS:
        raise UsageError(f"--with {name}: it is one of {', '.join(_WAYS)}, enterprise.")
    return import_module(f"colab_drive_tuner.rerun.{name}")


def _installed(name: str) -> list[tuple[str, str]]:
    from colab_drive_tuner.errors import MissingExtraError

    try:
        found: list[tuple[str, str]] = _way(name).installed()
    except MissingExtraError:
        return []  # a scheduler that is not here has no schedules
    return found


def _enterprise(project: str, region: str) -> "EnterprisePlace":
    from colab_drive_tuner.rerun.enterprise import EnterprisePlace

    return EnterprisePlace(project, region, "")


def _enterprise_schedule(plan: "Plan", place: Any, only_print: bool) -> str:
    import json

    from colab_drive_tuner.rerun.program import load_program

    body = place.schedule(load_program(plan.program), plan.search, plan.cron)
    path = f"{place.parent}/schedules"
    shown = f"POST v1/{path}\n{json.dumps(body, indent=2)}"
    if only_print:
        return shown
    made = place.call("POST", path, body)
    return f"{shown}\nMade {made.get('name', path)}."


def _enterprise_list(project: str, region: str) -> list[dict[str, Any]]:
    place, found, page = _enterprise(project, region), [], ""
    while True:
        token = f"?pageToken={page}" if page else ""
        answer = place.call("GET", f"{place.parent}/schedules{token}")
        found += [
            item
            for item in answer.get("schedules", [])
            if str(item.get("displayName", "")).startswith("colab-drive-tuner ")
        ]
        page = answer.get("nextPageToken", "")
        if not page:
            return found
