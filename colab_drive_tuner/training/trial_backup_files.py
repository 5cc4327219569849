"""Files of one running trial in the search's `backups/` folder.

Listings lag, so the ids of the two newest files are also stored as properties of their folder:
reads by id are up to date. Of two files with one name the newer one counts. A listed file may
already be in the trash; reading it shows that.
"""

import contextlib
import re
import threading
from collections.abc import Callable, Container
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from colab_drive_tuner.errors import (
    ForeignFileError,
    IdTakenError,
    NotFoundError,
    UnavailableError,
)
from colab_drive_tuner.journal.folder.creation import (
    BACKUPS,
    find_or_create_subfolder,
    find_subfolders,
)
from colab_drive_tuner.journal.folder.file_ownership import owned_entry
from colab_drive_tuner.store.protocol import Entry, Store, discard

if TYPE_CHECKING:
    from colab_drive_tuner.training.backup.writer import BackupWriter

TID, EPOCH = "cdt_tid", "cdt_epoch"
"""Properties of a file in such a folder: its trial, and the history that the trial belongs to."""
_NAME = "cdt_name"
_NEWEST = ("cdt_newest0", "cdt_newest1")
_BACKUP = re.compile(r"trial-\d{5,}-.+")


@dataclass
class Pace:
    """Longest epoch and longest upload of a search's trials in this run, in seconds."""

    epoch: float = 0.0
    upload: float = 0.0


class TrialBackupFiles:
    """Backups of trial `tid` in the search's folder; sends no request until used.

    `epoch` distinguishes a search's history from those before a restart, whose trials had the same
    numbers. A `fresh` trial has never run: it has no files, so the store is not asked.
    `before_first` is called before the first file is stored, and again if it raised.
    """

    def __init__(
        self,
        store: Store,
        search_folder: str,
        tid: int,
        *,
        epoch: str = "",
        fresh: bool = False,
        pace: Pace | None = None,
        before_first: Callable[[], None] | None = None,
    ) -> None:
        self.pace, self.fresh = pace or Pace(), fresh
        self._before_first = before_first
        self.writer: BackupWriter | None = None
        """The background writer of the backups; None until `TrialBackup` creates it."""
        self._store, self._search_folder, self._tid = store, search_folder, tid
        self._epoch = epoch
        self._lock = threading.RLock()
        self._folder: str | None = None
        self._ids: dict[str, list[str]] | None = {} if fresh else None
        self._reserved: dict[str, str] = {}
        """Ids of files whose creation was not confirmed, by name."""
        self._puts = 0

    def put(self, name: str, path: Path) -> None:
        """Store a file, which may take long; an earlier one of that name is trashed afterwards.

        After an `UnavailableError`, call it again with the same content.
        """
        if self._before_first is not None:
            self._before_first()
            self._before_first = None
        with self._lock:
            before = list(self._known().get(name, []))
            self._folder = self._folder or find_or_create_subfolder(
                self._store, self._search_folder, BACKUPS
            )
            entry_id = self._reserved.get(name) or self._store.reserve(1)[0]
            self._reserved[name] = entry_id
            # IdTakenError: an earlier attempt succeeded, but its answer was lost.
            with contextlib.suppress(IdTakenError):
                self._store.create(
                    entry_id,
                    path,
                    name=f"trial-{self._tid:05d}-{name}",
                    parent=self._folder,
                    properties={TID: str(self._tid), _NAME: name, EPOCH: self._epoch},
                )
            del self._reserved[name]
            self._known()[name] = [entry_id]
            with contextlib.suppress(UnavailableError):  # a listing will show the file later
                self._store.set_properties(self._folder, {_NEWEST[self._puts % 2]: entry_id})
            self._puts += 1
            for old in before:
                discard(self._store, old)

    def get(self, name: str, path: Path) -> bool:
        """Write the file stored under `name` to `path`; return False if there is none."""
        with self._lock:
            for entry_id in list(self._known().get(name, [])):
                with contextlib.suppress(NotFoundError):
                    self._store.stat(entry_id)  # raises for trashed files, which `fetch` reads
                    self._store.fetch(entry_id, path)
                    return True
            return False

    def names(self) -> list[str]:
        """Return the names of the stored files."""
        with self._lock:
            return sorted(self._known())

    def drop(self, name: str) -> None:
        """Move the file stored under `name` to the trash, if there is one."""
        with self._lock:
            for entry_id in self._known().get(name, []):
                discard(self._store, entry_id)
            self._known().pop(name, None)

    def _known(self) -> dict[str, list[str]]:
        """Return ids by name, newest first; listed once, then updated by each change."""
        if self._ids is None:
            found: dict[str, Entry] = {}
            for folder in find_subfolders(self._store, self._search_folder, BACKUPS):
                self._folder = self._folder or folder
                found |= {entry.id: entry for entry in _entries(self._store, folder)}
            self._ids = {}
            for entry in sorted(found.values(), key=lambda e: e.created, reverse=True):
                trial = entry.properties.get(TID), entry.properties.get(EPOCH, "")
                if trial == (str(self._tid), self._epoch):
                    name = entry.properties.get(_NAME, entry.name)
                    self._ids.setdefault(name, []).append(entry.id)
        return self._ids


def obsolete_backups(
    store: Store, search_folder: str, unfinished: Container[int], *, epoch: str = ""
) -> list[str]:
    """Return the ids of backups of ended trials and of other histories, which nobody resumes."""
    old = []
    for folder in find_subfolders(store, search_folder, BACKUPS):
        for entry in _entries(store, folder):
            tid = entry.properties.get(TID, "")
            if _BACKUP.fullmatch(entry.name) and tid.isdecimal():
                is_current = entry.properties.get(EPOCH, "") == epoch
                old += [] if is_current and int(tid) in unfinished else [entry.id]
    return old


def _entries(store: Store, folder: str) -> list[Entry]:
    """List a folder of backups, plus its two newest files if the listing lacks them."""
    entries = {entry.id: entry for entry in store.list(folder)}
    properties = store.stat(folder).properties
    for key in _NEWEST:
        entry_id = properties.get(key)
        if entry_id and entry_id not in entries:
            with contextlib.suppress(NotFoundError, ForeignFileError):
                entries[entry_id] = owned_entry(store, entry_id, {folder}, key)
    return list(entries.values())
