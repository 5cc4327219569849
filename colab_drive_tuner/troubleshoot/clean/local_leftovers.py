"""Leftovers of dead processes on this machine: spools already recorded, and temporary folders."""

import os
import re
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from colab_drive_tuner.checkpoint.documents import same_parameters
from colab_drive_tuner.checkpoint.history import History
from colab_drive_tuner.checkpoint.items import ATTACHMENT, END, QUEUED, REAL_ENDS, read_items
from colab_drive_tuner.errors import ColabDriveTunerError, SearchDamagedError, SearchError
from colab_drive_tuner.journal.segment import Leftover as Segment
from colab_drive_tuner.journal.spool import Spool, known_searches
from colab_drive_tuner.notebook.local_copy import process_started
from colab_drive_tuner.search.results.status import read_history
from colab_drive_tuner.store.protocol import Store
from colab_drive_tuner.troubleshoot.clean.leftovers import Leftover, left_on_disk, move_to_trash

_SCRATCH = re.compile(r"colab-drive-tuner-(?P<pid>\d{1,10})-[a-z0-9_]{8}")
"""As `tempfile` composes it, which also lets nobody else in."""
_OURS_IN_SCRATCH = (".keras", ".backup", ".part")


def temporary_folders() -> Iterator[Leftover]:
    """Folders for models and backups on their way, of processes that have ended."""
    for path in sorted(Path(tempfile.gettempdir()).glob("colab-drive-tuner-*")):
        if _is_scratch(path):
            yield left_on_disk(
                "temporary folder",
                path,
                "The process that used it was ended before it could remove it.",
                partial(_is_scratch, path),
            )


def _is_scratch(path: Path) -> bool:
    """Whether it is a folder that we made, of a dead process, with nothing else in it."""
    match = _SCRATCH.fullmatch(path.name)
    if match is None or path.is_symlink() or not path.is_dir():
        return False
    about = path.stat()
    if os.name == "posix" and (about.st_uid, about.st_mode & 0o077) != (os.getuid(), 0):
        return False
    if process_started(int(match["pid"])) is not None:
        return False
    inside = list(path.iterdir())
    return all(file.is_file() and file.suffix in _OURS_IN_SCRATCH for file in inside)


def spools(store: Store) -> Iterator[Leftover]:
    """Spool files of this store's searches whose every entry is recorded; kept ones only by name.

    What is not recorded yet is no leftover: the next run records it.
    """
    for name, location in known_searches():
        if location != store.location:
            continue
        try:
            spool = Spool(store.location, name)
            if not spool.acquire():
                continue  # a live process has it
        except SearchError:
            continue  # `doctor` names it
        try:
            segments = spool.leftovers()
            history = read_history(store, name) if segments else History()
        except ColabDriveTunerError:
            continue  # what it holds may be all there is of the search
        finally:
            spool.release()
        for segment in segments:
            if made_good(segment, history):
                yield _spool(segment.path, name, ours=True)
        for kept in sorted(spool.folder.glob("*.kept")):
            yield _spool(kept, name, ours=False)


def made_good(segment: Segment, history: History) -> bool:
    """Whether everything that a spool file holds stands in the chain."""
    try:
        items = [item for packed, _ in segment.items for item in read_items(packed, "An entry")]
    except SearchDamagedError:
        return False
    for item in items:
        entry = history.trials.get(item.tid)
        if item.kind == ATTACHMENT:
            recorded = item.name in history.attachments
        elif item.kind == QUEUED:
            recorded = entry is not None
        elif item.kind == END and entry is not None and entry.end in REAL_ENDS:
            recorded = same_parameters(entry.document, item.document, item.tid)
        else:
            recorded = False
        if not recorded:
            return False
    return True


def _spool(path: Path, name: str, *, ours: bool) -> Leftover:
    return Leftover(
        kind="spool" if ours else "kept results",
        id=str(path),
        where=f"{path}, of search {name!r}",
        reason=(
            "All that it holds is recorded."
            if ours
            else "It holds results that belong to an earlier history of the search."
        ),
        ours=ours,
        still=path.is_file,
        put_away=partial(move_to_trash, path),
    )
