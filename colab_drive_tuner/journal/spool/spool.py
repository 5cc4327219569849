"""Spool of a search: unacknowledged items on this machine's disk (rule SPOOL).

There is one directory per store and search in the platform's state folder. The owner holds its
lock, so the next process on this machine knows for certain whether the previous one is dead. Items
are written to segments (spool_file.py), which are removed once their items are in the chain. The
directory also holds small notes for the next session (notes.py).
"""

import json
import logging
import mmap
import os
import re
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import NamedTuple, Self

from filelock import FileLock, Timeout

from colab_drive_tuner.errors import SearchBusyError, SearchError
from colab_drive_tuner.journal.spool.notes import (
    ABOUT,
    LOCK,
    OWNERS,
    RUNNING,
    SEARCH,
    TID,
    KnownFolder,
    known_searches,
    read_about,
    read_known_folder,
    read_owners,
    read_running,
    spool_folder,
    spooled_searches,
)
from colab_drive_tuner.journal.spool.spool_file import (
    SpoolFile,
    SpoolFileWriter,
    SpoolSession,
    acknowledged_name,
    read_spool_file,
)
from colab_drive_tuner.local_files import make_folder, replace_file, set_aside, sync_folder

log = logging.getLogger(__name__)

_locked: dict[Path, int] = {}
"""Spools locked by this process, with its pid: in a fork the pid differs."""


class Gap(NamedTuple):
    """Range of items that a session spooled and that are neither in its files nor recorded."""

    session: int
    first: int
    last: int

    def __str__(self) -> str:
        numbers = f"{self.first}" if self.first == self.last else f"{self.first} to {self.last}"
        return f"{numbers} of session {self.session}"


class Spool:
    """Local directory of one search in one store."""

    def __init__(self, location: str, name: str, folder: Path | None = None) -> None:
        self.location, self.name = location, name
        self.folder = folder or spool_folder(location, name)
        try:
            make_folder(self.folder)
        except OSError as error:
            raise SearchError(
                f"Search {name!r} cannot use its folder {self.folder} on this machine "
                f"({error.strerror}): make room there, remove what is in its way, or set "
                f"XDG_STATE_HOME to a folder that can be written."
            ) from error
        if read_about(self.folder / ABOUT) != (name, location):
            self._write_note(ABOUT, f"{name}\n{location}\n".encode("utf-8", "backslashreplace"))
        self._lock = FileLock(self.folder / LOCK, thread_local=False)
        self._running: memoryview | None = None
        self._refuses_notes = False
        self._session: SpoolSession | None = None

    def acquire(self) -> bool:
        """Take the lock for this process; return False while another live process holds it."""
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            return False
        except OSError as error:
            raise SearchError(
                f"The lock {self.folder / LOCK} cannot be taken ({error.strerror}): remove "
                f"it unless a live run of another user holds it, make room on this disk, or set "
                f"XDG_STATE_HOME to a folder that can be written."
            ) from error
        _locked[self.folder] = os.getpid()
        return True

    def busy_error(self, holder: Callable[[], int | None] = lambda: None) -> SearchBusyError:
        """Return the error naming the lock's holder: another process, or a thread of this one.

        `holder` looks the other process up.
        """
        if _locked.get(self.folder) == os.getpid():
            return SearchBusyError(
                f"Search {self.name!r} is in use by another thread of this process: wait for it, "
                f"or give this search another name."
            )
        which = "" if (pid := holder()) is None else f", process {pid}"
        return SearchBusyError(
            f"Search {self.name!r} is being run by another live process of this machine{which}: "
            "stop it there first. If it is a notebook, interrupt that cell or shut down its kernel."
        )

    def release(self) -> None:
        """Release the lock and stop noting the running trial."""
        self._running = None  # the last reference unmaps it
        if self._lock.is_locked:
            _locked.pop(self.folder, None)
        self._lock.release(force=True)

    @contextmanager
    def locked(self) -> Iterator[Self]:
        """Hold the lock during the block; raise `busy_error` if another live process holds it."""
        if not self.acquire():
            raise self.busy_error()
        try:
            yield self
        finally:
            self.release()

    # -- items

    def new_file(self, epoch: str) -> SpoolFileWriter:
        """Open a new spool file."""
        if self._session is None:
            self._session = SpoolSession(1 + self._last_session())
        session = self._session
        name = f"{session.number:06d}-{session.next_file:06d}.spool"
        session.next_file += 1
        return SpoolFileWriter(self.folder / name, epoch, session)

    def earlier_files(self) -> list[SpoolFile]:
        """Return the spool files of earlier sessions, in the order in which they were written."""
        files = map(read_spool_file, self.folder.glob("*.spool"))
        return sorted(files, key=lambda file: file.order)

    def under_other_names(self, first: str) -> Iterator["Spool"]:
        """Yield other names' spools with items of the search whose record 0 has the id `first`."""
        for name, noted in spooled_searches(self.location):
            if noted == first and name != self.name:
                yield Spool(self.location, name)

    def gaps(self, earlier: list[SpoolFile]) -> list[Gap]:
        """Return the items missing before or between those in files of earlier sessions.

        Items missing after the last one cannot be detected, which is harmless: their trials run
        again.
        """
        gaps = []
        for session, files in groupby(earlier, key=lambda file: file.session):
            due = 1 + self._acknowledged(session)
            for number in sorted({number for file in files for number, _ in file.numbered}):
                if number > due:
                    gaps.append(Gap(session, due, number - 1))
                due = max(due, number + 1)
        return gaps

    def keep(self, file: SpoolFile) -> Path:
        """Rename a file that the chain does not want, so that it is kept; return its path."""
        kept = file.path.with_suffix(".kept")
        if os.path.lexists(kept):
            kept = kept.with_suffix(f".{secrets.token_hex(4)}.kept")
        try:
            return file.path.rename(kept)
        except OSError as error:  # then the next session handles it again
            log.warning("%s cannot be renamed: %s", file.path, error)
            return file.path

    def forget_acknowledged(self) -> None:
        """Remove the `.acknowledged` files of earlier sessions, of which nothing is left."""
        own = "" if self._session is None else acknowledged_name(self._session.number)
        self._remove(path.name for path in self.folder.glob("*.acknowledged") if path.name != own)

    # -- notes for the next session

    def note_running(self, tid: int) -> None:
        """Note the running trial; the note survives the death of the process, not of the machine.

        If the disk refuses the note, the next session's careful start lasts longer.
        """
        if self._running is None and not self._refuses_notes:
            self._refuses_notes = not self._write_note(RUNNING, bytes(TID.size))
            if not self._refuses_notes:
                try:
                    with (self.folder / RUNNING).open("r+b", buffering=0) as file:
                        # A write could block while the disk is busy; mapped memory does not.
                        self._running = memoryview(mmap.mmap(file.fileno(), TID.size)).cast("q")
                except (OSError, ValueError) as error:  # some network file systems map nothing
                    self._refuses_notes = True
                    log.warning("%s cannot be mapped: %s", self.folder / RUNNING, error)
        if self._running is not None:
            self._running[0], self._running[1] = tid, ~tid

    def last_running(self) -> int | None:
        """Return the trial noted by the last session; None if there is no note or a clean end."""
        return read_running(self.folder / RUNNING)

    def note_owner(self, owner: str) -> None:
        """Note that this session claims the search while holding the lock."""
        self._write_note(OWNERS, f"{owner}\n".encode(), add=True)

    def has_claimed(self, owner: str) -> bool:
        """Whether a session claimed under this lock; it is certainly dead if the lock is free.

        The machine id is not enough: if two folders have the same name, processes of one machine
        may have found different ones, each with its own lock.
        """
        return owner in (read_owners(self.folder / OWNERS) or ())

    def note_folder(self, known: KnownFolder) -> None:
        """Note permanently which folder holds the search, if the disk accepts it."""
        path = self.folder / SEARCH
        if self.known_folder() == known:
            return
        try:
            if path.exists() and not path.is_file():  # a folder or pipe
                set_aside(path)
            replace_file(path, lambda sink: sink.write(json.dumps(known._asdict()).encode()))
            sync_folder(self.folder)
        except OSError as error:
            log.warning("%s cannot be written: %s", path, error)

    def known_folder(self) -> KnownFolder | None:
        """Return where this machine last found the search; None if unknown."""
        return read_known_folder(self.folder / SEARCH)

    def forget_session(self) -> None:
        """Remove the notes and files of this session, which ended cleanly.

        The last owner stays noted, in case the release record turns out to be damaged.
        """
        self._running = None
        owners = read_owners(self.folder / OWNERS)
        names = [RUNNING] if owners else [RUNNING, OWNERS]
        if self._session is not None:
            number = self._session.number
            own = self.folder.glob(f"{number:06d}-*.spool")
            names += [acknowledged_name(number), *(path.name for path in own)]
        self._remove(names)
        if owners:
            self._write_note(OWNERS, f"{owners[-1]}\n".encode())

    def _remove(self, names: Iterable[str]) -> None:
        for name in names:
            try:
                (self.folder / name).unlink(missing_ok=True)
            except OSError as error:  # the next session will find nothing wanted in it
                log.warning("%s cannot be removed: %s", self.folder / name, error)

    def _last_session(self) -> int:
        numbers = [
            int(match[1])
            for path in self.folder.iterdir()
            if (match := re.match(r"(\d{6})[-.]", path.name))
        ]
        return max(numbers, default=0)

    def _acknowledged(self, session: int) -> int:
        """Return the number of a session's last item seen in the chain; 0 if none was."""
        path = self.folder / acknowledged_name(session)
        numbered = read_spool_file(path).numbered if path.exists() else ()
        return max((number for number, _ in numbered), default=0)

    def _write_note(self, name: str, content: bytes, *, add: bool = False) -> bool:
        """Write a note, replacing anything unusable of its name; return False if the disk fails."""
        path = self.folder / name
        try:
            usable = path.is_file() and os.access(path, os.R_OK | os.W_OK)
            if os.path.lexists(path) and not usable:
                set_aside(path)
            with path.open("ab" if add else "wb", buffering=0) as file:
                file.write(content)
        except OSError as error:
            log.warning("%s cannot be written: %s", path, error)
            return False
        return True


def has_died(owner: str) -> bool:
    """Whether a session of this machine is certainly dead: the lock that it claimed under is free.

    Its search may have been renamed or moved since. A lock that cannot be taken tells nothing.
    """
    noted = [
        (location, name)
        for name, location, folder in known_searches()
        if owner in (read_owners(folder / OWNERS) or ())
    ]
    try:
        for location, name in noted:
            with Spool(location, name).locked():
                pass
    except SearchError:
        return False
    return bool(noted)


def idle_spool_files(location: str, name: str) -> list[SpoolFile] | None:
    """Return what earlier sessions of a search left here; None while a live process uses the spool.

    Raises `SearchError` if the spool's folder cannot be created.
    """
    spool = Spool(location, name)
    if not spool.acquire():
        return None
    try:
        return spool.earlier_files()
    finally:
        spool.release()
