"""The command that brings a search further: `rerun`, once or until it is finished."""

import functools
import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
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
Project = Annotated[str | None, typer.Option(help="Colab Enterprise: the Google Cloud project.")]
Region = Annotated[str, typer.Option(help="Colab Enterprise: the region.")]


@dataclass(frozen=True)
class RunOptions:
    """How a program is run: the options that `rerun` and `schedule add` share."""

    on: Annotated[str, typer.Option(help="Where it runs: local, colab or enterprise.")] = "local"
    gpu: Annotated[
        str | None, typer.Option(help="The GPU, with --on colab or enterprise: T4, L4, A100.")
    ] = None
    folder: Annotated[
        str | None,
        typer.Option(help="The folder in Drive, where the notebook calls setup(folder=...)."),
    ] = None
    max_time: Annotated[
        str | None, typer.Option(help="How long one run may take, such as 45m or 11h30m.")
    ] = None
    give_up_after: Annotated[
        int,
        typer.Option(
            help="Start nothing after this many runs without a new trial. 0: never give up."
        ),
    ] = 3
    install: Annotated[
        str | None,
        typer.Option(
            help="What pip installs on the runtime. This version of the package without it."
        ),
    ] = None
    project: Project = None
    region: Region = "us-central1"
    bucket: Annotated[
        str | None, typer.Option(help="Colab Enterprise: gs://BUCKET for executed notebooks.")
    ] = None
    service_account: Annotated[
        str | None, typer.Option(help="Colab Enterprise: the service account to run as.")
    ] = None
    user: Annotated[
        str | None, typer.Option(help="Colab Enterprise: the person to run as, an e-mail address.")
    ] = None

    def words(self) -> tuple[str, ...]:
        """The options that differ from their defaults, as a command line has them."""
        given = {one.name: getattr(self, one.name) for one in fields(self)}
        return tuple(
            word
            for one in fields(self)
            if given[one.name] not in (None, "")
            and (given[one.name] != one.default or (one.name == "region" and self.project))
            for word in (f"--{one.name.replace('_', '-')}", str(given[one.name]))
        )

    def runner(self, on: str, parameters: Mapping[str, Any] = {}) -> "Runner":
        """What runs it there, by the options of that name; raises `UsageError`."""
        if on == "local":
            from colab_drive_tuner.rerun.runners.local import LocalRunner

            if self.gpu:
                raise UsageError("--gpu goes with --on colab and --on enterprise.")
            return LocalRunner(parameters)
        if parameters:
            raise UsageError("-p goes with --on local.")
        package = self.install or f"colab-drive-tuner=={__version__}"
        if on == "colab":
            from colab_drive_tuner.rerun.runners.colab import ColabRunner

            return ColabRunner(self.gpu, package)
        if on != "enterprise":
            raise UsageError(f"--on {on}: it runs on local, colab or enterprise.")
        if not self.project or not self.bucket:
            raise UsageError("Colab Enterprise needs --project and --bucket.")
        from colab_drive_tuner.rerun.enterprise.runner import EnterpriseRunner
        from colab_drive_tuner.rerun.enterprise.vertex import Vertex

        project = Vertex(self.project, self.region)
        return EnterpriseRunner(
            project, self.bucket, self.service_account, self.user, self.gpu, package
        )


def with_run_options(command: Callable[..., None]) -> Callable[..., None]:
    """The command with `RunOptions`, each an option of its own, in place of its `options`."""

    @functools.wraps(command)
    def spread(**given: Any) -> None:
        options = RunOptions(**{one.name: given.pop(one.name) for one in fields(RunOptions)})
        command(**given, options=options)

    own = list(inspect.signature(command).parameters.values())
    at = [parameter.name for parameter in own].index("options")
    own[at : at + 1] = inspect.signature(RunOptions).parameters.values()
    parameters = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own]
    spread.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined] # typer's way
    spread.__annotations__ = {one.name: one.annotation for one in parameters}
    return spread


@with_run_options
def rerun(
    context: typer.Context,
    program: Program,
    search: Search,
    options: RunOptions,
    parameter: Annotated[
        list[str] | None,
        typer.Option(
            "-p",
            "--parameter",
            metavar="NAME=VALUE",
            help="A parameter of the notebook, with --on local. May be given more than once.",
        ),
    ] = None,
    loop: Annotated[
        bool, typer.Option("--loop", help="Run again and again until the search is finished.")
    ] = False,
    as_json: AsJson = False,
    scheduled: Annotated[bool, typer.Option("--scheduled", hidden=True)] = False,
) -> None:
    """Run a notebook or script once, if its search is unfinished and nobody runs it.

    Exit codes: 0 finished, 75 trials are left, 69 another runtime runs the search, 1 it failed.

    Example:
        colab-drive-tuner rerun train.ipynb --search mnist-cnn --loop
        colab-drive-tuner rerun train.ipynb --search mnist-cnn --on colab --gpu T4
    """
    from colab_drive_tuner.rerun.exit_code import ExitCode
    from colab_drive_tuner.rerun.rerunner import Rerunner, rerun_until_finished
    from colab_drive_tuner.rerun.stopping import StoppedError
    from colab_drive_tuner.search.spec.arguments import parse_duration

    runner = options.runner(options.on, dict(map(_parameter, parameter or [])))
    rerunner = Rerunner(
        store=_store(context, options),
        program=program,
        search=search,
        runner=runner,
        max_seconds=parse_duration(options.max_time),
        give_up_after=options.give_up_after,
        notify=notify_of(as_json),
    )
    try:
        verdict = rerun_until_finished(rerunner) if loop else rerunner.once()
    except StoppedError as stopped:
        echo(f"colab-drive-tuner: {stopped}", err=True)
        raise typer.Exit(128 + stopped.signum) from None
    if as_json:
        outcome = verdict.exit_code.name.lower()
        facts = {"search": search, "outcome": outcome, "done": verdict.done}
        echo_json(facts | {"message": verdict.message})
    else:
        echo(verdict.message, err=verdict.exit_code is ExitCode.FAILED)
    if scheduled and verdict.exit_code is ExitCode.FINISHED:
        notify_of(as_json)(f"To remove its schedule: colab-drive-tuner schedule remove {search!r}")
    raise typer.Exit(verdict.exit_code)


def _store(context: typer.Context, options: RunOptions) -> "Store":
    from colab_drive_tuner.store import open_store

    if context.obj and options.on != "local":
        raise UsageError(
            f"--on {options.on} keeps searches in Drive: the folder {context.obj} is here only."
        )
    if options.folder is None:
        return open_store(context.obj)
    if context.obj:
        raise UsageError("--folder is a folder of Drive; it does not go with --store.")
    from colab_drive_tuner.store.drive import DriveStore

    return DriveStore.connect(options.folder)


def _parameter(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise UsageError(f"-p {text!r}: write NAME=VALUE.")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
