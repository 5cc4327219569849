"""Pruning thresholds of a trial: the rules, and the recorded curves of earlier trials that count.

A trial is judged by the trials that had ended when it was suggested: all trials named before it,
except those pending then and those of the same call of the algorithm. This depends on the record
alone, not on the runtime or on other running trials. For a trial that was not suggested (a given
point, an inserted document) the record lacks this information, so it is never pruned.

A trial is pruned after a step at which its best value so far is worse than the step's threshold.
The rules minimize all values; NaN is worse than any other value.
"""

import math
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, takewhile
from typing import Any

from colab_drive_tuner.checkpoint.document_schema import TrialDocument
from colab_drive_tuner.errors import UsageError
from colab_drive_tuner.search.trial_documents import countable_loss, curve_of, reported_by
from colab_drive_tuner.text import visible
from colab_drive_tuner.training.pruner import Pruner
from colab_drive_tuner.training.trial import MAX_VALUES

Thresholds = dict[Pruner, dict[int, float]]
"""Thresholds by pruner and step."""
MOST_PRUNERS = 8
"""At most this many pruners, the newest ones, get thresholds."""
Curve = Sequence[tuple[int, float]]
"""The steps and values that a trial reported, in the order of the steps."""


class Pruning:
    """Thresholds for the trials of one run.

    `pruner` is that of this run; earlier ones are known from the results of their trials. `k_of`
    and `pending_of` are, by trial, the call of the algorithm that suggested it, and the trials that
    had not ended at that time. `documents` are in the order in which trials were named.
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
        """The trials with a loss that counts, by number."""
        self._tids_by_call: dict[int | None, list[Any]] = {}
        """By call of the algorithm, the numbers of the trials that it suggested."""
        self._tids_by_pruner: dict[Pruner, list[Any]] = {}
        """By pruner, the sorted numbers of its trials."""
        self._best_values: dict[Pruner, PruningThresholds] = {}
        self._compared: set[Pruner] = set()
        """Pruners whose number of usable curves was looked at, so that a user is notified once."""
        self._examined = 0
        """Number of documents examined so far."""
        for document in documents:
            self._add(document)
        for one in [*([pruner] if pruner else []), *self._tids_by_pruner][:MOST_PRUNERS]:
            self._notify_if_few_curves(one)
        self._compared.update(self._tids_by_pruner)

    def add_ended(self, document: TrialDocument) -> None:
        """Add the curve and the pruner of a trial that ended."""
        self._add(document)
        pruner = pruner_of(document)
        if pruner is not None:
            self._notify_if_few_curves(pruner)

    def _add(self, document: TrialDocument) -> None:
        tid = document["tid"]
        if tid in self._ended or countable_loss(document) is None:
            return  # diverged trials would raise every threshold
        self._ended[tid] = document
        self._tids_by_call.setdefault(self._k_of.get(tid), []).append(tid)
        if (pruner := pruner_of(document)) is not None:
            insort(self._tids_by_pruner.setdefault(pruner, []), tid, key=_sort_key)
        for pruner, best_values in self._best_values.items():
            best_values.add(curve_of(document, pruner.monitor))

    def _notify_if_few_curves(self, pruner: Pruner) -> None:
        """Notify the user once if too few earlier trials have curves for this pruner."""
        if pruner in self._compared:
            return
        self._compared.add(pruner)
        with_curve = sum(bool(curve_of(doc, pruner.monitor)) for doc in self._ended.values())
        if with_curve < min(len(self._ended), pruner.min_trials):
            self._notify(
                f"Pruner: {len(self._ended) - with_curve} earlier trials have no "
                f"{visible(pruner.monitor):.60} epoch by epoch, so they do not count. Trials are "
                f"pruned once {pruner.min_trials} trials that have it have ended."
            )

    def thresholds(self, tid: Any) -> Thresholds:
        """Return, by pruner and step, the values that the trial must not be worse than."""
        k = self._k_of.get(tid)
        if k is None:
            return {}
        for document in self._documents[self._examined :]:  # inserted with a result, not run here
            self._add(document)
        self._examined = len(self._documents)
        unseen = {*self._pending_of.get(tid, ()), *self._tids_by_call.get(k, ()), *self._after(tid)}
        newest = {
            pruner: _sort_key(last)
            for pruner, tids in self._tids_by_pruner.items()
            if (last := next((t for t in reversed(tids) if t not in unseen), None)) is not None
        }
        pruners = dict.fromkeys([self._pruner] if self._pruner else [])
        pruners |= dict.fromkeys(sorted(newest, key=newest.__getitem__, reverse=True))
        # Drop the others, so that trying many pruners does not cost more and more.
        kept = self._best_values
        self._best_values = {
            one: kept.get(one)
            or PruningThresholds(one, (curve_of(doc, one.monitor) for doc in self._ended.values()))
            for one in [*pruners][:MOST_PRUNERS]
        }
        left_out = [self._ended[other] for other in unseen if other in self._ended]
        tables = {
            pruner: best_values.thresholds([curve_of(doc, pruner.monitor) for doc in left_out])
            for pruner, best_values in self._best_values.items()
        }
        return {pruner: table for pruner, table in tables.items() if table}

    def _after(self, tid: Any) -> Iterable[Any]:
        """Return the trials that were named after this one; they may have ended before it."""
        named = (document["tid"] for document in reversed(self._documents))
        return takewhile(lambda other: other != tid, named)


def _sort_key(tid: Any) -> int:
    """Return a sort key for a trial id; inserted documents may have ids that are texts."""
    return tid if isinstance(tid, int) else -1


def pruner_of(document: TrialDocument) -> Pruner | None:
    """Return the pruner that judged a trial, or None."""
    settings = reported_by(document).get("pruner")
    if not isinstance(settings, dict):
        return None
    try:
        return Pruner(**settings)
    except (TypeError, UsageError):  # from another version, or not written by this package
        return None


def check_pruner(pruner: Any) -> Pruner | None:
    """Return a pruner or None unchanged; raise `UsageError` for anything else."""
    if pruner is None or isinstance(pruner, Pruner):
        return pruner
    raise UsageError(
        f"pruner must be a colab_drive_tuner.Pruner, such as Pruner('median'), got {pruner!r:.60}."
    )


class PruningThresholds:
    """Best value by each step of each earlier trial; `curves` are those of trials that have ended.

    If larger values are better, their negatives are minimized.
    """

    def __init__(self, pruner: Pruner, curves: Iterable[Curve]) -> None:
        self._pruner = pruner
        self._at: dict[int, list[float]] = {}
        """Sorted best values of all trials, by step."""
        for curve in curves:
            for _, bests, best in self._judged_in(curve):
                bests.append(best)
        for bests in self._at.values():
            bests.sort()

    def add(self, curve: Curve) -> None:
        """Add the curve of a trial that has ended."""
        for _, bests, best in self._judged_in(curve):
            insort(bests, best)

    def thresholds(self, without: Iterable[Curve] = ()) -> dict[int, float]:
        """Return the threshold of each step, as if the curves in `without` had not been added."""
        left: dict[int, list[float]] = {}
        for curve in without:
            for step, bests, best in self._judged_in(curve):
                if step not in left:
                    left[step] = bests.copy()
                place = bisect_left(left[step], best)
                if left[step][place : place + 1] == [best]:  # else the document has been changed
                    del left[step][place]
        found = {}
        for step, all_bests in self._at.items():
            bests = left.get(step, all_bests)
            if len(bests) >= self._pruner.min_trials:
                found[step] = _threshold(self._pruner, bests)
        return {step: threshold for step, threshold in found.items() if threshold < math.inf}

    def _judged_in(self, curve: Curve) -> Iterator[tuple[int, list[float], float]]:
        """Yield each judged step of a curve, the best values of all trials, and the curve's."""
        few = subsample(curve)
        if self._pruner.maximized:
            few = [(step, -value) for step, value in few]
        for step, best in best_so_far(few):
            if step in self._at or _is_judged(self._pruner, step):
                yield step, self._at.setdefault(step, []), best


def subsample(curve: Curve) -> Curve:
    """Drop values from a curve that is longer than trials report, as reporting would have."""
    every = 1
    while len(curve) > every * (MAX_VALUES + 1):
        every *= 2
    return curve[every - 1 :: every]


def best_so_far(curve: Curve) -> Iterable[tuple[int, float]]:
    """Return each step with the lowest value up to it; infinity before the first number."""
    values = (math.inf if math.isnan(value) else value for _, value in curve)
    return zip((step for step, _ in curve), accumulate(values, min), strict=True)


def _threshold(pruner: Pruner, bests: Sequence[float]) -> float:
    """Return the worst of these values, in ascending order, with which a trial continues."""
    if pruner.reduction_factor is not None:
        # Of all trials that have reached the rung, including the new one, at least one continues.
        promoted = max((len(bests) + 1) // pruner.reduction_factor, 1)
        return bests[promoted - 1]
    place = (pruner.percentile or 50) / 100 * (len(bests) - 1)
    below, above = bests[math.floor(place)], bests[math.ceil(place)]
    return below if below == above else below + (above - below) * (place - math.floor(place))


def _is_judged(pruner: Pruner, step: int) -> bool:
    """Return whether trials are judged after a step.

    For successive halving these are the rungs: 1, r, r * r, ... steps after the warm-up.
    """
    beyond = step - pruner.warmup_steps
    if pruner.reduction_factor is None:
        return beyond > 0
    while beyond > 1 and beyond % pruner.reduction_factor == 0:
        beyond //= pruner.reduction_factor
    return beyond == 1
