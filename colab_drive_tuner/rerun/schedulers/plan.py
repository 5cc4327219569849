"""Plan of a schedule: its command and interval, and how files name its search.

A plan never contains a secret: it refers to credentials by the path of their file.
"""

import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from colab_drive_tuner.credentials import account_variables
from colab_drive_tuner.environment_variables import Variable
from colab_drive_tuner.errors import UsageError
from colab_drive_tuner.local_files import read_file

_COMMENT = "# colab-drive-tuner schedule "
# ASCII: cron and systemd know no other digits.
_EVERY = re.compile(r"(\d{1,4})(m|h|d)", re.ASCII)
_CRON_PART = re.compile(r"(?:\*|(\d{1,2})(?:-(\d{1,2}))?)(?:/[1-9]\d?)?", re.ASCII)
_CRON_RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
"""Least and greatest number of cron's fields: minute, hour, day, month, weekday."""
_LARGEST = 1 << 20
"""Largest file that is read for schedules, in bytes."""


class Installed(NamedTuple):
    """An installed schedule."""

    search: str
    store: str | None
    when: str
    """Cron's five fields, or systemd's calendar expressions."""

    def reruns(self, search: str, store: str | None) -> bool:
        """Whether it is of the search of that name in that store; None: in any store."""
        return self.search == search and store in (None, self.store)


@dataclass(frozen=True)
class Plan:
    """A search that is rerun at intervals."""

    search: str
    program: str
    """A path, or `drive://...`."""
    cron: str
    """The times, as cron's five fields."""
    options: tuple[str, ...] = ()
    """Further options of `rerun`."""
    store: str | None = None
    """The store that holds the search, as for `open_store`; None: Drive."""

    @property
    def given(self) -> dict[str, str]:
        """The values of `options` by name."""
        return dict(zip(self.options[::2], self.options[1::2], strict=True))

    @property
    def place(self) -> str | None:
        """The store and the folder in it; None: Drive's default folder."""
        folder = self.given.get("--folder")
        return f"drive:{folder}" if folder else self.store

    @property
    def slug(self) -> str:
        """Name for files and units, which differs for equal names in different stores."""
        plain = re.sub(r"[^a-z0-9]+", "-", self.search.lower()).strip("-")[:40]
        key = f"{self.search}\n{self.place}" if self.place else self.search
        return f"{plain or 'search'}-{hashlib.sha256(key.encode()).hexdigest()[:6]}"

    @property
    def comment(self) -> str:
        """Return the comment that names the search and its store in a schedule's file."""
        store = f" in {json.dumps(self.place)}" if self.place else ""
        return _COMMENT + json.dumps(require_printable(self.search, "The search's name")) + store

    def arguments(self, program: str) -> list[str]:
        """Return the command-line arguments after `colab-drive-tuner`."""
        store = ["--store", self.store] if self.store else []
        return [*store, "rerun", program, "--search", self.search, "--scheduled", *self.options]

    def command(self) -> list[str]:
        """Return the whole command for this machine, independent of the working directory."""
        program = self.program
        if not program.startswith("drive://"):
            program = str(Path(program).resolve())
        return [sys.executable, "-m", "colab_drive_tuner", *self.arguments(program)]

    def environment(self) -> dict[str, str]:
        """Return the environment variables that the command needs, without secret ones.

        A schedule is stored and shown as plain text.
        """
        variables = (
            *account_variables(), Variable.COLAB_COMMAND, Variable.EMULATOR_HOST,
            Variable.STATE_HOME, Variable.CONFIG_HOME,
        )  # fmt: skip
        passed = {
            item.value: item.get_absolute()
            for item in variables
            if item.get() and not item.is_secret
        }
        folders = [str(Path(sys.executable).parent)]
        folders += [str(Path(tool).parent) for tool in map(shutil.which, ("colab", "uvx")) if tool]
        folders += ["/usr/local/bin", "/usr/bin", "/bin"]
        return {"PATH": os.pathsep.join(dict.fromkeys(folders)), **passed}


def parse_interval(every: str) -> str:
    """Convert "30m", "2h" or "1d" to cron's five fields; five fields are returned unchanged.

    Raises `UsageError` for an interval that does not divide an hour or a day.
    """
    fields = every.split()
    if len(fields) == 5 and all(map(_is_cron_field, fields, _CRON_RANGES)):
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
        f"--every {every!r} is not valid: give minutes that divide an hour (15m), hours that "
        "divide a day (2h), 1d, or cron's five fields in numbers, such as '0 9 * * 1-5'."
    )


def _is_cron_field(field: str, limits: tuple[int, int]) -> bool:
    for match in map(_CRON_PART.fullmatch, field.split(",")):
        if match is None:
            return False
        numbers = [limits[0], *(int(number) for number in match.groups() if number), limits[1]]
        if numbers != sorted(numbers):
            return False
    return True


def require_printable(text: str, label: str) -> str:
    """Return the text if it fits in one line of a scheduler's file, else raise `UsageError`."""
    if any(not char.isprintable() for char in text):
        raise UsageError(f"{label} contains a line break or control character: {text!r}.")
    return text


def read_comment(line: str) -> tuple[str, str | None] | None:
    """Return the search and store that a line names with `Plan.comment`, else None."""
    if not line.startswith(_COMMENT):
        return None
    try:
        search, end = json.JSONDecoder().raw_decode(line, len(_COMMENT))
        store = json.loads(line[end:].removeprefix(" in ")) if line[end:].strip() else None
    except (ValueError, RecursionError):
        return None
    return str(search), store


def schedules_in_files(files: Iterable[Path], when: str) -> dict[Path, Installed]:
    """Return the schedules in files, of which `when` matches the times."""
    found = {}
    for file in files:
        try:
            content = read_file(file, _LARGEST).decode("utf-8", errors="replace")
        except OSError:  # a repository can hold anything under this name
            continue
        times = "; ".join(re.findall(when, content, re.MULTILINE)) or "?"
        for named in filter(None, map(read_comment, content.splitlines())):
            found[file] = Installed(*named, times)
    return found
