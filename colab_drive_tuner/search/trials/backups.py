"""Backups of unfinished trials: creating, handing to workers, and deleting them.

A backup is deleted only after the trial's end is acknowledged: until then a later session may need
it to resume the trial.
"""

import os
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache

from colab_drive_tuner.checkpoint.history import History
from colab_drive_tuner.checkpoint.record_items import Tid
from colab_drive_tuner.errors import SearchTakenOverError, StoreError, UnavailableError
from colab_drive_tuner.journal import Journal
from colab_drive_tuner.store import open_store
from colab_drive_tuner.store.protocol import Store, discard
from colab_drive_tuner.training.backup.writer import flush_backups, get_writer, parse_name
from colab_drive_tuner.training.trial_backup_files import (
    Pace,
    TrialBackupFiles,
    obsolete_backups,
)

_START_PATIENCE = 10.0
"""Seconds that the first backup of a trial waits for the trial's start to be recorded."""


@dataclass(frozen=True)
class BackupFolder:
    """Location of a trial's backups, for a worker that has the same folder store at that path."""

    store: str
    search: str
    folder: str
    epoch: str
    fresh: bool

    def open(self, tid: int) -> TrialBackupFiles | None:
        """Return the trial's backups; None if this machine has no such folder, or cannot look."""
        if not os.path.isdir(self.store):  # noqa: PTH112 - False also without permission
            return None
        store = _opened(self.store, self.search)
        return TrialBackupFiles(store, self.folder, tid, epoch=self.epoch, fresh=self.fresh)


@lru_cache(maxsize=4)
def _opened(store: str, search: str) -> Store:
    """Return a search's store, opened once per worker: that takes as long as a short trial."""
    return open_store(store).for_search(search)


class Backups:
    """The backups of one search's trials in this session."""

    def __init__(self, store: Store, journal: Journal) -> None:
        self._store, self._journal = store, journal
        self._pace = Pace()
        self._running: list[TrialBackupFiles] = []
        self._ended: dict[int, TrialBackupFiles] = {}
        self._dropped: list[TrialBackupFiles] = []
        """Artifacts whose backups may not have been moved to the trash yet."""

    @property
    def _folder(self) -> str:
        folder = self._journal.folder
        assert folder is not None  # noqa: S101 - the claim has created it
        return folder

    def for_trial(self, tid: int, *, fresh: bool = False) -> TrialBackupFiles:
        """Return the backups of a trial, without a request to the store.

        For a `fresh` trial, which never ran before, existing backups are never looked up.
        """
        artifacts = TrialBackupFiles(
            self._store,
            self._folder,
            tid,
            epoch=self._journal.epoch,
            fresh=fresh,
            pace=self._pace,
            before_first=self._require_start,
        )
        self._running.append(artifacts)
        return artifacts

    def adopt(self, tid: int, artifacts: TrialBackupFiles) -> TrialBackupFiles:
        """Take over backups that a worker has stored, so that the trial's end deletes them."""
        self.forget(artifacts)
        adopted = self.for_trial(tid)
        with suppress(StoreError):  # then `clean` finds them: the result matters more
            get_writer(adopted).epochs(0)  # looks up existing backups
        return adopted

    def _require_start(self) -> None:
        """Wait until the trial's start is recorded; a later session sweeps backups without one.

        Raises `StoreError` if another runtime has taken the search over.
        """
        if not self._journal.flush(_START_PATIENCE):
            try:
                self._journal.raise_if_lost()
            except SearchTakenOverError as error:
                raise StoreError(str(error)) from error
            raise UnavailableError("The start of the trial is not recorded yet.")

    def forget(self, artifacts: TrialBackupFiles) -> None:
        """Stop tracking the artifacts, without deleting their backups."""
        self._running.remove(artifacts)

    def worker_folder(self, search: str, artifacts: TrialBackupFiles) -> BackupFolder | None:
        """Return the location of a trial's backups for a worker; None unless in a folder store."""
        path, epoch = self._store.local_path, self._journal.epoch
        if path is None:
            return None
        return BackupFolder(str(path.absolute()), search, self._folder, epoch, artifacts.fresh)

    @staticmethod
    def progress(artifacts: TrialBackupFiles) -> int:
        """Return how far the trial's backups got: larger is further, 0 is nothing or unknown."""
        try:
            fit, epoch = max(map(parse_name, artifacts.names()), default=(0, 0))
        except StoreError:
            return 0  # only means that a death counts as one more attempt
        return max(0, 10**6 * fit + epoch)

    def progress_of(self, tid: Tid) -> int:
        """Return how far the backups of a trial that is not running got."""
        if not isinstance(tid, int):
            return 0
        artifacts = self.for_trial(tid)
        self.forget(artifacts)
        return self.progress(artifacts)

    def ended(self, tid: int, artifacts: TrialBackupFiles, history: History) -> None:
        """Handle the end of a trial; delete backups of trials whose end has been acknowledged."""
        self.forget(artifacts)
        if artifacts.writer is not None:
            self._ended[tid] = artifacts
        self._drop_recorded(history)

    def _drop_recorded(self, history: History) -> None:
        known = history.trials
        for done in [t for t in self._ended if t in known and known[t].end is not None]:
            artifacts = self._ended.pop(done)
            if artifacts.writer is not None:
                artifacts.writer.drop()
            self._dropped = [a for a in self._dropped if not flush_backups([a], 0)] + [artifacts]

    def sweep(self, history: History) -> None:
        """Move backups that no unfinished trial needs to the trash, after a crash or a restart."""
        folder, epoch = self._folder, self._journal.epoch
        unfinished = {entry.tid for entry in history.unfinished if isinstance(entry.tid, int)}
        try:
            for entry_id in obsolete_backups(self._store, folder, unfinished, epoch=epoch):
                discard(self._store, entry_id)
        except StoreError:
            return  # they only use space; the next session tries again

    def close(self, timeout: float, history: History) -> None:
        """Wait until pending backups and deletions have reached the store."""
        self._drop_recorded(history)
        flush_backups([*self._running, *self._ended.values(), *self._dropped], timeout)
