"""Thresholds by which a trial is pruned, from the curves that the record has of earlier trials.

A trial is judged by the trials that had ended when it was suggested. That is a function of the
record, whichever runtime asks and whatever else runs: all trials named before it, but for those
that were pending then and those of the same call of the algorithm. Of a trial that nobody suggested
(a given point, an inserted document) the record does not know it, and it is never pruned.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from colab_drive_tuner.checkpoint.documents import TrialDocument
from colab_drive_tuner.errors import UsageError
from colab_drive_tuner.search.documents import countable_loss, curve_of, reported_by
from colab_drive_tuner.text import visible
from colab_drive_tuner.training.pruner import Pruner

Thresholds = dict[Pruner, dict[int, float]]
"""By pruner and step."""
MOST_PRUNERS = 8
"""So many different pruners of earlier trials are looked after, the newest ones."""


class Pruning:
    """Thresholds for the trials of one run.

    Args:
        pruner: The one that the search was given; others are known by the trials that had them.
        documents: All trials, in the order in which they were named.
        k_of: By trial, which call of the algorithm suggested it.
        pending_of: By trial, which ones had not ended then.
        notify: Called with what the user must know.
    """

    def __init__(
        self,
        pruner: Pruner | None,
        documents: Sequence[TrialDocument],
        k_of: Mapping[Any, int | None],
        pending_of: Mapping[Any, tuple[int, ...]],
        notify: Callable[[str], None],
    ) -> None:
        self._pruner, self._documents, self._notify = pruner, documents, notify
        self._k_of, self._pending_of = k_of, pending_of
        self._known: set[Pruner] = set()
        self._pruner_of: dict[Any, Pruner | None] = {}
        for document in documents:
            self.ended(document)
        if pruner is not None:
            self._learn(pruner)

    def ended(self, document: TrialDocument) -> None:
        """Take note of the pruner that a trial had."""
        pruner = pruner_of(document)
        if pruner is not None:
            self._learn(pruner)

    def _learn(self, pruner: Pruner) -> None:
        """Of a pruner that is new here: say so where earlier trials have no curves for it."""
        if pruner in self._known:
            return
        self._known.add(pruner)
        ended = [doc for doc in self._documents if countable_loss(doc) is not None]
        with_curve = sum(bool(curve_of(doc, pruner.monitor)) for doc in ended)
        if with_curve < min(len(ended), pruner.min_trials):
            self._notify(
                f"Pruner: {len(ended) - with_curve} earlier trials have no "
                f"{visible(pruner.monitor):.60} epoch by epoch, so they do not count. Trials are "
                f"pruned once {pruner.min_trials} that have it have ended."
            )

    def thresholds(self, tid: Any) -> Thresholds:
        """What the trial must not be worse than, by pruner and step."""
        k = self._k_of.get(tid)
        if not self._known or k is None:
            return {}
        seen = list(self._ended_before(tid, k))
        found = dict.fromkeys([self._pruner] if self._pruner else [])
        for document in reversed(seen):
            if document["tid"] not in self._pruner_of:  # made once: a trial that ended stays so
                self._pruner_of[document["tid"]] = pruner_of(document)
            pruner = self._pruner_of[document["tid"]]
            if pruner is not None and len(found) < MOST_PRUNERS:
                found.setdefault(pruner)
        curves = {
            metric: [curve for one in seen if (curve := curve_of(one, metric))]
            for metric in {pruner.monitor for pruner in found}
        }
        tables = {pruner: pruner.thresholds(curves[pruner.monitor]) for pruner in found}
        return {pruner: table for pruner, table in tables.items() if table}

    def _ended_before(self, tid: Any, k: int) -> Iterable[TrialDocument]:
        pending = frozenset(self._pending_of.get(tid, ()))
        for document in self._documents:
            other = document["tid"]
            if other == tid:
                return
            if other in pending or self._k_of.get(other) == k:
                continue
            if countable_loss(document) is not None:  # the diverged would lift any threshold
                yield document


def pruner_of(document: TrialDocument) -> Pruner | None:
    """The pruner that judged a trial; None where none did."""
    settings = reported_by(document).get("pruner")
    if not isinstance(settings, dict):
        return None
    try:
        return Pruner(**settings)
    except (TypeError, UsageError):  # of another version, or made by other hands
        return None


def check_pruner(pruner: Any) -> Pruner | None:
    """A pruner or none; raises `UsageError` for anything else."""
    if pruner is None or isinstance(pruner, Pruner):
        return pruner
    raise UsageError(
        f"pruner must be a colab_drive_tuner.Pruner, such as Pruner('median'), got {pruner!r:.60}."
    )
