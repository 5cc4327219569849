"""Probes of this machine: runtime, GPU, package versions, disk space and remaining lifetime."""

import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from colab_drive_tuner.machine import state_folder
from colab_drive_tuner.runtime import COLAB_HOURS, COLAB_MOST_HOURS, Kind, ipython, uptime_hours
from colab_drive_tuner.troubleshoot.doctor.context import CheckContext, Finding, Level
from colab_drive_tuner.version import installed_version

_MEGABYTE = 1e6


def runtime(context: CheckContext) -> Iterator[Finding]:
    """Report the runtime and its services that did not answer."""
    here = context.runtime
    if here.unanswered:
        text = f"{here.label}; no answer from {', '.join(here.unanswered)}."
        yield Finding(Level.WARNING, text, "If this persists, restart the runtime.")
    elif here.kind is Kind.COLAB_CLI and ipython() is None:
        text = "Google Colab; only a cell, not a command, can query the notebook's page."
        yield Finding(Level.OK, text)
    else:
        page = ", its page is open" if here.browser_attached else ""
        yield Finding(Level.OK, f"{here.label}{page}.")


def gpu(context: CheckContext) -> Iterator[Finding]:
    """Report the GPU; on Colab its absence is usually an oversight."""
    here = context.runtime
    if here.gpu:
        yield Finding(Level.OK, f"{here.gpu}.")
    elif here.is_colab:
        text = "none is attached, so training is slow."
        yield Finding(Level.WARNING, text, "Choose one under Runtime > Change runtime type.")
    else:
        yield Finding(Level.OK, "none found; training uses the CPU.")


def versions(_context: CheckContext) -> Iterator[Finding]:
    """Report incompatible versions of installed packages."""
    conflicts = list(_conflicts())
    for text, advice in conflicts:
        yield Finding(Level.WARNING, text, advice)
    if not conflicts:
        names = ("hyperopt", "numpy", "keras", "hyperas", "pydrive2")
        found = [f"{name} {version}" for name in names if (version := installed_version(name))]
        yield Finding(Level.OK, f"{', '.join(found)}.")


def _conflicts() -> Iterator[tuple[str, str]]:
    hyperopt, numpy, keras = (
        installed_version("hyperopt"),
        installed_version("numpy"),
        installed_version("keras"),
    )
    hyperas, pydrive2 = installed_version("hyperas"), installed_version("pydrive2")
    if _number(hyperopt) < (0, 3) and _number(numpy) >= (2,):
        yield f"hyperopt {hyperopt} fails with numpy {numpy}.", "Run: pip install -U hyperopt"
    if hyperas and _number(keras) >= (3,) and _number(hyperas) != (0, 4, 1):
        yield (
            f"hyperas {hyperas} fails with Keras {keras}; setup() makes 0.4.1 work, no other.",
            "Run: pip install hyperas==0.4.1",
        )
    cryptography = installed_version("cryptography")
    if pydrive2 and _number(cryptography) >= (44,) and _number(pydrive2) > (1, 21, 1):
        yield (
            f"PyDrive2 {pydrive2} needs cryptography below 44, but {cryptography} is installed.",
            "This package does not need PyDrive2: install it in a separate environment.",
        )


def _number(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


def disk(_context: CheckContext) -> Iterator[Finding]:
    """Report free space in the working directory and state folder; check that results can spool."""
    try:
        spool = state_folder()
        probe = spool / f"probe-{time.monotonic_ns()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        text = f"results cannot be spooled: {error}."
        yield Finding(Level.PROBLEM, text, "Set XDG_STATE_HOME to a writable folder.")
        return
    try:
        here = Path.cwd()
        free = {place: shutil.disk_usage(place).free for place in (here, spool)}
    except OSError as error:
        text = f"the working directory is gone ({error.strerror})."
        yield Finding(Level.PROBLEM, text, "Change to another one, in a notebook with %cd.")
        return
    place, least = min(free.items(), key=lambda item: item[1])
    text = f"{least / 1e9:.1f} GB are free in {place}."
    if least < 100 * _MEGABYTE:
        yield Finding(Level.PROBLEM, text, "Remove files that you do not need.")
    elif least < 1000 * _MEGABYTE:
        yield Finding(Level.WARNING, text, "Remove files that you do not need.")
    else:
        yield Finding(Level.OK, text)


def time_left(context: CheckContext) -> Iterator[Finding]:
    """Report the runtime's age and its time limit, if known."""
    hours = uptime_hours() if context.runtime.is_colab else None
    if hours is None or context.runtime.kind is Kind.COLAB_ENTERPRISE:
        yield Finding(Level.OK, "no limit is known here.")
        return
    most = COLAB_HOURS if hours < COLAB_HOURS else COLAB_MOST_HOURS
    text = f"up for {hours:.1f} h; Colab ends a runtime after {COLAB_HOURS:.0f} h, with Pro+ after "
    text += f"{COLAB_MOST_HOURS:.0f} h, and sooner if it is idle."
    if most - hours < 1:
        advice = "Pass max_time= to stop in time; the search continues on the next runtime."
        yield Finding(Level.WARNING, text, advice)
    else:
        yield Finding(Level.OK, text)
