"""Schedules as a systemd user timer, with a stop hook that releases runtimes of killed runs."""

import re
import subprocess
import sys
from pathlib import Path

from colab_drive_tuner.environment_variables import Variable
from colab_drive_tuner.errors import ColabDriveTunerError
from colab_drive_tuner.rerun.schedulers.plan import (
    Installed,
    Plan,
    require_printable,
    schedules_in_files,
)

_PREFIX = "colab-drive-tuner-"


def files(plan: Plan) -> dict[Path, str]:
    """Return the content of both units, by path."""
    folder = _folder()
    name = f"{_PREFIX}{plan.slug}"
    return {folder / f"{name}.service": _service(plan), folder / f"{name}.timer": _timer(plan)}


def text(plan: Plan) -> str:
    """Return both units, one after the other."""
    return "\n".join(f"# {path}\n{content}" for path, content in files(plan).items())


def install(plan: Plan) -> str:
    """Write and start the timer; return a message for the user."""
    units = files(plan)
    _systemctl("daemon-reload")  # fails without a user session, before anything is written
    for path, content in units.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    timer = f"{_PREFIX}{plan.slug}.timer"
    _systemctl("daemon-reload")
    _systemctl("enable", "--now", timer)
    return (
        f"{timer} reruns search {plan.search!r}; `systemctl --user list-timers` shows when. With "
        "`loginctl enable-linger` it also runs while you are logged out."
    )


def installed() -> list[Installed]:
    """List the installed timers, with their calendar expressions."""
    return list(_timers().values())


def remove(search: str, store: str | None) -> bool:
    """Stop and remove the timers of a search; return whether there was one."""
    timers = [timer for timer, of in _timers().items() if of.reruns(search, store)]
    for timer in timers:
        _systemctl("disable", "--now", timer.name)
        timer.unlink()
        timer.with_suffix(".service").unlink(missing_ok=True)
        _systemctl("daemon-reload")
    return bool(timers)


def _timers() -> dict[Path, Installed]:
    return schedules_in_files(sorted(_folder().glob(f"{_PREFIX}*.timer")), "^OnCalendar=(.*)$")


def on_calendar(cron: str) -> str:
    """Convert cron's five fields to a systemd calendar expression.

    Of two restrictions, on the day and on the weekday, it requires both.
    """
    minute, hour, day, month, weekday = cron.split()
    days = "" if weekday == "*" else f"{_weekdays(weekday)} "
    return f"{days}*-{_field(month, 1)}-{_field(day, 1)} {_field(hour)}:{_field(minute)}:00"


def _field(field: str, first: int = 0) -> str:
    def part(text: str) -> str:
        base, _, step = text.partition("/")
        base = base.replace("-", "..")
        if not step:
            return base
        return f"{first if base == '*' else base}/{step}"

    return ",".join(part(text) for text in field.split(","))


def _weekdays(field: str) -> str:
    names = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")
    days = set[int]()
    for part in field.split(","):
        base, _, step = part.partition("/")
        first, _, last = ("0-6" if base == "*" else base).partition("-")
        last = last or (max(first, "6") if step else first)  # 1/2 goes on, as in other fields
        days.update(range(int(first), int(last) + 1, int(step or 1)))
    return ",".join(names[day % 7] for day in sorted(days))


def _service(plan: Plan) -> str:
    variables = "".join(
        f"Environment={_quoted(f'{name}={value}')}\n" for name, value in plan.environment().items()
    )
    start = _command(plan.command())
    release = [sys.executable, "-m", "colab_drive_tuner", "schedule", "release"]
    return f"""\
[Unit]
Description=Rerun of search {_plain(plan.search)}
Wants=network-online.target
After=network-online.target

[Service]
Type=oneshot
{variables}ExecStart={start}
ExecStopPost={_command(release)}
SuccessExitStatus=69 75 143
KillMode=mixed
TimeoutStartSec=infinity
TimeoutStopSec=20min
"""


def _timer(plan: Plan) -> str:
    minute, hour, day, month, weekday = plan.cron.split()
    times = [plan.cron]
    if not day.startswith("*") and not weekday.startswith("*"):  # cron requires one of the two
        times = [f"{minute} {hour} {day} {month} *", f"{minute} {hour} * {month} {weekday}"]
    calendar = "\n".join(f"OnCalendar={on_calendar(time)}" for time in times)
    return f"""\
{plan.comment}
[Unit]
Description=Rerun of search {_plain(plan.search)}

[Timer]
{calendar}
Persistent=true

[Install]
WantedBy=timers.target
"""


def _plain(text: str) -> str:
    """Escape a description: systemd expands %, and a final backslash would join two lines."""
    return require_printable(text, "The search's name").replace("%", "%%").replace("\\", "/")


def _command(words: list[str]) -> str:
    """Quote a command line, the only place where systemd expands $."""
    return " ".join(_quoted(word).replace("$", "$$") for word in words)


def _quoted(text: str) -> str:
    """Quote one word of a unit's line, in which systemd expands % and backslashes."""
    require_printable(text, "The command")
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"' if re.search(r"[^\w@./:=,%+-]", escaped) else escaped


def _folder() -> Path:
    base = Variable.CONFIG_HOME.get() or str(Path("~/.config").expanduser())
    return Path(base) / "systemd" / "user"


def _systemctl(*arguments: str) -> None:
    command = ["systemctl", "--user", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        error, code = done.stderr.strip(), done.returncode
    except FileNotFoundError:
        error, code = "systemctl is not installed", 1
    if code:
        raise ColabDriveTunerError(
            f"`{' '.join(command)}` failed: {error}. On a machine without a systemd user session, "
            "use --with cron."
        )
