"""Trials that were lost with their workers: who is to blame, and who runs alone from now on."""

from collections import Counter
from collections.abc import Callable, Iterable, MutableMapping
from typing import Any

Tid = Any


class Losses:
    """What a session knows of the trials that it has lost.

    Args:
        suspects: The trials that run alone, since one of them may have killed workers.
        record: Called with these whenever they change.
    """

    def __init__(self, suspects: Iterable[int], record: Callable[[list[int]], None]) -> None:
        self._alone: set[Tid] = set(suspects)
        self._record = record
        self._deaths: Counter[Tid] = Counter()
        self._unrecorded: set[Tid] = set()
        self._cancelled: Counter[Tid] = Counter()
        self._far: dict[Tid, int] = {}

    def runs_alone(self, tid: Tid) -> bool:
        """Whether nothing may run beside the trial."""
        return tid in self._alone

    def any_alone(self, tids: Iterable[Tid]) -> bool:
        """Whether nothing may run beside one of the trials."""
        return bool(self._alone) and not self._alone.isdisjoint(tids)

    def suspect(self, tid: Tid) -> None:
        """It may have killed workers, or another one has."""
        if tid not in self._alone:
            self._alone.add(tid)
            self._say()

    def blame(self, tid: Tid, inherited: MutableMapping[Tid, int], far: int) -> int:
        """One more worker has died of it; return of how many workers and runtimes it makes.

        Args:
            tid: The trial.
            inherited: In how many runtimes trials had died before this session.
            far: How far its backups are: a death after which it is further was not in vain.
        """
        if far > self._far.get(tid, 0):
            self._deaths[tid], inherited[tid] = 0, 0
        self._far[tid] = far
        self._deaths[tid] += 1
        self._unrecorded.add(tid)
        return self._deaths[tid] + inherited.get(tid, 0)

    def to_record(self, tid: Tid) -> int:
        """How many of its deaths its next start has to record; 0: there is nothing new to say."""
        if tid not in self._unrecorded:
            return 0
        self._unrecorded.discard(tid)
        return self._deaths[tid]

    def cancel(self, tid: Tid) -> int:
        """It was cancelled from outside; return how often by now."""
        self._cancelled[tid] += 1
        return self._cancelled[tid]

    def end(self, tid: Tid) -> None:
        """It has ended: nobody need run alone for its sake."""
        self._unrecorded.discard(tid)
        if tid in self._alone:
            self._alone.discard(tid)
            self._say()

    def _say(self) -> None:
        self._record(sorted(tid for tid in self._alone if isinstance(tid, int)))
