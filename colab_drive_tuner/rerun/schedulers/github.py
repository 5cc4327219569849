"""Schedules as a GitHub Actions workflow, which writes the credentials from a secret to a file."""

import shlex
from pathlib import Path

from colab_drive_tuner.environment_variables import Variable
from colab_drive_tuner.errors import UsageError
from colab_drive_tuner.local_files import replace_file
from colab_drive_tuner.rerun.schedulers.plan import (
    Installed,
    Plan,
    require_printable,
    schedules_in_files,
)
from colab_drive_tuner.store import split_scheme
from colab_drive_tuner.version import __version__

SECRET = Variable.CREDENTIALS
"""The secret's name in GitHub."""
_LONGEST_RUN = "5h30m"
"""GitHub ends a job after six hours; a run should end, with everything saved, before that."""
_ENVIRONMENT = """\
          COLAB_DRIVE_TUNER_CREDENTIALS: ${{ runner.temp }}/credentials.json
          GOOGLE_APPLICATION_CREDENTIALS: ${{ runner.temp }}/credentials.json
"""
_COLAB = "          COLAB_DRIVE_TUNER_COLAB: colab --auth adc\n"
_FOLDER = Path(".github") / "workflows"
_PREFIX = "colab-drive-tuner-"


def path(plan: Plan) -> Path:
    """Return the workflow's path, relative to the root of the repository."""
    return _FOLDER / f"{_PREFIX}{plan.slug}.yml"


def text(plan: Plan) -> str:
    """Return the workflow's content."""
    if plan.store is not None and split_scheme(plan.store)[0].is_local:
        raise UsageError(
            f"A workflow cannot reach {plan.store}, which is on this machine: leave out --store to "
            f"keep the search in Drive."
        )
    program = plan.program
    if not program.startswith("drive://"):
        program = _in_repository(program)
    on_colab = plan.given.get("--on") == "colab"
    extras = "" if on_colab else "[rerun]"
    packages = [f"colab-drive-tuner{extras}=={__version__}"]
    if on_colab:
        packages.append("google-colab-cli")
    limit = [] if "--max-time" in plan.given else ["--max-time", _LONGEST_RUN]
    rerun = shlex.join(["colab-drive-tuner", *plan.arguments(program), *limit])
    require_printable(rerun, "The command")
    if "${{" in rerun:
        raise UsageError("GitHub would interpret '${{' in the command: choose other names.")
    environment = _ENVIRONMENT + (_COLAB if on_colab else "")
    if act_as := Variable.ACT_AS.get():
        person = require_printable(act_as, Variable.ACT_AS)
        environment += f"          {Variable.ACT_AS}: {_yaml(person)}\n"
    return f"""\
{plan.comment}
name: {_yaml(f"Rerun {plan.search}")}

on:
  schedule:
    - cron: {_yaml(plan.cron)}
  workflow_dispatch:

permissions:
  contents: read

concurrency:
  group: {_PREFIX}{plan.slug}
  cancel-in-progress: false

jobs:
  rerun:
    runs-on: ubuntu-latest
    timeout-minutes: 355
    steps:
      - uses: actions/checkout@v5
      - uses: actions/setup-python@v6
        with:
          python-version: "3.12"
      - run: python -m pip install {shlex.join(packages)}
      - name: Write the credentials to a file that only this job can read
        env:
          CREDENTIALS: ${{{{ secrets.{SECRET} }}}}
        run: |
          umask 077
          printf '%s' "$CREDENTIALS" > "$RUNNER_TEMP/credentials.json"
      - name: Rerun the search once (exit code 75 means unfinished, 69 running elsewhere)
        env:
{environment}        run: |
          code=0
          {rerun} || code=$?
          case $code in 0|69|75) exit 0 ;; *) exit "$code" ;; esac
      - name: Release runtimes that a failed run left behind
        if: always()
        env:
{environment}        run: |
          code=0
          colab-drive-tuner schedule release || code=$?
          rm -f "$RUNNER_TEMP/credentials.json"
          exit "$code"
"""


def install(plan: Plan) -> str:
    """Write the workflow into this repository; return a message with the remaining steps."""
    content = text(plan)
    root = next((at for at in (Path.cwd(), *Path.cwd().parents) if (at / ".git").exists()), None)
    if root not in (None, Path.cwd()):  # GitHub finds no workflow below the root
        raise UsageError(f"Run this command at the repository's root: cd {shlex.quote(str(root))}")
    file = path(plan)
    file.parent.mkdir(parents=True, exist_ok=True)
    replace_file(file, lambda sink: sink.write(content.encode()))  # a link, not its target
    return (
        f"Wrote {file}: commit and push it to the default branch, and store the content of your "
        f"credentials file in the repository's secret {SECRET} (`gh secret set {SECRET} < FILE`)."
    )


def installed() -> list[Installed]:
    """List the workflows in this repository, with cron's fields."""
    return list(_workflows().values())


def remove(search: str, store: str | None) -> bool:
    """Delete the workflows of a search from this repository; return whether there was one."""
    files = [file for file, of in _workflows().items() if of.reruns(search, store)]
    for file in files:
        file.unlink()
    return bool(files)


def _workflows() -> dict[Path, Installed]:
    return schedules_in_files(sorted(_FOLDER.glob(f"{_PREFIX}*.yml")), r"^ +- cron: '(.*)'$")


def _in_repository(program: str) -> str:
    file, root = Path(program).resolve(), Path.cwd().resolve()
    if not file.is_relative_to(root):
        raise UsageError(
            f"{program} is not in this repository: run this command at the repository's root."
        )
    return file.relative_to(root).as_posix()


def _yaml(value: str) -> str:
    """Return the text as a single-quoted scalar, in which only the quote itself is special."""
    return "'" + value.replace("'", "''") + "'"
