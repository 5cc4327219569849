"""Schedulers: cron, systemd and GitHub Actions, each of which installs the same plan.

The module of each has these functions: `text` returns what `install` would write, `install`
replaces an earlier schedule of the search and returns a message, `installed` lists schedules, and
`remove` returns whether there was one.
"""

from types import ModuleType

from colab_drive_tuner.errors import ColabDriveTunerError, UsageError
from colab_drive_tuner.rerun.schedulers import cron, github, systemd
from colab_drive_tuner.rerun.schedulers.plan import Installed

Problem = ColabDriveTunerError | None

_SCHEDULERS = {"cron": cron, "systemd": systemd, "github": github}


def find_scheduler(name: str) -> ModuleType:
    """Return the scheduler of that name; raise `UsageError` if there is none."""
    if name not in _SCHEDULERS:
        raise UsageError(f"--with must be one of {', '.join(_SCHEDULERS)}, enterprise, got {name}.")
    return _SCHEDULERS[name]


def installed() -> tuple[list[tuple[str, Installed]], Problem]:
    """List the schedules with their scheduler's name; with the error of one that cannot be read."""
    found: list[tuple[str, Installed]] = []
    problem: Problem = None
    for name, way in _SCHEDULERS.items():
        try:
            found += [(name, schedule) for schedule in way.installed()]
        except ColabDriveTunerError as error:
            problem = error
    return found, problem


def remove(search: str, store: str | None) -> tuple[list[str], Problem]:
    """Remove every schedule of a search in that store, or of its name in any.

    Returns the schedulers that had one, and the error of one that refused.
    """
    removed: list[str] = []
    problem: Problem = None
    for name, way in _SCHEDULERS.items():
        try:
            if way.remove(search, store):
                removed.append(name)
        except ColabDriveTunerError as error:
            problem = error
    return removed, problem
