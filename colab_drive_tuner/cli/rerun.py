"""Command `rerun`, and the options for runs that it shares with `schedule add`."""

import functools
import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, Any

import typer

from colab_drive_tuner.cli.common import AsJson, complete_name, echo, echo_json, message_printer
from colab_drive_tuner.environment_variables import Variable
from colab_drive_tuner.errors import UnavailableError, UsageError
from colab_drive_tuner.version import __version__

if TYPE_CHECKING:
    from colab_drive_tuner.rerun.program import Runner
    from colab_drive_tuner.store.protocol import Store

Program = Annotated[
    str,
    typer.Argument(
        metavar="PROGRAM",
        help="Notebook or script. drive://Folder/x.ipynb is a notebook in Google Drive.",
    ),
]
Search = Annotated[
    str,
    typer.Option(help="Name of the search that it runs.", autocompletion=complete_name),
]
Project = Annotated[str | None, typer.Option(help="Google Cloud project, for Colab Enterprise.")]
Region = Annotated[str, typer.Option(help="Region, for Colab Enterprise.")]


@dataclass(frozen=True)
class RunOptions:
    """Options for runs, shared by `rerun` and `schedule add`."""

    on: Annotated[
        str,
        typer.Option(
            help="Where to run it: local, colab or enterprise.",
            autocompletion=lambda: ["local", "colab", "enterprise"],
        ),
    ] = "local"
    gpu: Annotated[
        str | None, typer.Option(help="GPU type for --on colab or enterprise: T4, L4, A100.")
    ] = None
    folder: Annotated[
        str | None,
        typer.Option(help="Folder in Drive, if the notebook calls setup(folder=...)."),
    ] = None
    max_time: Annotated[
        str | None, typer.Option(help="Time limit of a run, such as 45m or 11h30m.")
    ] = None
    give_up_after: Annotated[
        int,
        typer.Option(
            min=0,
            help="Start no run after this many runs without a new trial. 0: never give up.",
        ),
    ] = 3
    install: Annotated[
        str | None,
        typer.Option(
            help="Requirement that pip installs on the runtime. Default: the version running here."
        ),
    ] = None
    project: Project = None
    region: Region = "us-central1"
    bucket: Annotated[
        str | None,
        typer.Option(help="gs://BUCKET for executed notebooks, for Colab Enterprise."),
    ] = None
    service_account: Annotated[
        str | None, typer.Option(help="Service account to run as, for Colab Enterprise.")
    ] = None
    user: Annotated[
        str | None, typer.Option(help="E-mail address of the user to run as, for Colab Enterprise.")
    ] = None

    def arguments(self) -> tuple[str, ...]:
        """Return the options that differ from their defaults, as command-line arguments."""
        arguments: list[str] = []
        for option in fields(self):
            value = getattr(self, option.name)
            needed = value != option.default or (option.name == "region" and self.project)
            if needed and value not in (None, ""):
                arguments += [f"--{option.name.replace('_', '-')}", str(value)]
        return tuple(arguments)

    def runner(self, on: str, parameters: Mapping[str, Any] = {}) -> "Runner":
        """Create the runner for `--on`; raise `UsageError` if options do not fit."""
        if on == "local":
            from colab_drive_tuner.rerun.runners.local import LocalRunner

            if self.gpu:
                raise UsageError("--gpu requires --on colab or --on enterprise.")
            return LocalRunner(parameters)
        if parameters:
            raise UsageError("-p requires --on local.")
        package = self.install or f"colab-drive-tuner=={__version__}"
        if on == "colab":
            from colab_drive_tuner.rerun.runners.colab import ColabRunner

            return ColabRunner(self.gpu, package)
        if on != "enterprise":
            raise UsageError(f"--on must be local, colab or enterprise, got {on}.")
        if not self.project or not self.bucket:
            raise UsageError("Colab Enterprise needs --project and --bucket.")
        from colab_drive_tuner.rerun.enterprise import EnterpriseRunner, Vertex

        project = Vertex(self.project, self.region)
        return EnterpriseRunner(
            project, self.bucket, self.service_account, self.user, self.gpu, package
        )


def with_run_options(command: Callable[..., None]) -> Callable[..., None]:
    """Replace the parameter `options` of a command by one option for each field of `RunOptions`."""

    @functools.wraps(command)
    def wrapper(**given: Any) -> None:
        names = [field.name for field in fields(RunOptions)]
        options = RunOptions(**{name: given.pop(name) for name in names})
        command(**given, options=options)

    own = list(inspect.signature(command).parameters.values())
    at = [parameter.name for parameter in own].index("options")
    own[at : at + 1] = inspect.signature(RunOptions).parameters.values()
    parameters = [item.replace(kind=inspect.Parameter.KEYWORD_ONLY) for item in own]
    wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined] # for typer
    wrapper.__annotations__ = {item.name: item.annotation for item in parameters}
    return wrapper


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
            help="Parameter of the notebook, for --on local. May be given more than once.",
        ),
    ] = None,
    loop: Annotated[
        bool, typer.Option("--loop", help="Run it repeatedly until the search is finished.")
    ] = False,
    as_json: AsJson = False,
    scheduled: Annotated[bool, typer.Option("--scheduled", hidden=True)] = False,
) -> None:
    """Run a notebook or script, if its search is unfinished and not running elsewhere.

    Exit codes: 0 finished, 75 unfinished, 69 running elsewhere, 1 failed.

    Example:
        colab-drive-tuner rerun train.ipynb --search mnist-cnn --loop
        colab-drive-tuner rerun train.ipynb --search mnist-cnn --on colab --gpu T4
    """
    from colab_drive_tuner.rerun.rerunner import Rerunner, rerun_until_finished
    from colab_drive_tuner.rerun.runs import ExitCode, RerunStatus
    from colab_drive_tuner.rerun.stopping import StoppedError
    from colab_drive_tuner.search.spec.arguments import parse_duration
    from colab_drive_tuner.store.protocol import command_line

    runner = options.runner(options.on, dict(map(_parameter, parameter or [])))
    notify = message_printer(as_json)
    max_seconds = parse_duration(options.max_time)
    try:
        rerunner = Rerunner(
            store=_store(context, options),
            program=program,
            search=search,
            runner=runner,
            max_seconds=max_seconds,
            give_up_after=options.give_up_after,
            notify=notify,
        )
        status = rerun_until_finished(rerunner) if loop else rerunner.once()
    except StoppedError as stopped:
        echo(f"colab-drive-tuner: {stopped}", err=True)
        raise typer.Exit(128 + stopped.signum) from None
    except UnavailableError as outage:  # a scheduler should fire again, not alert a person
        status = RerunStatus(ExitCode.UNFINISHED, str(outage))
    if as_json:
        outcome = status.exit_code.name.lower()
        facts = {"search": search, "outcome": outcome, "done": status.done}
        echo_json(facts | {"message": status.message})
    else:
        echo(status.message, err=status.exit_code is ExitCode.FAILED)
    if scheduled and status.exit_code is ExitCode.FINISHED:
        place = f"drive:{options.folder}" if options.folder else context.obj
        remove = command_line(place or "", ["schedule", "remove"], [search])
        message_printer(as_json)(f"To remove its schedule: {remove}")
    raise typer.Exit(status.exit_code)


def _store(context: typer.Context, options: RunOptions) -> "Store":
    from colab_drive_tuner.store import open_store, split_scheme

    if context.obj and options.on != "local":
        scheme, rest = split_scheme(context.obj)
        if scheme.is_local:
            raise UsageError(
                f"--on {options.on} needs the search in Drive, but the folder {context.obj} exists "
                f"only on this machine: leave out --store, and unset {Variable.STORE}."
            )
        if rest:
            raise UsageError(
                f"--on {options.on} does not hand --store {context.obj} on to the notebook: for a "
                "folder of Drive use --folder here, and setup(folder=...) in the notebook."
            )
    if options.folder is None:
        return open_store(context.obj)
    if context.obj:
        raise UsageError("--folder is a folder of Drive and cannot be combined with --store.")
    from colab_drive_tuner.store.drive import DriveStore

    return DriveStore.connect(options.folder)


def _parameter(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise UsageError(f"-p must be NAME=VALUE, got {text!r}.")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, {"True": True, "False": False, "None": None}.get(value, value)
