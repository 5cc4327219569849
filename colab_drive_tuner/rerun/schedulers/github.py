"""Schedules as a GitHub Actions workflow: the credentials come from a secret, by way of a file."""

import shlex
from pathlib import Path, PurePosixPath

from colab_drive_tuner.environment_variables import Variable
from colab_drive_tuner.errors import UsageError
from colab_drive_tuner.rerun.schedulers.plan import Plan, check_line, mark, marked_files
from colab_drive_tuner.version import __version__

SECRET = Variable.CREDENTIALS
"""The secret's name in GitHub."""
_LONGEST_RUN = "5h30m"
"""GitHub ends a job after six hours; a run should end before, with everything put away."""
_ENVIRONMENT = """\
          COLAB_DRIVE_TUNER_CREDENTIALS: ${{ runner.temp }}/credentials.json
          GOOGLE_APPLICATION_CREDENTIALS: ${{ runner.temp }}/credentials.json
"""
_COLAB = "          COLAB_DRIVE_TUNER_COLAB: colab --auth adc\n"
_FOLDER = Path(".github") / "workflows"
_PREFIX = "colab-drive-tuner-"


def path(plan: Plan) -> Path:
    """Where the workflow lies, from the root of the repository."""
    return _FOLDER / f"{_PREFIX}{plan.slug}.yml"


def text(plan: Plan) -> str:
    """The workflow."""
    if plan.store is not None:
        raise UsageError(
            "A local folder is gone after a workflow: leave --store out, and it is kept in Drive."
        )
    program = plan.program
    if not program.startswith("drive://"):
        program = _in_repository(program)
    given = dict(zip(plan.options[::2], plan.options[1::2], strict=True))
    on_colab = given.get("--on") == "colab"
    extras = "" if on_colab else "[rerun]"
    packages = [f"colab-drive-tuner{extras}=={__version__}"]
    if on_colab:
        packages.append("google-colab-cli")
    limit = [] if "--max-time" in given else ["--max-time", _LONGEST_RUN]
    rerun = shlex.join(["colab-drive-tuner", *plan.arguments(program), *limit])
    check_line(rerun, "The command")
    if "${{" in rerun:
        raise UsageError("GitHub would read '${{' in the command: choose other names.")
    environment = _ENVIRONMENT + (_COLAB if on_colab else "")
    if act_as := Variable.ACT_AS.get():
        person = check_line(act_as, Variable.ACT_AS)
        environment += f"          {Variable.ACT_AS}: {_yaml(person)}\n"
    return f"""\
{mark(plan.search)}
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
      - name: Put the credentials into a file that only this job can read
        env:
          CREDENTIALS: ${{{{ secrets.{SECRET} }}}}
        run: |
          umask 077
          printf '%s' "$CREDENTIALS" > "$RUNNER_TEMP/credentials.json"
      - name: Rerun the search once (75 says that there is more to do, 69 that it is running)
        env:
{environment}        run: |
          code=0
          {rerun} || code=$?
          case $code in 0|69|75) exit 0 ;; *) exit "$code" ;; esac
      - name: Release what a broken run has left
        if: always()
        env:
{environment}        run: |
          code=0
          colab-drive-tuner schedule release || code=$?
          rm -f "$RUNNER_TEMP/credentials.json"
          exit "$code"
"""


def install(plan: Plan) -> str:
    """Write the workflow into the repository here; returns what is left to do."""
    content = text(plan)
    file = path(plan)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)
    return (
        f"{file} is written: commit and push it to the default branch, and put the content of your "
        f"credentials file into the repository's secret {SECRET} (`gh secret set {SECRET} < FILE`)."
    )


def installed() -> list[tuple[str, str]]:
    """The searches that have a workflow in the repository here, and their cron fields."""
    return marked_files(sorted(_FOLDER.glob(f"{_PREFIX}*.yml")), r"^ +- cron: '(.*)'$")


def remove(search: str) -> bool:
    """Delete the workflow of a search from the repository here; False where there is none."""
    file = path(Plan(search, "", ""))
    if not file.exists():
        return False
    file.unlink()
    return True


def _in_repository(program: str) -> str:
    relative = Path(program)
    if relative.is_absolute():
        if not relative.is_relative_to(Path.cwd()):
            raise UsageError(f"{program} is not in the repository here: run this at its root.")
        relative = relative.relative_to(Path.cwd())
    return str(PurePosixPath(relative))


def _yaml(value: str) -> str:
    """The text as a single-quoted scalar, in which nothing but the quote itself is special."""
    return "'" + value.replace("'", "''") + "'"
