"""Running counts over a search's trial documents: queued, ended, best loss.

hyperopt counts by going through all documents, ten times per trial. Here each document is counted
once, after it has ended; an update looks only at open and new documents.
"""

from typing import Any

from colab_drive_tuner.checkpoint.document_schema import TrialDocument
from colab_drive_tuner.search.trial_documents import (
    CANCELLED,
    FINISHED,
    NEW,
    OPEN,
    has_ended,
    is_failed,
    is_pruned,
    loss_of,
)


class TrialCounts:
    """Counts over `documents`, a list that grows at its end; `update` brings them up to date."""

    def __init__(self, documents: list[TrialDocument]) -> None:
        self._documents = documents
        self.recount()

    def recount(self) -> None:
        """Count from scratch, after documents were removed or inserted between others."""
        self.open: list[TrialDocument] = []
        """The documents that are new or running, in the order of their insertion."""
        self._queue: list[TrialDocument] = []
        """Documents that were new at the last update; few, while hundreds may be running."""
        self._seen = 0
        self._cancelled = 0
        self.ended = 0
        """Trials that ended, caught errors included."""
        self.pruned = 0
        """Trials that a pruner ended early."""
        self.failed = 0
        """Trials that ended without a loss."""
        self.finished = 0
        """Trials that ended with a result: what hyperopt's progress callbacks count."""
        self.best: float | None = None
        """The lowest loss, by hyperopt's rule for `loss_threshold`: of any status, not NaN."""
        self.best_tid: Any = None
        """The trial with the lowest loss."""
        self.update()

    def __len__(self) -> int:
        """Return the number of trials that count towards `max_evals`: all except cancelled ones."""
        return self._seen - self._cancelled

    @property
    def next_queued(self) -> TrialDocument | None:
        """The first document that waits to run."""
        return next((document for document in self._queue if document["state"] == NEW), None)

    @property
    def queued(self) -> int:
        """The number of documents that wait to run."""
        return sum(document["state"] == NEW for document in self._queue)

    def update(self) -> None:
        """Count the trials that have ended since the last update, and add new documents."""
        if len(self._documents) < self._seen:  # delete_all
            self.recount()
            return
        looked_at = self.open + self._documents[self._seen :]
        self._seen += len(looked_at) - len(self.open)
        ended = [document for document in looked_at if document["state"] not in OPEN]
        if ended:
            gone = set(map(id, ended))
            looked_at = [document for document in looked_at if id(document) not in gone]
        self.open = looked_at
        self._queue = [document for document in looked_at if document["state"] == NEW]
        for document in ended:
            self._count(document)

    def count_raised(self, document: TrialDocument) -> None:
        """Count a trial that ends the run as failed, but not as ended: the next run repeats it."""
        self.open = [one for one in self.open if one is not document]
        self.failed += 1

    def _count(self, document: TrialDocument) -> None:
        self._cancelled += document["state"] == CANCELLED
        self.ended += has_ended(document)
        self.pruned += is_pruned(document)
        self.failed += is_failed(document)
        self.finished += document["state"] == FINISHED
        loss = loss_of(document)
        if loss is not None and (self.best is None or loss < self.best):
            self.best, self.best_tid = loss, document.get("tid")
