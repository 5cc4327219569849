"""Thresholds by which a trial is pruned, from the curves that the record has of earlier trials.

A trial is judged by the trials that had ended when it was suggested. That is a function of the
record, whichever runtime asks and whatever else runs: all trials named before it, but for those
that were pending then and those of the same call of the algorithm. Of a trial that nobody suggested
(a given point, an inserted document) the record does not know it, and it is never pruned.
"""

from bisect import insort
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import takewhile
from typing import Any

from colab_drive_tuner.checkpoint.document_validation import TrialDocument
from colab_drive_tuner.errors import UsageError
from colab_drive_tuner.search.trial_documents import countable_loss, curve_of, reported_by
from colab_drive_tuner.text import visible
from colab_drive_tuner.training.pruner import Pruner
from colab_drive_tuner.training.pruning_rules import BestValues

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
        self._ended: dict[Any, TrialDocument] = {}
        """The trials that count, by number."""
        self._of_call: dict[int | None, list[Any]] = {}
        self._judged_by: dict[Pruner, list[Any]] = {}
        """By pruner the numbers of its trials, in order."""
        self._best_values: dict[Pruner, BestValues] = {}
        self._known: set[Pruner] = set()
        self._looked = 0
        """How many documents were there when they were last looked through."""
        for document in documents:
            self._take(document)
        for one in [*([pruner] if pruner else []), *self._judged_by][:MOST_PRUNERS]:
            self._learn(one)
        self._known.update(self._judged_by)

    def ended(self, document: TrialDocument) -> None:
        """Take note of a trial's curve, and of the pruner that it had."""
        self._take(document)
        pruner = pruner_of(document)
        if pruner is not None:
            self._learn(pruner)

    def _take(self, document: TrialDocument) -> None:
        tid = document["tid"]
        if tid in self._ended or countable_loss(document) is None:
            return  # the diverged would lift any threshold
        self._ended[tid] = document
        self._of_call.setdefault(self._k_of.get(tid), []).append(tid)
        if (pruner := pruner_of(document)) is not None:
            insort(self._judged_by.setdefault(pruner, []), tid, key=_number)
        for pruner, best_values in self._best_values.items():
            best_values.add(curve_of(document, pruner.monitor))

    def _learn(self, pruner: Pruner) -> None:
        """Of a pruner that is new here: say so where earlier trials have no curves for it."""
        if pruner in self._known:
            return
        self._known.add(pruner)
        with_curve = sum(bool(curve_of(doc, pruner.monitor)) for doc in self._ended.values())
        if with_curve < min(len(self._ended), pruner.min_trials):
            self._notify(
                f"Pruner: {len(self._ended) - with_curve} earlier trials have no "
                f"{visible(pruner.monitor):.60} epoch by epoch, so they do not count. Trials are "
                f"pruned once {pruner.min_trials} that have it have ended."
            )

    def thresholds(self, tid: Any) -> Thresholds:
        """What the trial must not be worse than, by pruner and step."""
        k = self._k_of.get(tid)
        if k is None:
            return {}
        for document in self._documents[self._looked :]:  # inserted with a result, not run here
            self._take(document)
        self._looked = len(self._documents)
        unseen = {*self._pending_of.get(tid, ()), *self._of_call.get(k, ()), *self._after(tid)}
        newest = {
            pruner: _number(last)
            for pruner, tids in self._judged_by.items()
            if (last := next((t for t in reversed(tids) if t not in unseen), None)) is not None
        }
        pruners = dict.fromkeys([self._pruner] if self._pruner else [])
        pruners |= dict.fromkeys(sorted(newest, key=newest.__getitem__, reverse=True))
        # Only those of now: who tries many pruners does not pay for all of them.
        kept = self._best_values
        self._best_values = {
            one: kept.get(one) or self._values_of(one) for one in [*pruners][:MOST_PRUNERS]
        }
        left_out = [self._ended[other] for other in unseen if other in self._ended]
        tables = {
            pruner: self._values_of(pruner, unseen).thresholds()
            if best_values.full
            else best_values.thresholds([curve_of(doc, pruner.monitor) for doc in left_out])
            for pruner, best_values in self._best_values.items()
        }
        return {pruner: table for pruner, table in tables.items() if table}

    def _values_of(self, pruner: Pruner, unseen: Collection[Any] = ()) -> BestValues:
        """Those of the trials that have ended, in the order of the record, without the unseen."""
        counted = (doc for doc in self._documents if doc["tid"] in self._ended)
        return pruner.best_values(
            curve_of(doc, pruner.monitor) for doc in counted if doc["tid"] not in unseen
        )

    def _after(self, tid: Any) -> Iterable[Any]:
        """The trials that were named after it, which may have ended before it."""
        named = (document["tid"] for document in reversed(self._documents))
        return takewhile(lambda other: other != tid, named)


def _number(tid: Any) -> int:
    """Orders trials as they were named; who inserts documents may number them by texts."""
    return tid if isinstance(tid, int) else -1


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
