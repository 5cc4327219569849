"""Read-only probe of this machine's state folder: damaged or unexpected files."""

import os
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
from colab_drive_tuner.machine import has_valid_id, state_folder
from colab_drive_tuner.troubleshoot.doctor.context import CheckContext, Finding, Level


def check_state_folder(_context: CheckContext) -> Iterator[Finding]:
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
    if os.path.lexists(machine) and not has_valid_id(machine):
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
