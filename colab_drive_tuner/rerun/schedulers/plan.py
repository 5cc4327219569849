"""Plan of a schedule: the command, how often it runs, and the scheduler that runs it.

No secret is ever part of a plan: credentials are named by the path of their file.
"""

import hashlib
import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from colab_drive_tuner.credentials import ENVIRONMENT
from colab_drive_tuner.environment_variables import Variable
from colab_drive_tuner.errors import MissingExtraError, UsageError

SCHEDULERS = ("cron", "systemd", "github")
_MARK = "# colab-drive-tuner schedule "
_EVERY = re.compile(r"(\d+)(m|h|d)")
_PASSED_ON = (*ENVIRONMENT, Variable.COLAB_COMMAND, Variable.EMULATOR_HOST)
"""Variables that say where things are. None of them holds a secret, and no others are passed on."""


@dataclass(frozen=True)
class Plan:
    """A search that is to be rerun every so often."""

    search: str
    program: str
    """A path, or `drive://...`."""
    cron: str
    """When, as five fields."""
    options: tuple[str, ...] = ()
    """Further options of `rerun`."""
    store: str | None = None
    """A local folder instead of Drive."""

    @property
    def slug(self) -> str:
        """A name for files and units, the same for the same search."""
        plain = re.sub(r"[^a-z0-9]+", "-", self.search.lower()).strip("-")[:40]
        return f"{plain or 'search'}-{hashlib.sha256(self.search.encode()).hexdigest()[:6]}"

    def arguments(self, program: str | None = None) -> list[str]:
        """The command line after `colab-drive-tuner`."""
        store = ["--store", self.store] if self.store else []
        wanted = self.program if program is None else program
        return [*store, "rerun", wanted, "--search", self.search, "--scheduled", *self.options]

    def command(self) -> list[str]:
        """The whole command, on this machine, wherever it is started."""
        program = self.program
        if not program.startswith("drive://"):
            program = str(Path(program).resolve())
        return [sys.executable, "-m", "colab_drive_tuner", *self.arguments(program)]

    def environment(self) -> dict[str, str]:
        """What the command needs of the present environment: paths, never a secret."""
        passed = {one.value: one.get() for one in _PASSED_ON if one.get()}
        folders = [str(Path(sys.executable).parent)]
        folders += [str(Path(tool).parent) for tool in map(shutil.which, ("colab", "uvx")) if tool]
        folders += ["/usr/local/bin", "/usr/bin", "/bin"]
        return {"PATH": os.pathsep.join(dict.fromkeys(folders)), **passed}

    @property
    def shell_line(self) -> str:
        """The command with its environment, as one line of sh."""
        variables = [f"{name}={shlex.quote(value)}" for name, value in self.environment().items()]
        return " ".join([*variables, shlex.join(self.command())])


def parse_every(every: str) -> str:
    """The five fields of cron for "30m", "2h" or "1d", or for five fields themselves.

    Raises `UsageError` for what cron cannot say evenly.
    """
    fields = every.split()
    if len(fields) == 5 and all(re.fullmatch(r"[\d*/,\-]+", field) for field in fields):
        return " ".join(fields)
    match = _EVERY.fullmatch(every)
    count, unit = (int(match[1]), match[2]) if match else (0, "")
    if unit == "m" and count and 60 % count == 0:
        return "0 * * * *" if count == 60 else f"*/{count} * * * *"
    if unit == "h" and count and 24 % count == 0:
        return "0 0 * * *" if count == 24 else f"0 */{count} * * *"
    if unit == "d" and count == 1:
        return "0 0 * * *"
    raise UsageError(
        f"--every {every!r}: write minutes that divide an hour (15m), hours that divide a day "
        "(2h), 1d, or the five fields of cron."
    )


def check_line(text: str, what: str) -> str:
    """The text, where it can stand in a line of a scheduler's file; else `UsageError`."""
    if any(not char.isprintable() for char in text):
        raise UsageError(f"{what} contains a line break or control character: {text!r}.")
    return text


def mark(search: str) -> str:
    """The comment that says of which search a schedule is, in whatever file it lies."""
    return _MARK + json.dumps(check_line(search, "The search's name"))


def marked_search(line: str) -> str | None:
    """The search that a line names by its mark; None where it bears none."""
    if not line.startswith(_MARK):
        return None
    try:
        return str(json.loads(line.removeprefix(_MARK)))
    except ValueError:
        return None


def marked_files(files: Iterable[Path], when: str) -> list[tuple[str, str]]:
    """The searches whose mark is in one of the files, and what the pattern `when` finds there."""
    found = []
    for file in files:
        content = file.read_text()
        times = "; ".join(re.findall(when, content, re.MULTILINE)) or "?"
        found += [(name, times) for name in map(marked_search, content.splitlines()) if name]
    return found


class Scheduler(Protocol):
    """What the module of each scheduler has."""

    def text(self, plan: Plan) -> str:
        """What would be installed."""

    def install(self, plan: Plan) -> str:
        """Install it, in place of an earlier one of the search; returns what was done."""

    def installed(self) -> list[tuple[str, str]]:
        """The searches that have a schedule, and when they are looked at."""

    def remove(self, search: str) -> bool:
        """Remove the schedule of a search; False where there is none."""


def find_scheduler(name: str) -> Scheduler:
    """The scheduler of that name; raises `UsageError`."""
    if name not in SCHEDULERS:
        raise UsageError(f"--with {name}: it is one of {', '.join(SCHEDULERS)}, enterprise.")
    return cast("Scheduler", import_module(f"colab_drive_tuner.rerun.schedulers.{name}"))


def installed() -> list[tuple[str, str, str]]:
    """Each schedule: the search, the scheduler, and when."""
    found: list[tuple[str, str, str]] = []
    for name in SCHEDULERS:
        try:
            found += [(search, name, when) for search, when in find_scheduler(name).installed()]
        except MissingExtraError:
            continue  # a scheduler that is not here has no schedules
    return found


def remove(search: str) -> list[str]:
    """Remove every schedule of a search; returns the schedulers that had one."""
    names = [name for found, name, _ in installed() if found == search]
    return [name for name in names if find_scheduler(name).remove(search)]
