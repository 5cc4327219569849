"""Schedules in the user's crontab: two lines each, of which the first names the search."""

import shlex
import subprocess
from itertools import pairwise

from colab_drive_tuner.errors import ColabDriveTunerError, MissingExtraError, UsageError
from colab_drive_tuner.machine import state_folder
from colab_drive_tuner.rerun.schedulers.plan import (
    Plan,
    require_printable,
    search_comment,
    search_in_comment,
)

_MAX_BYTES = 998
"""Debian's cron silently truncates longer commands."""
_ALTERNATIVES = "The alternatives are --with systemd, github and enterprise."


def text(plan: Plan) -> str:
    """Return the lines that are added to the crontab."""
    log = state_folder() / "rerun" / f"{plan.slug}.log"
    log.parent.mkdir(exist_ok=True)
    variables = [f"{name}={shlex.quote(value)}" for name, value in plan.environment().items()]
    line = f"{' '.join(variables)} {shlex.join(plan.command())} >> {shlex.quote(str(log))} 2>&1"
    line = line.replace("%", r"\%")  # cron treats an unescaped % as a line break
    if len(require_printable(line, "The command").encode()) >= _MAX_BYTES:
        raise UsageError(
            f"The command would be longer than the {_MAX_BYTES} bytes that cron reads: shorten the "
            "path of the notebook, or use --with systemd."
        )
    return f"{search_comment(plan.search)}\n{plan.cron} {line}\n"


def install(plan: Plan) -> str:
    """Add the schedule, replacing an earlier one of the search; return a message for the user."""
    others = _without(_read(), plan.search)
    _write("".join(f"{line}\n" for line in others) + text(plan))
    return f"The crontab reruns search {plan.search!r} at {plan.cron}; `crontab -l` shows it."


def installed() -> list[tuple[str, str]]:
    """List the schedules in the crontab: search and cron fields."""
    return [
        (search, " ".join(line.split()[:5]))
        for comment, line in pairwise(_read())
        if (search := search_in_comment(comment)) is not None
    ]


def remove(search: str) -> bool:
    """Remove the schedule of a search; return whether there was one."""
    before = _read()
    after = _without(before, search)
    if len(after) == len(before):
        return False
    _write("".join(f"{line}\n" for line in after))
    return True


def _without(lines: list[str], search: str) -> list[str]:
    kept, skip = [], False
    for line in lines:
        if search_in_comment(line) == search:
            skip = True  # also the next line
        elif skip:
            skip = False
        else:
            kept.append(line)
    return kept


def _read() -> list[str]:
    """Return the lines of the crontab; none if there is no crontab or no cron."""
    try:
        done = _crontab("-l")
    except MissingExtraError:
        return []
    if done.returncode == 0:
        return done.stdout.splitlines()
    if "no crontab" in done.stderr or "not allowed" in done.stderr:  # by cron.allow or cron.deny
        return []
    raise ColabDriveTunerError(f"crontab -l failed ({done.stderr.strip()}). {_ALTERNATIVES}")


def _write(content: str) -> None:
    done = _crontab("-", content)  # changes nothing if it cannot parse the content
    if done.returncode:
        refusal = f"crontab refused the schedule: {done.stderr.strip()}"
        raise ColabDriveTunerError(f"{refusal}. {_ALTERNATIVES}")


def _crontab(argument: str, content: str = "") -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(
            ["crontab", argument],  # noqa: S607 - found on the user's PATH
            input=content,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",  # keeps the bytes of other lines, whatever their encoding
            check=False,
        )
    except FileNotFoundError:
        raise MissingExtraError(
            f"cron is not installed (on Debian and Ubuntu: apt install cron). {_ALTERNATIVES}"
        ) from None
