"""The schedules on this machine and in the repository here, whichever scheduler has them."""

from importlib import import_module
from typing import Protocol, cast

from colab_drive_tuner.errors import MissingExtraError, UsageError
from colab_drive_tuner.rerun.plan import Plan

WAYS = ("cron", "systemd", "github")


class Way(Protocol):
    """What the module of each scheduler has."""

    def text(self, plan: Plan) -> str:
        """What would be installed."""

    def install(self, plan: Plan) -> str:
        """Install it, in place of an earlier one of the search; returns what was done."""

    def installed(self) -> list[tuple[str, str]]:
        """The searches that have a schedule, and when they are looked at."""

    def remove(self, search: str) -> bool:
        """Remove the schedule of a search; False where there is none."""


def way(name: str) -> Way:
    """The scheduler of that name; raises `UsageError`."""
    if name not in WAYS:
        raise UsageError(f"--with {name}: it is one of {', '.join(WAYS)}, enterprise.")
    return cast("Way", import_module(f"colab_drive_tuner.rerun.{name}"))


def installed() -> list[tuple[str, str, str]]:
    """Each schedule: the search, the scheduler, and when."""
    found: list[tuple[str, str, str]] = []
    for name in WAYS:
        try:
            found += [(search, name, when) for search, when in way(name).installed()]
        except MissingExtraError:
            continue  # a scheduler that is not here has no schedules
    return found


def remove(search: str) -> list[str]:
    """Remove every schedule of a search; returns the schedulers that had one."""
    names = [name for found, name, _ in installed() if found == search]
    return [name for name in names if way(name).remove(search)]
