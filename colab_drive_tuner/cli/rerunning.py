"""The command that brings a search further: `rerun`, once or until it is finished."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from colab_drive_tuner.cli.arguments import AsJson, complete_name
from colab_drive_tuner.cli.output import echo, echo_json, notify_of
from colab_drive_tuner.errors import UsageError
from colab_drive_tuner.version import __version__

if TYPE_CHECKING:
    from colab_drive_tuner.rerun.runners.runner import Runner
    from colab_drive_tuner.store.protocol import Store

Program = Annotated[
    str,
    typer.Argument(
        help="A notebook or script. drive://Folder/x.ipynb is a notebook in Google Drive."
    ),
]
Search = Annotated[
    str,
    typer.Option(help="The name of the search that it works on.", autocompletion=complete_name),
]
On = Annotated[str, typer.Option(help="Where it runs: local, colab or enterprise.")]
Gpu = Annotated[
    str | None, typer.Option(help="The GPU, with --on colab or enterprise: T4, L4, A100.")
]
Folder = Annotated[
    str | None,
    typer.Option(help="The folder in Drive, where the notebook calls setup(folder=...)."),
]
Install = Annotated[
    str | None,
    typer.Option(help="What pip installs on the runtime. This version of the package without it."),
]
MaxTime = Annotated[
    str | None, typer.Option(help="How long one run may take, such as 45m or 11h30m.")
]
GiveUp = Annotated[
    int,
    typer.Option(help="Start nothing after this many runs without a new trial. 0: never give up."),
]
Project = Annotated[str | None, typer.Option(help="Colab Enterprise: the Google Cloud project.")]
Region = Annotated[str, typer.Option(help="Colab Enterprise: the region.")]
Bucket = Annotated[
    str | None, typer.Option(help="Colab Enterprise: gs://BUCKET for executed notebooks.")
]
Account = Annotated[
    str | None, typer.Option(help="Colab Enterprise: the service account to run as.")
]
User = Annotated[
    str | None, typer.Option(help="Colab Enterprise: the person to run as, an e-mail address.")
]


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
            "-p",
            "--parameter",
            metavar="NAME=VALUE",
            help="A parameter of the notebook, with --on local. May be given more than once.",
        ),
    ] = None,
    max_time: MaxTime = None,
    loop: Annotated[
        bool, typer.Option("--loop", help="Run again and again until the search is finished.")
    ] = False,
    give_up_after: GiveUp = 3,
    install: Install = None,
    project: Project = None,
    region: Region = "us-central1",
    bucket: Bucket = None,
    service_account: Account = None,
    user: User = None,
    as_json: AsJson = False,
    scheduled: Annotated[bool, typer.Option("--scheduled", hidden=True)] = False,
) -> None:
    """Run a notebook or script once, if its search is unfinished and nobody runs it.

    Exit codes: 0 finished, 75 trials are left, 69 another runtime runs the search, 1 it failed.

    Example:
        colab-drive-tuner rerun train.ipynb --search mnist-cnn --loop
        colab-drive-tuner rerun train.ipynb --search mnist-cnn --on colab --gpu T4
    """
    from colab_drive_tuner.rerun.rerunner import Rerunner, rerun_until_finished
    from colab_drive_tuner.rerun.stopping import StoppedError
    from colab_drive_tuner.rerun.verdict import Outcome
    from colab_drive_tuner.search.spec.arguments import parse_duration

    runner = choose_runner(
        on, parameter or [], gpu=gpu, install=install, project=project, region=region,
        bucket=bucket, service_account=service_account, user=user,
    )  # fmt: skip
    rerunner = Rerunner(
        store=_store(context, folder, on),
        program=program,
        search=search,
        runner=runner,
        max_seconds=parse_duration(max_time),
        give_up_after=give_up_after,
        notify=notify_of(as_json),
    )
    try:
        verdict = rerun_until_finished(rerunner) if loop else rerunner.once()
    except StoppedError as stopped:
        echo(f"colab-drive-tuner: {stopped}", err=True)
        raise typer.Exit(128 + stopped.signum) from None
    if as_json:
        outcome = verdict.outcome.name.lower()
        facts = {"search": search, "outcome": outcome, "done": verdict.done}
        echo_json(facts | {"message": verdict.message})
    else:
        echo(verdict.message, err=verdict.outcome is Outcome.FAILED)
    if scheduled and verdict.outcome is Outcome.FINISHED:
        notify_of(as_json)(f"To remove its schedule: colab-drive-tuner schedule remove {search!r}")
    raise typer.Exit(verdict.outcome)


def choose_runner(
    on: str,
    parameters: list[str],
    *,
    gpu: str | None,
    install: str | None,
    project: str | None,
    region: str,
    bucket: str | None,
    service_account: str | None,
    user: str | None,
) -> "Runner":
    """Where it runs, after the options of that name; raises `UsageError`."""
    if on == "local":
        from colab_drive_tuner.rerun.runners.local import LocalRunner

        if gpu:
            raise UsageError("--gpu goes with --on colab and --on enterprise.")
        return LocalRunner(dict(map(_parameter, parameters)))
    if parameters:
        raise UsageError("-p goes with --on local.")
    package = install or f"colab-drive-tuner=={__version__}"
    if on == "colab":
        from colab_drive_tuner.rerun.runners.colab import ColabRunner

        return ColabRunner(gpu, package)
    if on != "enterprise":
        raise UsageError(f"--on {on}: it runs on local, colab or enterprise.")
    if not project or not bucket:
        raise UsageError("Colab Enterprise needs --project and --bucket.")
    from colab_drive_tuner.rerun.enterprise.runner import EnterpriseRunner
    from colab_drive_tuner.rerun.enterprise.vertex import Vertex

    return EnterpriseRunner(Vertex(project, region), bucket, service_account, user, gpu, package)


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


def _parameter(text: str) -> tuple[str, Any]:
    import json

    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise UsageError(f"-p {text!r}: write NAME=VALUE.")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
