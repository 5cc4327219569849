"""The files of one trial in the search's `backups/` folder, while it runs; folders in a search's.

Listings lag, so the id of a new folder is also marked on its parent, and the ids of the two files
written last on their folder: both are read by id and up to date. Of two files of one name the newer
one counts, and what a listing still shows although it is in the trash is found out when it is read.
"""

import contextlib
import re
import threading
from collections.abc import Callable, Container
from pathlib import Path

from colab_drive_tuner.errors import (
    ForeignFileError,
    IdTakenError,
    NotFoundError,
    StoreError,
    UnavailableError,
)
from colab_drive_tuner.journal.folder.file_ownership import owned_entry
from colab_drive_tuner.store.protocol import Entry, Store
from colab_drive_tuner.trial import Pace, Writer

FOLDER = "backups"
TID, EPOCH = "cdt_tid", "cdt_epoch"
"""Marks on a file in such a folder: the trial it is of, and the history that the trial belongs to.
"""
_NAME = "cdt_name"
_NEWEST = ("cdt_newest0", "cdt_newest1")
_TRIES = 3
_BACKUP = re.compile(r"trial-\d{5,}-.+")


class StoreArtifacts:
    """`Artifacts` of trial `tid` in the search's folder; asks the store nothing until used.

    `epoch` tells a search's history from those before it was restarted, whose trials had the same
    numbers. A `fresh` trial never ran before: there is nothing of it, and the store is not asked.
    `before_first` is called before the first file is stored, again where it raised.
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
        self.writer: Writer | None = None
        self._store, self._search_folder, self._tid = store, search_folder, tid
        self._epoch = epoch
        self._lock = threading.RLock()
        self._home: str | None = None
        self._ids: dict[str, list[str]] | None = {} if fresh else None
        self._puts = 0

    def put(self, name: str, path: Path) -> None:
        """See `Artifacts.put`: what was kept before goes only once the new file is stored."""
        if self._before_first is not None:
            self._before_first()
            self._before_first = None
        with self._lock:
            before = list(self._known().get(name, []))
            self._home = self._home or find_or_create_folder(
                self._store, self._search_folder, FOLDER
            )
            entry_id = self._store.reserve(1)[0]
            self._create(entry_id, name, path, self._home)
            self._known()[name] = [entry_id]
            with contextlib.suppress(UnavailableError):  # a listing will show it before long
                self._store.set_properties(self._home, {_NEWEST[self._puts % 2]: entry_id})
            self._puts += 1
            for old in before:
                self._trash(old)

    def get(self, name: str, path: Path) -> bool:
        """See `Artifacts.get`."""
        with self._lock:
            for entry_id in list(self._known().get(name, [])):
                with contextlib.suppress(NotFoundError):
                    self._store.stat(entry_id)  # what is in the trash can still be fetched
                    self._store.fetch(entry_id, path)
                    return True
            return False

    def names(self) -> list[str]:
        """See `Artifacts.names`."""
        with self._lock:
            return sorted(self._known())

    def drop(self, name: str) -> None:
        """See `Artifacts.drop`: the file goes into the trash."""
        with self._lock:
            for entry_id in self._known().get(name, []):
                self._trash(entry_id)
            self._known().pop(name, None)

    def _create(self, entry_id: str, name: str, path: Path, home: str) -> None:
        """Create under one id until an answer arrives, or `UnavailableError` the third time."""
        for attempt in range(_TRIES):
            try:
                self._store.create(
                    entry_id,
                    path,
                    name=f"trial-{self._tid:05d}-{name}",
                    parent=home,
                    properties={TID: str(self._tid), _NAME: name, EPOCH: self._epoch},
                )
            except IdTakenError:
                return  # our own id: an earlier attempt arrived
            except UnavailableError:
                if attempt == _TRIES - 1:
                    raise
            else:
                return

    def _known(self) -> dict[str, list[str]]:
        """Ids by name, the newest first; asked for once, then kept up to date by what is done."""
        if self._ids is None:
            found: dict[str, Entry] = {}
            for home in find_folders(self._store, self._search_folder, FOLDER):
                self._home = self._home or home
                found |= {entry.id: entry for entry in _entries(self._store, home)}
            self._ids = {}
            for entry in sorted(found.values(), key=lambda e: e.created, reverse=True):
                of = entry.properties.get(TID), entry.properties.get(EPOCH, "")
                if of == (str(self._tid), self._epoch):
                    name = entry.properties.get(_NAME, entry.name)
                    self._ids.setdefault(name, []).append(entry.id)
        return self._ids

    def _trash(self, entry_id: str) -> None:
        with contextlib.suppress(NotFoundError):
            self._store.trash(entry_id)


def obsolete_backups(
    store: Store, search_folder: str, unfinished: Container[int], *, epoch: str = ""
) -> list[str]:
    """The ids of backups from which no trial goes on.

    They are of trials that ended, or of the history before a restart, which had another `epoch`.
    """
    old = []
    for home in find_folders(store, search_folder, FOLDER):
        for entry in _entries(store, home):
            tid = entry.properties.get(TID, "")
            if _BACKUP.fullmatch(entry.name) and tid.isdecimal():
                now = entry.properties.get(EPOCH, "") == epoch
                old += [] if now and int(tid) in unfinished else [entry.id]
    return old


def _entries(store: Store, home: str) -> list[Entry]:
    """What a folder of backups shows, and the two newest even where it does not show them yet."""
    entries = {entry.id: entry for entry in store.list(home)}
    marks = store.stat(home).properties
    for key in _NEWEST:
        entry_id = marks.get(key)
        if entry_id and entry_id not in entries:
            with contextlib.suppress(NotFoundError, ForeignFileError):
                entries[entry_id] = owned_entry(store, entry_id, {home}, key)
    return list(entries.values())


def find_folders(store: Store, parent: str, name: str) -> list[str]:
    """The ids of the folders of that name, best known first; more than one after a lost race."""
    found = []
    key = f"cdt_{name}"
    marked = store.stat(parent).properties.get(key)
    if marked:
        # Not found: a person put it into the trash, so what lies in it is not wanted any more.
        # Not ours: somebody set the property, and what it names is left alone.
        with contextlib.suppress(NotFoundError, ForeignFileError):
            found.append(owned_entry(store, marked, {parent}, key, name=name, is_folder=True).id)
    listed = [e.id for e in store.list(parent, name=name) if e.is_folder and e.id != marked]
    return found + listed


def find_or_create_folder(store: Store, parent: str, name: str) -> str:
    """The id of the folder of that name, made and marked on its parent where there is none.

    Two runtimes may each make one: all are read.
    """
    if found := find_folders(store, parent, name):
        return found[0]
    try:
        made = store.create(store.reserve(1)[0], None, name=name, parent=parent)
        store.set_properties(parent, {f"cdt_{name}": made.id})
    except StoreError:
        if found := find_folders(store, parent, name):  # a rival's, where names are used once
            return found[0]
        raise
    return made.id
