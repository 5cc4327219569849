"""Schedules in the user's crontab: two lines each, the first a comment that names the search."""

import shlex
import subprocess
from itertools import pairwise

from colab_drive_tuner.errors import ColabDriveTunerError, MissingExtraError, UsageError
from colab_drive_tuner.machine import state_folder
from colab_drive_tuner.rerun.schedulers.plan import Plan, check_line, mark, marked_search

_LONGEST = 998
"""What is longer is cut off by Debian's cron, without a word."""
_OTHER_WAYS = "The other ways are --with systemd, github and enterprise."


def text(plan: Plan) -> str:
    """What is added to the crontab."""
    log = state_folder() / "rerun" / f"{plan.slug}.log"
    log.parent.mkdir(exist_ok=True)
    line = f"{plan.shell_line} >> {shlex.quote(str(log))} 2>&1"
    line = line.replace("%", r"\%")  # cron reads a bare one as a line break
    if len(check_line(line, "The command").encode()) >= _LONGEST:
        raise UsageError(
            f"The command would be longer than the {_LONGEST} bytes that cron reads: shorten the "
            "path of the notebook, or use --with systemd."
        )
    return f"{mark(plan.search)}\n{plan.cron} {line}\n"


def install(plan: Plan) -> str:
    """Add the schedule, in place of an earlier one of the search; returns what was done."""
    others = _without(_read(), plan.search)
    _write("".join(f"{line}\n" for line in others) + text(plan))
    return f"The crontab reruns search {plan.search!r} at {plan.cron}; `crontab -l` shows it."


def installed() -> list[tuple[str, str]]:
    """The searches that have a schedule here, and when they are looked at."""
    return [
        (search, " ".join(line.split()[:5]))
        for comment, line in pairwise(_read())
        if (search := marked_search(comment)) is not None
    ]


def remove(search: str) -> bool:
    """Remove the schedule of a search; False where there is none."""
    before = _read()
    after = _without(before, search)
    if len(after) == len(before):
        return False
    _write("".join(f"{line}\n" for line in after))
    return True


def _without(lines: list[str], search: str) -> list[str]:
    kept, skip = [], False
    for line in lines:
        if marked_search(line) == search:
            skip = True  # and the line after it
        elif skip:
            skip = False
        else:
            kept.append(line)
    return kept


def _read() -> list[str]:
    done = _crontab("-l")
    if done.returncode == 0:
        return done.stdout.splitlines()
    if "no crontab" in done.stderr:
        return []
    raise ColabDriveTunerError(f"crontab -l failed ({done.stderr.strip()}). {_OTHER_WAYS}")


def _write(content: str) -> None:
    done = _crontab("-", content)  # it refuses what it cannot read, and then changes nothing
    if done.returncode:
        raise ColabDriveTunerError(f"crontab refused the schedule: {done.stderr.strip()}")


def _crontab(argument: str, content: str = "") -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(
            ["crontab", argument],  # noqa: S607 - the user's own, wherever it is
            input=content,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        raise MissingExtraError(
            f"There is no cron here (on Debian and Ubuntu: apt install cron). {_OTHER_WAYS}"
        ) from None
