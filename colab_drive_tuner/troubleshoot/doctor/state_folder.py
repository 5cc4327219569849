"""Probe of this machine's state folder: what in it is not as it should be; nothing is written."""

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
from colab_drive_tuner.journal.spool.segment import read_segment
from colab_drive_tuner.machine import has_valid_id, state_folder
from colab_drive_tuner.troubleshoot.doctor.context import CheckContext, Finding, Level


def state(_context: CheckContext) -> Iterator[Finding]:
    """Files that are damaged, or something else than they should be, and what to do."""
    try:
        problems = list(_problems(state_folder()))
    except StoreError as error:
        problems = [str(error)]
    except OSError as error:
        problems = [f"The state folder cannot be read: {error}."]
    for problem in problems:
        yield Finding(Level.WARNING, problem)
    if not problems:
        yield Finding(Level.OK, "what this machine keeps of searches is readable.")


def _problems(state: Path) -> Iterator[str]:
    machine = state / "machine"
    if os.path.lexists(machine) and not has_valid_id(machine):
        yield (
            f"{machine} does not hold the id of this machine: the next run puts it aside and makes "
            f"a new one. A search that is held here counts as another machine's until then."
        )
    spools = state / "spool"
    if spools.is_dir():
        for folder in sorted(spools.iterdir()):
            yield from _of_spool(folder)
    elif os.path.lexists(spools):
        yield f"{spools} is not a folder, so that no search can be run here: remove it."
    for path in sorted([*state.glob("*.damaged-*"), *spools.glob("*/*.damaged-*")]):
        yield f"{path} was damaged, and was put aside: remove it when you have seen it."


def _of_spool(folder: Path) -> Iterator[str]:
    """What is wrong with the spool of one search."""
    if not folder.is_dir():
        yield f"{folder} is not a folder: remove it."
        return
    about = read_about(folder / ABOUT)
    search = "an unknown search" if about is None else f"search {about[0]!r}"
    if about is None:
        yield (
            f"{folder / ABOUT} does not say of which search the results in its folder are; the "
            f"next run of the search writes it anew."
        )
    lock = folder / LOCK
    usable = lock.is_file() and not lock.is_symlink() and os.access(lock, os.R_OK | os.W_OK)
    if os.path.lexists(lock) and not usable:
        yield f"{lock} cannot be locked, so that {search} cannot be run here: remove it."
    notes = {
        OWNERS: (read_owners, "the next run may have to wait for 90 s"),
        RUNNING: (read_running, "after a kill the next run goes carefully for longer"),
        SEARCH: (read_known_folder, "a search that is moved away is found by its properties only"),
    }
    for name, (read, follows) in notes.items():
        path = folder / name
        if os.path.lexists(path) and read(path) is None:
            yield f"{path}, a note of {search}, is damaged: {follows}. Remove it."
    for path in sorted(folder.glob("*.spool")):
        if damage := read_segment(path).damage:
            yield (
                f"{path}, with results of {search}, is damaged ({damage}): the next run uses what "
                f"can be read of it, and keeps it."
            )
