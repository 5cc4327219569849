"""Schedulers: cron, systemd and GitHub Actions, each of which installs the same plan.

The module of each has these functions: `text` returns what `install` would write, `install`
replaces an earlier schedule of the search and returns a message, `installed` lists searches and
times, and `remove` returns whether there was a schedule.
"""

from types import ModuleType

from colab_drive_tuner.errors import UsageError
from colab_drive_tuner.rerun.schedulers import cron, github, systemd

_SCHEDULERS = {"cron": cron, "systemd": systemd, "github": github}


def find_scheduler(name: str) -> ModuleType:
    """Return the scheduler of that name; raise `UsageError` if there is none."""
    if name not in _SCHEDULERS:
        raise UsageError(f"--with must be one of {', '.join(_SCHEDULERS)}, enterprise, got {name}.")
    return _SCHEDULERS[name]


def installed() -> list[tuple[str, str, str]]:
    """List the schedules of all schedulers: search, scheduler and times."""
    found = [(name, each) for name, way in _SCHEDULERS.items() for each in way.installed()]
    return [(search, name, when) for name, (search, when) in found]


def remove(search: str) -> list[str]:
    """Remove every schedule of a search; return the schedulers that had one."""
    return [name for name, way in _SCHEDULERS.items() if way.remove(search)]
