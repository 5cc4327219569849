"""Backups of half-finished trials: where a trial finds its own, and when they may go.

They go only once the trial's end is in the chain: until then a later session may have to go on
from them.
"""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from colab_drive_tuner.checkpoint.history import History
from colab_drive_tuner.errors import (
    NotFoundError,
    SearchTakenOverError,
    StoreError,
    UnavailableError,
)
from colab_drive_tuner.journal import Journal
from colab_drive_tuner.store import open_store
from colab_drive_tuner.store.protocol import Store
from colab_drive_tuner.training.artifacts import StoreArtifacts, old_backups
from colab_drive_tuner.training.backup.writer import (
    drop_backups,
    flush_backups,
    has_backups,
    writer_of,
)
from colab_drive_tuner.trial import Pace

_START_PATIENCE = 10.0
"""Seconds in which the start of a trial should be recorded, before its first backup is stored."""


@dataclass(frozen=True)
class BackupFolder:
    """Where a worker that reaches this folder finds and keeps the backups of a trial."""

    store: str
    search: str
    folder: str
    epoch: str
    fresh: bool

    def open(self, tid: int) -> StoreArtifacts | None:
        """The trial's backups; None where the folder cannot be reached from here."""
        if not Path(self.store).is_dir():
            return None
        store = open_store(self.store).for_search(self.search)
        return StoreArtifacts(store, self.folder, tid, epoch=self.epoch, fresh=self.fresh)


class Backups:
    """The backups of one search's trials, in this session."""

    def __init__(self, store: Store, journal: Journal) -> None:
        self._store, self._journal = store, journal
        self._pace = Pace()
        self._running: list[StoreArtifacts] = []
        self._ended: dict[int, StoreArtifacts] = {}
        self._dropped: list[StoreArtifacts] = []
        """Those whose backups may still be on their way to the trash."""

    def of(self, tid: int, *, fresh: bool = False) -> StoreArtifacts | None:
        """Where the backups of a trial are; the store is asked nothing until they are used.

        For a `fresh` trial, which never ran before, it is not asked what there is.
        """
        folder, epoch = self._journal.folder, self._journal.epoch
        if folder is None:
            return None
        artifacts = StoreArtifacts(
            self._store,
            folder,
            tid,
            epoch=epoch,
            fresh=fresh,
            pace=self._pace,
            before_first=self._require_start,
        )
        self._running.append(artifacts)
        return artifacts

    def adopt(self, tid: int, artifacts: StoreArtifacts | None) -> StoreArtifacts | None:
        """The same, now that a worker has kept backups there: they go with the trial's end."""
        self.forget(artifacts)
        adopted = self.of(tid)
        if adopted is not None:
            writer_of(adopted).epochs(0)  # it looks what there is
        return adopted

    def _require_start(self) -> None:
        """Wait until the trial's start is recorded: else a later session would sweep its backups.

        Raises `StoreError` where another runtime has taken the search over.
        """
        if not self._journal.flush(_START_PATIENCE):
            try:
                self._journal.raise_if_lost()
            except SearchTakenOverError as error:
                raise StoreError(str(error)) from error
            raise UnavailableError("The start of the trial is not recorded yet.")

    def forget(self, artifacts: StoreArtifacts | None) -> None:
        """They are used no more, nor dropped."""
        if artifacts is not None:
            self._running.remove(artifacts)

    def by_path(self, search: str, artifacts: StoreArtifacts | None) -> BackupFolder | None:
        """The same place for a process that reaches the store by a path; None where none does."""
        folder, epoch, path = self._journal.folder, self._journal.epoch, self._store.local_path
        if artifacts is None or folder is None or path is None:
            return None
        return BackupFolder(str(path.absolute()), search, folder, epoch, artifacts.fresh)

    @staticmethod
    def progress(artifacts: StoreArtifacts) -> int:
        """How far the trial got by what is kept; more is further, 0 is nothing, or not known."""
        try:
            return max((_progress(name) for name in artifacts.names()), default=0)
        except StoreError:
            return 0  # then a death counts as one more attempt: no more harm than that

    def ended(self, tid: int, artifacts: StoreArtifacts | None, history: History) -> None:
        """A trial ended; drop what belongs to trials whose end is acknowledged by now."""
        if artifacts is not None:
            self._running.remove(artifacts)
            if has_backups(artifacts):
                self._ended[tid] = artifacts
        for done in [tid for tid in self._ended if _is_recorded(history, tid)]:
            drop_backups(self._ended[done])
            self._dropped = [a for a in self._dropped if not flush_backups([a], 0)]
            self._dropped.append(self._ended.pop(done))

    def sweep(self, history: History) -> None:
        """After a death, or a restart: drop what is of no use any more."""
        folder, epoch = self._journal.folder, self._journal.epoch
        if folder is None:
            return
        unfinished = {entry.tid for entry in history.unfinished if isinstance(entry.tid, int)}
        try:
            for entry_id in old_backups(self._store, folder, unfinished, epoch=epoch):
                with suppress(NotFoundError):
                    self._store.trash(entry_id)
        except StoreError:
            return  # they only take room; the next session tries again

    def close(self, timeout: float, history: History) -> None:
        """Wait until what is on its way has reached the store."""
        self.ended(-1, None, history)
        flush_backups([*self._running, *self._ended.values(), *self._dropped], timeout)


def _is_recorded(history: History, tid: int) -> bool:
    entry = history.trials.get(tid)
    return entry is not None and entry.end is not None


def _progress(name: str) -> int:
    """A number that grows with the backup's `fit` and epoch, as its name gives them."""
    digits = [int(part) for part in name[:100].replace(".", "-").split("-") if part.isdecimal()]
    far = sum(number * 10 ** (6 * place) for place, number in enumerate(reversed(digits)))
    return int(min(far, 2**53))  # a name that somebody else gave may say anything
