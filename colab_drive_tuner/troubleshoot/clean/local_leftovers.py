"""Leftovers of dead processes on this machine: notebook copies, spools, temporary folders."""

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from colab_drive_tuner.checkpoint.document_schema import same_parameters
from colab_drive_tuner.checkpoint.history import History
from colab_drive_tuner.checkpoint.record_items import REAL_ENDS, Item, ItemKind, read_items
from colab_drive_tuner.checkpoint.trials_and_sessions import AttachmentFile
from colab_drive_tuner.errors import ColabDriveTunerError, SearchDamagedError
from colab_drive_tuner.journal.spool.notes import known_searches, spool_folder
from colab_drive_tuner.journal.spool.spool import idle_spool_files
from colab_drive_tuner.journal.spool.spool_file import SpoolFile
from colab_drive_tuner.local_files import TEMPORARY_NAME, sha256_of
from colab_drive_tuner.machine import process_start_time
from colab_drive_tuner.notebook.detect_running import open_notebook_paths
from colab_drive_tuner.notebook.find import Notebook
from colab_drive_tuner.notebook.local_copy import copy_markers, is_stale, remove_marker
from colab_drive_tuner.search.results.read_search import read_history
from colab_drive_tuner.store.protocol import Store
from colab_drive_tuner.troubleshoot.clean.removal import Leftover, left_on_disk

_SCRATCH = re.compile(r"colab-drive-tuner-(?P<pid>\d{1,10})-[a-z0-9_]{8}")
"""Name given by `tempfile.mkdtemp`, which also denies access to other users."""
_MAX_BYTES = 2**20
_HYPERAS_PARTS = (
    "#coding=utf-8\n\n",
    "\nfrom hyperopt import fmin, tpe, hp, STATUS_OK, Trials\n",
    "\ndef keras_fmin_fnct(space):\n",
    "\ndef get_space():\n    return {\n",
)
"""Parts of a temp_model.py as hyperas 0.4.1 assembles it (`utils.temp_string`), in this order."""
_SCRATCH_SUFFIXES = (".keras", ".backup", ".part")


def notebook_copies(folder: Path, notebook: Notebook | None) -> Iterator[Leftover]:
    """Yield unchanged notebook copies in the folder that no process uses."""
    running = open_notebook_paths()
    if notebook is not None:
        running.add(folder / notebook.local_name)
    for marker in copy_markers():
        path = Path(marker.path)
        if not path.exists():
            remove_marker(path)
        elif path.parent == folder and path not in running and is_stale(path):
            yield left_on_disk(
                "notebook copy",
                path,
                "It was downloaded for a run that has ended, and was not changed since.",
                partial(is_stale, path),
            )


def abandoned_copies(folder: Path) -> Iterator[Leftover]:
    """Yield notebook copies that were only partly written."""
    reason = "The process that wrote it ended before it had finished."
    for part in sorted(folder.glob(".colab-drive-tuner-*.part")):
        match = TEMPORARY_NAME.fullmatch(part.name)
        if match is None or part.is_symlink() or not part.is_file():
            continue  # a user's file
        if process_start_time(int(match[1])) is None:
            yield left_on_disk("half-written copy", part, reason, part.is_file)


def hyperas_modules(folder: Path) -> Iterator[Leftover]:
    """Yield the module that hyperas writes for each search, and its bytecode caches."""
    source = folder / "temp_model.py"
    if source.exists() or source.is_symlink():
        if not is_written_by_hyperas(source):
            return  # the user's own module, and so is its cache
        yield _left_by_hyperas(source, "hyperas module")
    caches = [folder / "temp_model.pyc", *(folder / "__pycache__").glob("temp_model.*.pyc")]
    for cache in sorted(caches):
        content = _read_small(cache)
        if b"keras_fmin_fnct" in content and b"get_space" in content:
            yield _left_by_hyperas(cache, "hyperas cache")


def _left_by_hyperas(path: Path, kind: str) -> Leftover:
    sha256 = sha256_of(path)
    reason = "hyperas writes it for each search and left it when one failed to start."
    return left_on_disk(kind, path, reason, lambda: path.is_file() and sha256_of(path) == sha256)


def is_written_by_hyperas(path: Path) -> bool:
    """Whether a temp_model.py consists of the parts that hyperas writes, from start to end."""
    text = _read_small(path).decode(errors="replace")
    places = [text.find(part) for part in _HYPERAS_PARTS]
    return places == sorted(places) and places[0] == 0 and text.endswith("\n    }\n")


def _read_small(path: Path) -> bytes:
    """Return the content of a small regular file; empty for anything else, or if unreadable."""
    with suppress(OSError):
        if path.is_file() and not path.is_symlink() and path.stat().st_size <= _MAX_BYTES:
            return path.read_bytes()
    return b""


def temporary_folders() -> Iterator[Leftover]:
    """Yield folders in which ended processes staged models and backups."""
    for path in sorted(Path(tempfile.gettempdir()).glob("colab-drive-tuner-*")):
        if _is_scratch(path):
            yield left_on_disk(
                "temporary folder",
                path,
                "The process that used it ended before it could remove it.",
                partial(_is_scratch, path),
            )


def _is_scratch(path: Path) -> bool:
    """Whether the folder was made by this package in a dead process, and holds only its files."""
    match = _SCRATCH.fullmatch(path.name)
    if match is None or process_start_time(int(match["pid"])) is not None:
        return False  # a live process may remove it at any moment
    if path.is_symlink() or not path.is_dir():
        return False
    about = path.stat()
    if os.name == "posix" and (about.st_uid, about.st_mode & 0o077) != (os.getuid(), 0):
        return False
    inside = list(path.iterdir())
    return all(file.is_file() and file.suffix in _SCRATCH_SUFFIXES for file in inside)


def spools(store: Store) -> Iterator[Leftover]:
    """Yield the spool files of this store's searches whose entries are all recorded.

    Entries that are not recorded yet are not leftovers: the next run records them. Results kept for
    an earlier history are listed too, but removed only by name.
    """
    for name, location, _ in known_searches():
        if location != store.location:
            continue
        try:
            spool_files = idle_spool_files(location, name)
            history = read_history(store, name) if spool_files else History()
        except ColabDriveTunerError:
            continue  # it may hold the only copy of the results; `doctor` names it
        if spool_files is None:
            continue  # a live process uses it
        of_search = f", of search {name!r}"
        for path in [file.path for file in spool_files if is_recorded(file, history)]:
            reason = "All of its entries are recorded."
            yield left_on_disk("spool", path, reason, path.is_file, about=of_search)
        for path in sorted(spool_folder(location, name).glob("*.kept")):
            reason = "It holds results that belong to an earlier history of the search."
            yield left_on_disk(
                "kept results", path, reason, path.is_file, about=of_search, ours=False
            )


def is_recorded(spool_file: SpoolFile, history: History) -> bool:
    """Whether the chain contains every entry of a spool file.

    This is stricter than `wanted`, which also rejects entries that contradict the chain.
    """
    try:
        items = [item for packed, _ in spool_file.items for item in read_items(packed, "An entry")]
    except SearchDamagedError:
        return False
    return all(contains(history, item) for item in items)


def contains(history: History, item: Item) -> bool:
    """Whether the history has an item's trial or attachment's value, and its result if an end."""
    if item.kind == ItemKind.ATTACHMENT:
        stored = history.attachments.get(item.name)
        value = stored.sha if isinstance(stored, AttachmentFile) else stored
        return value == ((item.sha or item.document) if item.is_set else None)
    entry = history.trials.get(item.tid)
    if entry is None or item.kind != ItemKind.END:
        return entry is not None and item.kind in (ItemKind.QUEUED, ItemKind.START)
    return entry.end in REAL_ENDS and same_parameters(entry.document, item.document, item.tid)
