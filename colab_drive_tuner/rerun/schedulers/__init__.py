"""Schedulers: cron, systemd and GitHub Actions, each of which installs the same plan.

The module of each has these functions: `text` returns what `install` would write, `install`
replaces an earlier schedule of the search and returns a message, `installed` lists schedules, and
`remove` returns whether there was one.
"""

from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from colab_drive_tuner.errors import ColabDriveTunerError, UsageError

if TYPE_CHECKING:
    from colab_drive_tuner.rerun.schedulers.plan import Installed

Problem = ColabDriveTunerError | None

_MODULES = ("cron", "systemd", "github")
"""Loaded when they are used: the command line's help needs only the names."""
NAMES = (*_MODULES, "enterprise")
"""The schedulers that `--with` takes; that of Colab Enterprise is in `rerun/enterprise.py`."""


def find_scheduler(name: str) -> ModuleType:
    """Return the scheduler of that name; raise `UsageError` if there is none."""
    if name not in _MODULES:
        raise UsageError(f"--with must be one of {', '.join(NAMES)}, got {name}.")
    return import_module(f"{__name__}.{name}")


def installed() -> "tuple[list[tuple[str, Installed]], Problem]":
    """List the schedules with their scheduler's name; with the error of one that cannot be read."""
    found, problem = _call_each(lambda scheduler: scheduler.installed())
    return [(name, schedule) for name, schedules in found for schedule in schedules], problem


def remove(search: str, store: str | None) -> tuple[list[str], Problem]:
    """Remove every schedule of a search in that store, or of its name in any.

    Returns the schedulers that had one, and the error of one that refused.
    """
    found, problem = _call_each(lambda scheduler: scheduler.remove(search, store))
    return [name for name, was_there in found if was_there], problem


def _call_each(call: Callable[[ModuleType], Any]) -> tuple[list[tuple[str, Any]], Problem]:
    """Call each scheduler; return the answers by name, and the last error."""
    answers: list[tuple[str, Any]] = []
    problem: Problem = None
    for name in _MODULES:
        try:
            answers.append((name, call(find_scheduler(name))))
        except ColabDriveTunerError as error:
            problem = error
    return answers, problem
