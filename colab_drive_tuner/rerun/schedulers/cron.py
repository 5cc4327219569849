"""Schedules in the user's crontab: two lines each, of which the first names the search."""

import shlex
import subprocess

from colab_drive_tuner.errors import ColabDriveTunerError, MissingExtraError, UsageError
from colab_drive_tuner.machine import state_folder
from colab_drive_tuner.rerun.schedulers import NAMES
from colab_drive_tuner.rerun.schedulers.plan import (
    Installed,
    Plan,
    read_comment,
    require_printable,
)

_MAX_BYTES = 998
"""Debian's cron silently truncates longer commands."""
_ALTERNATIVES = f"The alternatives are --with {', '.join(n for n in NAMES if n != 'cron')}."


def text(plan: Plan) -> str:
    """Return the lines that are added to the crontab."""
    log = state_folder("rerun") / f"{plan.slug}.log"
    variables = [f"{name}={shlex.quote(value)}" for name, value in plan.environment().items()]
    command = f"{' '.join(variables)} {shlex.join(plan.command())}"
    line = f"(date; {command}) >> {shlex.quote(str(log))} 2>&1"
    line = line.replace("%", r"\%")  # cron treats an unescaped % as a line break
    if len(require_printable(line, "The command").encode()) >= _MAX_BYTES:
        raise UsageError(
            f"The command would be longer than the {_MAX_BYTES} bytes that cron reads: shorten the "
            "path of the notebook, or use --with systemd."
        )
    return f"{plan.comment}\n{plan.cron} {line}\n"


def install(plan: Plan) -> str:
    """Add the schedule, replacing an earlier one of the search; return a message for the user."""
    others = [line for line, of in _lines() if of is None or of[:2] != (plan.search, plan.place)]
    _write("".join(f"{line}\n" for line in others) + text(plan))
    return f"The crontab reruns search {plan.search!r} at {plan.cron}; `crontab -l` shows it."


def installed() -> list[Installed]:
    """List the schedules in the crontab, with cron's fields."""
    return [of for line, of in _lines() if of is not None and read_comment(line) is None]


def remove(search: str, store: str | None) -> bool:
    """Remove the schedules of a search; return whether there was one."""
    before = _lines()
    after = [line for line, of in before if of is None or not of.reruns(search, store)]
    if len(after) == len(before):
        return False
    _write("".join(f"{line}\n" for line in after))
    return True


def _lines() -> list[tuple[str, Installed | None]]:
    """Return the lines of the crontab, each with the schedule that it is a part of.

    A person may have deleted or moved one of a schedule's lines, and added others between them.
    """
    found: list[tuple[str, Installed | None]] = []
    named: tuple[str, str | None] | None = None
    for line in _read():
        is_command = "-m colab_drive_tuner " in line and " --scheduled" in line
        comment = read_comment(line)
        named = comment or named
        of = None
        if named is not None and (is_command or comment is not None):
            of = Installed(*named, " ".join(line.split()[:5]))
        found.append((line, of))
        named = None if is_command else named
    return found


def _read() -> list[str]:
    """Return the lines of the crontab; none if there is no crontab or no cron."""
    try:
        done = _crontab("-l")
    except MissingExtraError:
        return []
    if done.returncode == 0:
        # `splitlines` would also break lines of others at a form feed or a Unicode line separator.
        return done.stdout.removesuffix("\n").split("\n") if done.stdout else []
    if "no crontab" in done.stderr or "not allowed" in done.stderr:  # by cron.allow or cron.deny
        return []
    raise ColabDriveTunerError(f"crontab -l failed ({done.stderr.strip()}). {_ALTERNATIVES}")


def _write(content: str) -> None:
    done = _crontab("-", content)  # changes nothing if it cannot parse the content
    if done.returncode:
        refusal = f"crontab refused the schedule: {done.stderr.strip()}"
        raise ColabDriveTunerError(f"{refusal}. {_ALTERNATIVES}")


def _crontab(argument: str, content: str = "") -> "subprocess.CompletedProcess[str]":
    # Not in text mode, which would turn carriage returns in other lines into line feeds.
    # "surrogateescape" keeps the bytes of other lines, whatever their encoding.
    try:
        done = subprocess.run(
            ["crontab", argument],  # noqa: S607 - found on the user's PATH
            input=content.encode(errors="surrogateescape"),
            capture_output=True,
            check=False,
        )
    except FileNotFoundError:
        raise MissingExtraError(
            f"cron is not installed (on Debian and Ubuntu: apt install cron). {_ALTERNATIVES}"
        ) from None
    output, errors = (text.decode(errors="surrogateescape") for text in (done.stdout, done.stderr))
    return subprocess.CompletedProcess(done.args, done.returncode, output, errors)
