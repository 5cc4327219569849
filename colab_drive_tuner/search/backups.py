"""Backups of half-finished trials: where a trial finds its own, and when they may go.

They go only once the trial's end is in the chain: until then a later session may have to go on
from them.
"""

from collections.abc import Callable

from colab_drive_tuner.checkpoint.history import History
from colab_drive_tuner.errors import StoreError
from colab_drive_tuner.store.protocol import Store
from colab_drive_tuner.training.artifacts import StoreArtifacts, sweep_backups
from colab_drive_tuner.training.backup.writer import drop_backups, flush_backups, has_backups
from colab_drive_tuner.trial import Pace


class Backups:
    """The backups of one search's trials, in this session."""

    def __init__(
        self, store: Store, folder: Callable[[], str | None], epoch: Callable[[], str]
    ) -> None:
        self._store, self._folder, self._epoch = store, folder, epoch
        self._pace = Pace()
        self._running: list[StoreArtifacts] = []
        self._ended: dict[int, StoreArtifacts] = {}
        self._dropped: list[StoreArtifacts] = []
        """Those whose backups may still be on their way to the trash."""

    def of(self, tid: int, *, fresh: bool = False) -> StoreArtifacts | None:
        """Where the backups of a trial are; the store is asked nothing until they are used.

        For a `fresh` trial, which never ran before, it is not asked what there is.
        """
        folder = self._folder()
        if folder is None:
            return None
        artifacts = StoreArtifacts(
            self._store, folder, tid, epoch=self._epoch(), fresh=fresh, pace=self._pace
        )
        self._running.append(artifacts)
        return artifacts

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
        folder = self._folder()
        if folder is None:
            return
        unfinished = {entry.tid for entry in history.unfinished if isinstance(entry.tid, int)}
        try:
            sweep_backups(self._store, folder, unfinished, epoch=self._epoch())
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
