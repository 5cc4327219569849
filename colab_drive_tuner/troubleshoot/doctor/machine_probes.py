"""Probes of this machine: runtime, GPU, packages, state folder, disk and remaining lifetime."""

import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from colab_drive_tuner.errors import StoreError
from colab_drive_tuner.journal.spool.notes import (
    ABOUT,
    LOCK,
    OWNERS,
    RUNNING,
    SEARCH,
    read_about,
    read_known_folder,
    read_owners,
    read_running,
)
from colab_drive_tuner.journal.spool.spool_file import read_spool_file
from colab_drive_tuner.machine import read_id, state_folder
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
    names = ("hyperopt", "numpy", "keras", "hyperas", "pydrive2", "cryptography")
    hyperopt, numpy, keras, hyperas, pydrive2, cryptography = map(installed_version, names)
    if _number(hyperopt) < (0, 3) and _number(numpy) >= (2,):
        yield f"hyperopt {hyperopt} fails with numpy {numpy}.", "Run: pip install -U hyperopt"
    if hyperas and _number(keras) >= (3,) and _number(hyperas) != (0, 4, 1):
        yield (
            f"hyperas {hyperas} fails with Keras {keras}; setup() makes 0.4.1 work, no other.",
            "Run: pip install hyperas==0.4.1",
        )
    if pydrive2 and _number(cryptography) >= (44,) and _number(pydrive2) > (1, 21, 1):
        yield (
            f"PyDrive2 {pydrive2} needs cryptography below 44, but {cryptography} is installed.",
            "This package does not need PyDrive2: install it in a separate environment.",
        )


def _number(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


def machine_state(_context: CheckContext) -> Iterator[Finding]:
    """Report damaged or unexpected files in the state folder, and what to do about them."""
    try:
        problems = list(_problems(state_folder()))
    except StoreError as error:
        problems = [str(error)]
    except OSError as error:
        problems = [f"The state folder cannot be read: {error}."]
    for problem in problems:
        yield Finding(Level.WARNING, problem)
    if not problems:
        yield Finding(Level.OK, "this machine's files of searches are readable.")


def _problems(folder: Path) -> Iterator[str]:
    machine = folder / "machine"
    if os.path.lexists(machine) and read_id(machine) is None:
        yield (
            f"{machine} does not hold the id of this machine: the next run moves it aside and "
            f"creates a new one. Until then, searches held here count as held by another machine."
        )
    spools = folder / "spool"
    if spools.is_dir():
        for spool in sorted(spools.iterdir()):
            yield from _spool_problems(spool)
    elif os.path.lexists(spools):
        yield f"{spools} is not a folder, so that no search can be run here: remove it."
    for path in sorted([*folder.glob("*.damaged-*"), *spools.glob("*/*.damaged-*")]):
        yield f"{path} was damaged and has been moved aside: remove it once you have looked at it."


def _spool_problems(folder: Path) -> Iterator[str]:
    """Yield the problems of one search's spool."""
    if not folder.is_dir():
        yield f"{folder} is not a folder: remove it."
        return
    about = read_about(folder / ABOUT)
    search = "an unknown search" if about is None else f"search {about[0]!r}"
    if about is None:
        yield (
            f"{folder / ABOUT} does not name the search that the results in its folder belong to; "
            f"the next run of the search rewrites it."
        )
    lock = folder / LOCK
    usable = lock.is_file() and not lock.is_symlink() and os.access(lock, os.R_OK | os.W_OK)
    if os.path.lexists(lock) and not usable:
        yield f"{lock} cannot be locked, so that {search} cannot be run here: remove it."
    notes = {
        OWNERS: (read_owners, "the next run may have to wait for 90 s"),
        RUNNING: (read_running, "after a kill the careful start of the next run takes longer"),
        SEARCH: (read_known_folder, "a moved search is found by its properties only"),
    }
    for name, (read, consequence) in notes.items():
        path = folder / name
        if os.path.lexists(path) and read(path) is None:
            yield f"{path}, a note of {search}, is damaged: {consequence}. Remove it."
    for path in sorted(folder.glob("*.spool")):
        if damage := read_spool_file(path).damage:
            yield (
                f"{path}, with results of {search}, is damaged ({damage}): the next run uses its "
                f"readable part and keeps the file."
            )


def disk(_context: CheckContext) -> Iterator[Finding]:
    """Report free space in the working directory and state folder; check that results can spool."""
    try:
        spool = state_folder()
        probe = spool / f"probe-{time.monotonic_ns()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        text = f"results cannot be spooled: {str(error).rstrip('.')}."
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
