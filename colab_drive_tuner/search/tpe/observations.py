"""What was tried so far: the trials' losses, and the values of each parameter."""

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from hyperopt.tpe import DEFAULT_LF
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Document = dict[str, Any]


class UnusualHistoryError(Exception):
    """The documents have something that is left to hyperopt's own code."""


class Observed(NamedTuple):
    """One parameter's values in the better trials and in all others, oldest first."""

    below: Floats
    above: Floats


class Observations:
    """The trials of one search, as TPE reads them.

    Losses are read anew each time. Of the values only those of new trials are; the others are
    compared with a copy, since anybody may have changed a document.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        self._labels = labels
        self._forget()

    def _forget(self) -> None:
        self._tids: list[int] = []
        self._points: list[dict[str, list[Any]]] = []
        self._columns = {label: _Column() for label in self._labels}
        self._losses: Floats = np.empty(0)
        self._kept: NDArray[np.bool_] | None = None

    @property
    def count(self) -> int:
        """How many trials TPE uses: all but those with a loss of NaN."""
        return len(self._losses)

    def summary(self, total: int) -> str:
        """What hyperopt's log says of them."""
        if not self.count:
            return "0 trials"
        return f"{self.count}/{total} trials with best loss {np.nanmin(self._losses):f}"

    def update(self, documents: list[Document]) -> None:
        """Read the documents; raises `UnusualHistoryError` where hyperopt has to do it."""
        try:
            self._update(documents)
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
            # hyperopt says what is wrong with them, if anything is.
            self._forget()
            raise UnusualHistoryError from error
        except UnusualHistoryError:
            self._forget()
            raise

    def _update(self, documents: list[Document]) -> None:
        miscs = [document["misc"] for document in documents]
        tids = [document["tid"] for document in documents]
        points = [misc["vals"] for misc in miscs]
        if [misc for misc in miscs if "from_tid" in misc]:
            raise UnusualHistoryError("from_tid")
        known = len(self._tids)
        if tids[:known] != self._tids or points[:known] != self._points:
            self._forget()
            known = 0
        for row in range(known, len(documents)):
            self._add(row, tids[row], miscs[row])
        losses = [document["result"].get("loss") for document in documents]
        array = np.array([math.inf if loss is None else float(loss) for loss in losses])
        # hyperopt keeps the best document of each tid, and no loss is as good as NaN.
        kept = ~np.isnan(array)
        self._kept = None if kept.all() else kept
        self._losses = array if self._kept is None else array[kept]

    def _add(self, row: int, tid: Any, misc: Document) -> None:
        if type(tid) is not int or (self._tids and tid <= self._tids[-1]) or misc["tid"] != tid:
            raise UnusualHistoryError("tid")
        point = misc["vals"]
        for label, column in self._columns.items():
            values = point[label]
            if values:
                (value,) = values
                if misc["idxs"][label] != [tid]:
                    raise UnusualHistoryError("idxs")
                column.append(row, value)
            elif values != [] or misc["idxs"][label] != []:
                raise UnusualHistoryError("vals")
        self._tids.append(tid)
        self._points.append({label: list(values) for label, values in point.items()})

    def split(self, gamma: float) -> "Split":
        """The trials with the lowest losses, and the others, as `tpe.ap_split_trials` does."""
        below_count = min(int(np.ceil(gamma * np.sqrt(self.count))), DEFAULT_LF)
        # `np.argsort` is not stable, so which of equal losses comes first is its own business: the
        # same call on the same numbers decides it as in hyperopt.
        order = np.argsort(self._losses)
        below = np.zeros(self.count, bool)
        below[order[:below_count]] = True
        above = ~below
        if self._kept is not None:
            below, above = _spread(below, self._kept), _spread(above, self._kept)
        return Split(self._columns, below, above)


def _spread(chosen: NDArray[np.bool_], kept: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """From the kept rows to all rows."""
    rows = np.zeros(len(kept), bool)
    rows[kept] = chosen
    return rows


class _Column:
    """One parameter's values, and the rows of the trials that have one."""

    def __init__(self) -> None:
        self.rows, self.values = array("q"), array("d")

    def append(self, row: int, value: Any) -> None:
        whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
        if not isinstance(value, float) and not (whole and float(value) == int(value)):
            raise UnusualHistoryError("value")
        self.rows.append(row)
        self.values.append(float(value))


@dataclass(frozen=True)
class Split:
    """The rows of the better trials and of the others."""

    _columns: dict[str, _Column]
    _below: NDArray[np.bool_]
    _above: NDArray[np.bool_]

    def of(self, label: str) -> Observed:
        """The values of one parameter on either side."""
        column = self._columns[label]
        values = np.array(column.values)
        if len(values) == len(self._below):
            return Observed(values[self._below], values[self._above])
        rows = np.array(column.rows)
        return Observed(values[self._below[rows]], values[self._above[rows]])
