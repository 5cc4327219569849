"""Leftovers of dead processes on this machine: notebook copies, spools, temporary folders."""

import os
import re
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from colab_drive_tuner.checkpoint.document_validation import same_parameters
from colab_drive_tuner.checkpoint.history import History
from colab_drive_tuner.checkpoint.items import REAL_ENDS, ItemKind, read_items
from colab_drive_tuner.errors import ColabDriveTunerError, SearchDamagedError
from colab_drive_tuner.journal.spool.notes import known_searches, spool_folder
from colab_drive_tuner.journal.spool.segment import Leftover as Segment
from colab_drive_tuner.journal.spool.spool import idle_leftovers
from colab_drive_tuner.local_files import sha256_of
from colab_drive_tuner.machine import process_start_time
from colab_drive_tuner.notebook.detect_running import open_paths
from colab_drive_tuner.notebook.find import Notebook
from colab_drive_tuner.notebook.local_copy import abandoned_parts, forget, is_stale, marks
from colab_drive_tuner.search.results.read_search import read_history
from colab_drive_tuner.store.protocol import Store
from colab_drive_tuner.troubleshoot.clean.leftovers import Leftover, left_on_disk

_SCRATCH = re.compile(r"colab-drive-tuner-(?P<pid>\d{1,10})-[a-z0-9_]{8}")
"""As `tempfile` composes it, which also lets nobody else in."""
_LARGEST = 2**20
_PARTS = (
    "#coding=utf-8\n\n",
    "\nfrom hyperopt import fmin, tpe, hp, STATUS_OK, Trials\n",
    "\ndef keras_fmin_fnct(space):\n",
    "\ndef get_space():\n    return {\n",
)
"""Of a temp_model.py as hyperas 0.4.1 puts it together (`utils.temp_string`), in this order."""
_OURS_IN_SCRATCH = (".keras", ".backup", ".part")


def notebook_copies(folder: Path, notebook: Notebook | None) -> Iterator[Leftover]:
    """Copies of notebooks in a directory that no process uses, and nobody changed."""
    running = open_paths()
    if notebook is not None:
        running.add(folder / notebook.local_name)
    for mark in marks():
        path = Path(mark.path)
        if not path.exists():
            forget(path)
        elif path.parent == folder and path not in running and is_stale(path):
            yield left_on_disk(
                "notebook copy",
                path,
                "We downloaded it for a run that has ended, and nobody changed it since.",
                partial(is_stale, path),
            )


def abandoned_copies(folder: Path) -> Iterator[Leftover]:
    """Copies of notebooks that were not written to their end."""
    for part in abandoned_parts(folder):
        reason = "The process that was writing it was ended before it had finished."
        yield left_on_disk("half-written copy", part, reason, part.is_file)


def hyperas_modules(folder: Path) -> Iterator[Leftover]:
    """The module that hyperas writes for each search, and what Python compiled of it."""
    source = folder / "temp_model.py"
    if source.exists() or source.is_symlink():
        if not wrote_hyperas(source):
            return  # somebody's own module, and so is its cache
        yield _left_by_hyperas(source, "hyperas module")
    caches = [folder / "temp_model.pyc", *(folder / "__pycache__").glob("temp_model.*.pyc")]
    for cache in sorted(caches):
        content = _read_small(cache)
        if b"keras_fmin_fnct" in content and b"get_space" in content:
            yield _left_by_hyperas(cache, "hyperas cache")


def _left_by_hyperas(path: Path, kind: str) -> Leftover:
    was = sha256_of(path)
    reason = "hyperas writes it for each search and left it when one failed to start."
    return left_on_disk(kind, path, reason, lambda: path.is_file() and sha256_of(path) == was)


def wrote_hyperas(path: Path) -> bool:
    """Whether a temp_model.py has, from its first line to its last, the parts hyperas gives it."""
    text = _read_small(path).decode(errors="replace")
    places = [text.find(part) for part in _PARTS]
    return places == sorted(places) and places[0] == 0 and text.endswith("\n    }\n")


def _read_small(path: Path) -> bytes:
    """The content of a plain file; empty where it is none, or is larger than any of hyperas's."""
    try:
        if path.is_file() and not path.is_symlink() and path.stat().st_size <= _LARGEST:
            return path.read_bytes()
    except OSError:
        pass  # nothing that could be put away
    return b""


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
    if process_start_time(int(match["pid"])) is not None:
        return False
    inside = list(path.iterdir())
    return all(file.is_file() and file.suffix in _OURS_IN_SCRATCH for file in inside)


def spools(store: Store) -> Iterator[Leftover]:
    """Spool files of this store's searches whose every entry is recorded; kept ones only by name.

    What is not recorded yet is no leftover: the next run records it.
    """
    for name, location, _ in known_searches():
        if location != store.location:
            continue
        try:
            segments = idle_leftovers(location, name)
            history = read_history(store, name) if segments else History()
        except ColabDriveTunerError:
            continue  # what it holds may be all there is of the search; `doctor` names it
        if segments is None:
            continue  # a live process has it
        of_search = f", of search {name!r}"
        for path in (segment.path for segment in segments if is_recorded(segment, history)):
            reason = "All that it holds is recorded."
            yield left_on_disk("spool", path, reason, path.is_file, about=of_search)
        for path in sorted(spool_folder(location, name).glob("*.kept")):
            reason = "It holds results that belong to an earlier history of the search."
            yield left_on_disk(
                "kept results", path, reason, path.is_file, about=of_search, ours=False
            )


def is_recorded(segment: Segment, history: History) -> bool:
    """Whether everything that a spool file holds stands in the chain."""
    try:
        items = [item for packed, _ in segment.items for item in read_items(packed, "An entry")]
    except SearchDamagedError:
        return False
    for item in items:
        entry = history.trials.get(item.tid)
        if item.kind == ItemKind.ATTACHMENT:
            recorded = item.name in history.attachments
        elif item.kind in (ItemKind.QUEUED, ItemKind.START):
            recorded = entry is not None
        elif item.kind == ItemKind.END and entry is not None and entry.end in REAL_ENDS:
            recorded = same_parameters(entry.document, item.document, item.tid)
        else:
            recorded = False
        if not recorded:
            return False
    return True
