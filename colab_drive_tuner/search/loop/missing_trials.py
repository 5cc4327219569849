"""Missing trials: suggested or given, but not recorded, although later trials are.

A gap in the spool of a dead session causes them. The algorithm's calls are numbered, and each draws
the seed of its number, so a call without a recorded trial can be detected. Called again with that
seed and the trials that it saw then, the algorithm suggests the same points.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from colab_drive_tuner.checkpoint.document_schema import TrialDocument
from colab_drive_tuner.search.spec.points import point_document
from colab_drive_tuner.search.spec.settings import stored_rstate
from colab_drive_tuner.search.spec.suggestion_seeds import SeedStream, decode_generator
from colab_drive_tuner.search.trial_documents import OPEN, insertion_index
from colab_drive_tuner.search.trials.stored_trials import StoredTrials


class MissingCall(NamedTuple):
    """A call of the algorithm without a recorded trial."""

    k: int
    tids: tuple[int, ...]
    """The trials that it suggested; empty if their numbers cannot be determined."""


def missing_calls(k_of: Mapping[Any, int | None]) -> list[MissingCall]:
    """Return the missing calls before the newest recorded one, in order.

    `k_of` maps each recorded trial to the call that suggested it; None if it was given. The unused
    trial numbers between the neighbours of missing calls are divided among these calls in equal
    shares, unless a share would be larger than the largest recorded batch.
    """
    numbered = {tid: k for tid, k in k_of.items() if isinstance(tid, int)}
    sizes = Counter(k for k in numbered.values() if k is not None)
    lost = sorted(set(range(max(sizes, default=0))) - set(sizes))
    found = []
    for _, run in groupby(enumerate(lost), key=lambda pair: pair[1] - pair[0]):
        missing = [k for _, k in run]
        after = min(tid for tid, k in numbered.items() if k is not None and k > missing[-1])
        first = 1 + max((tid for tid in numbered if tid < after), default=-1)
        share, rest = divmod(after - first, len(missing))
        if rest or share > max(sizes.values()):
            share = 0
        for start, k in enumerate(missing):
            begin = first + start * share
            found.append(MissingCall(k, tuple(range(begin, begin + share))))
    return found


def missing_points(
    documents: Iterable[TrialDocument], points: Sequence[Mapping[str, list[Any]]]
) -> list[TrialDocument]:
    """Return documents of the points that are not recorded, if the search began with `points`."""
    recorded = {doc["tid"]: doc["misc"]["vals"] for doc in documents}
    begun = [tid for tid in range(len(points)) if tid in recorded]
    same = all(recorded[tid] == dict(points[tid]) for tid in begun)
    if not begun or not same:  # the search did not begin with them
        return []
    return [point_document(t, points[t]) for t in range(len(points)) if t not in recorded]


class MissingTrials:
    """Restores the missing trials of a search that this process owns, one call at a time."""

    def __init__(
        self, trials: StoredTrials, algo: Callable[..., list[TrialDocument]], domain: Any
    ) -> None:
        self._trials, self._algo, self._domain = trials, algo, domain
        self._skipped: set[int] = set()
        self.complete = False
        """Whether nothing is missing; this process records its own calls, so it stays true."""

    def restore_next(self) -> int:
        """Insert the trials of the first missing call, if all before them have ended.

        The algorithm sees the trials before them, as it did then. Call this whenever the queue is
        empty, before new suggestions. Returns the number of inserted trials.
        """
        documents = self._trials._dynamic_trials
        for call in missing_calls(self._trials.log.k_of):
            if call.k in self._skipped:
                continue
            if not call.tids:
                self._skip(call, "the numbers of its trials cannot be determined")
                continue
            at = insertion_index(call.tids[0], documents)
            if any(doc["state"] in OPEN for doc in documents[:at]):
                return 0
            suggested = self._suggest(call, documents[:at])
            if [doc["tid"] for doc in suggested] != list(call.tids):
                self._skip(call, "the algorithm now suggests other trials")
                continue
            self._trials.notify(
                f"Trial {', '.join(map(str, call.tids))} of search {self._trials.name!r} is "
                f"not recorded, although later ones are: it runs now, with the parameters that the "
                f"algorithm suggested then."
            )
            self._trials.insert_missing(suggested, call.k)
            return len(suggested)
        self.complete = True
        return 0

    def _suggest(self, call: MissingCall, before: list[TrialDocument]) -> list[TrialDocument]:
        stored = stored_rstate(self._trials.name, self._trials.log.settings)
        _, seed = SeedStream(decode_generator(stored), call.k).draw()
        seen = self._trials.plain_trials(before)
        return list(self._algo(list(call.tids), self._domain, seen, seed))

    def _skip(self, call: MissingCall, why: str) -> None:
        self._skipped.add(call.k)
        self._trials.notify(
            f"The suggestions of call {call.k} of the algorithm are not recorded in search "
            f"{self._trials.name!r}, and {why}. The search continues without them: its results "
            f"differ from those of an uninterrupted search."
        )
