"""What FMinIter is given instead of the Trials: the same answers, counted instead of searched for.

hyperopt's loop asks its Trials ten times per trial for counts and losses, each time over all
documents. Only the loop changes states, so here the open documents are kept apart and the rest is
counted once. The algorithm, the objective and `early_stop_fn` get the real Trials, never this.
"""

from collections.abc import Iterable, MutableMapping
from typing import TYPE_CHECKING, Any

from hyperopt.base import (
    JOB_STATE_CANCEL,
    JOB_STATE_DONE,
    JOB_STATE_NEW,
    JOB_STATE_RUNNING,
    JOB_VALID_STATES,
)

if TYPE_CHECKING:
    from colab_drive_tuner.search.trials import DriveTrials

_OPEN = (JOB_STATE_NEW, JOB_STATE_RUNNING)


class LoopView:
    """The part of `hyperopt.Trials` that FMinIter uses, over the documents of `trials`."""

    asynchronous = False

    def __init__(self, trials: "DriveTrials") -> None:
        self._trials = trials
        self._open: list[dict[str, Any]] = []
        self._finished = 0
        self._cancelled = 0
        self._best: float | None = None
        self._noticed = 0

    def __len__(self) -> int:
        """How many trials count towards `max_evals`: all but cancelled ones, errors included."""
        self._notice()
        return self._noticed - self._cancelled

    def __reduce__(self) -> Any:
        return self._trials.__reduce__()

    @property
    def attachments(self) -> MutableMapping[str, Any]:
        """The attachments of the Trials."""
        attachments: MutableMapping[str, Any] = self._trials.attachments
        return attachments

    @property
    def unfinished(self) -> list[dict[str, Any]]:
        """The documents that are new or running, in the order of their insertion."""
        self._notice()
        return self._open

    _dynamic_trials = unfinished  # what `serial_evaluate` goes through, looking for new ones

    def refresh(self) -> None:
        """Settle what finished, and let the Trials list what was inserted."""
        closed = [doc for doc in self.unfinished if doc["state"] not in _OPEN]
        for doc in closed:
            self._count(doc)
        if closed:
            self._open = [doc for doc in self._open if doc["state"] in _OPEN]
        if any(doc["state"] not in JOB_VALID_STATES for doc in closed):
            self._trials.refresh()  # one with an error is listed no more
        self._trials.list_inserted()

    def losses(self) -> list[float]:
        """The best loss so far: FMinIter only asks for the least one."""
        return [] if self._best is None else [self._best]

    def count_by_state_unsynced(self, states: int | Iterable[int]) -> int:
        """How many documents are in one of the states; of finished ones only DONE is known."""
        wanted = {states} if isinstance(states, int) else set(states)
        count = sum(doc["state"] in wanted for doc in self.unfinished)
        return count + (self._finished if JOB_STATE_DONE in wanted else 0)

    def new_trial_ids(self, n: int) -> list[int]:
        """Ids for `n` new trials."""
        return self._trials.new_trial_ids(n)

    def insert_trial_docs(self, docs: list[dict[str, Any]]) -> list[int]:
        """Insert what the algorithm suggested."""
        tids: list[int] = self._trials.insert_trial_docs(docs)
        return tids

    def _notice(self) -> None:
        """Take in the documents that were inserted since, by the algorithm or by the objective."""
        docs = self._trials._dynamic_trials
        if len(docs) < self._noticed:  # delete_all
            self.__init__(self._trials)  # type: ignore[misc]
        while self._noticed < len(docs):
            doc = docs[self._noticed]
            self._noticed += 1
            if doc["state"] in _OPEN:
                self._open.append(doc)
            else:
                self._count(doc)

    def _count(self, doc: dict[str, Any]) -> None:
        state = doc["state"]
        self._finished += state == JOB_STATE_DONE
        self._cancelled += state == JOB_STATE_CANCEL
        loss = doc["result"].get("loss")
        if state not in JOB_VALID_STATES or loss is None or loss != loss:  # noqa: PLR0124 - NaN
            return
        if self._best is None or loss < self._best:
            self._best = loss
