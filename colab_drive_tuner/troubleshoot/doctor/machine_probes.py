"""Probes of this machine: where it runs, its GPU, versions, disk, and how long it still lives."""

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
    """Where this runs, and what did not answer."""
    here = context.runtime
    if here.unanswered:
        text = f"{here.label}; no answer from {', '.join(here.unanswered)}."
        yield Finding(Level.WARNING, text, "If it stays so, restart the runtime.")
    elif here.kind is Kind.COLAB_CLI and ipython() is None:
        text = "Google Colab; a command cannot ask the notebook's page, a cell can."
        yield Finding(Level.OK, text)
    else:
        page = ", its page is open" if here.browser_attached else ""
        yield Finding(Level.OK, f"{here.label}{page}.")


def gpu(context: CheckContext) -> Iterator[Finding]:
    """Whether there is one; on Colab its absence is usually an oversight."""
    here = context.runtime
    if here.gpu:
        yield Finding(Level.OK, f"{here.gpu}.")
    elif here.is_colab:
        text = "none is attached, so training is slow."
        yield Finding(Level.WARNING, text, "Choose one under Runtime > Change runtime type.")
    else:
        yield Finding(Level.OK, "none found; training uses the CPU.")


def versions(context: CheckContext) -> Iterator[Finding]:  # noqa: ARG001 - they are this process's
    """Versions that are known to clash."""
    clashes = 0
    for text, advice in _clashes():
        clashes += 1
        yield Finding(Level.WARNING, text, advice)
    if not clashes:
        names = ("hyperopt", "numpy", "keras", "hyperas", "pydrive2")
        there = [f"{name} {found}" for name in names if (found := installed_version(name))]
        yield Finding(Level.OK, f"{', '.join(there)}.")


def _clashes() -> Iterator[tuple[str, str]]:
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
            f"PyDrive2 {pydrive2} wants cryptography below 44, and {cryptography} is installed.",
            "This package does not need PyDrive2: keep it in an environment of its own.",
        )


def _number(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


def disk(context: CheckContext) -> Iterator[Finding]:  # noqa: ARG001 - it is this machine's
    """Room in the working directory and where results are spooled, and whether that can be."""
    try:
        spool = state_folder()
        probe = spool / f"probe-{time.monotonic_ns()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        text = f"results cannot be spooled: {error}."
        yield Finding(Level.PROBLEM, text, "Set XDG_STATE_HOME to a folder that can be written.")
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
    """How long this runtime may still live, where that is known."""
    hours = uptime_hours() if context.runtime.is_colab else None
    if hours is None or context.runtime.kind is Kind.COLAB_ENTERPRISE:
        yield Finding(Level.OK, "no limit is known here.")
        return
    most = COLAB_HOURS if hours < COLAB_HOURS else COLAB_MOST_HOURS
    text = f"up for {hours:.1f} h; Colab ends a runtime after {COLAB_HOURS:.0f} h, with Pro+ after "
    text += f"{COLAB_MOST_HOURS:.0f} h, and sooner where nobody uses it."
    if most - hours < 1:
        advice = "Pass max_time= to stop in time; on the next runtime the search goes on."
        yield Finding(Level.WARNING, text, advice)
    else:
        yield Finding(Level.OK, text)
