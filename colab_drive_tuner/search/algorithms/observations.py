"""Cache of a search's observations: the trials' losses and the values of each parameter."""

import math
from array import array
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from hyperopt.tpe import DEFAULT_LF, linear_forgetting_weights
from numpy.typing import NDArray

from colab_drive_tuner.checkpoint.document_schema import TrialDocument

Floats = NDArray[np.float64]
Rows = NDArray[np.bool_]


class UnsupportedError(Exception):
    """The space, a trial or a setting holds something that only hyperopt's own code supports."""


class WeightedValues(NamedTuple):
    """Values of one parameter, oldest first, and their weights."""

    values: Floats
    weights: Floats


class Observations:
    """The trials of one search, as TPE reads them.

    Documents can be changed by anyone at any time, so each update compares all losses and points
    with the cached ones; only new ones are converted.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        self._labels = labels
        self._forget()

    def _forget(self) -> None:
        self._tids: list[int] = []
        self._points: list[dict[str, list[Any]]] = []
        self._columns = {label: _Column() for label in self._labels}
        self._forget_losses()

    def _forget_losses(self) -> None:
        self._raw_losses: list[Any] = []
        self._float_losses = array("d")
        self.losses: Floats = np.empty(0)
        """The loss of each trial; inf for trials without one; NaN is possible."""
        self._used = np.empty(0, int)
        """The rows of the trials that TPE uses: all except those with a loss of NaN."""

    @property
    def count(self) -> int:
        """Number of trials that TPE uses."""
        return len(self._used)

    def update(self, documents: list[TrialDocument]) -> None:
        """Read the documents; raise `UnsupportedError` if hyperopt has to read them."""
        try:
            losses = self._compare(documents)
            for document in documents[len(losses) :]:
                if self._tids and document["tid"] <= self._tids[-1]:
                    raise UnsupportedError("tids that are not ascending")  # hyperopt sorts them
                self._add(document)
                losses.append(document["result"].get("loss"))
            self._update_losses(losses)
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
            # If something is wrong with the documents, hyperopt reports it.
            raise UnsupportedError(repr(error)) from error

    def _compare(self, documents: list[TrialDocument]) -> list[Any]:
        """Return the losses of the known trials; forget all if a trial's point has changed."""
        losses: list[Any] = []
        # A single pass: with thousands of trials, memory access dominates.
        for document, tid, point in zip(documents, self._tids, self._points, strict=False):
            misc = document["misc"]
            if misc["vals"] != point or document["tid"] != tid or "from_tid" in misc:
                break
            losses.append(document["result"].get("loss"))
        if len(losses) < len(self._tids):
            self._forget()
            return []
        return losses

    def _add(self, document: TrialDocument) -> None:
        """Add the point of a new trial."""
        tid, misc = document["tid"], document["misc"]
        if type(tid) is not int or misc["tid"] != tid or "from_tid" in misc:
            raise UnsupportedError(f"the tid {tid}")
        point, idxs = misc["vals"], misc["idxs"]
        for label, column in self._columns.items():
            values = point[label]
            if type(values) is not list or idxs[label] != [tid] * len(values):
                raise UnsupportedError(f"the values of {label}")
            if values:
                (value,) = values
                column.append(len(self._tids), value)
        self._tids.append(tid)
        self._points.append({label: list(values) for label, values in point.items()})

    def _update_losses(self, losses: list[Any]) -> None:
        known = len(self._raw_losses)
        if losses[:known] != self._raw_losses:
            self._forget_losses()
            known = 0
        for loss in losses[known:]:
            # Immutable types only: a loss changed in place would compare equal to itself.
            if not isinstance(loss, float | int | np.generic | None):
                raise UnsupportedError("loss")
            self._float_losses.append(math.inf if loss is None else float(loss))
        self._raw_losses = losses
        self.losses = np.array(self._float_losses)
        # hyperopt keeps the best document of each tid; NaN is never the best, so it is dropped.
        self._used = np.flatnonzero(~np.isnan(self.losses))

    def column(self, label: str) -> tuple[NDArray[np.int64], NDArray[Any]]:
        """Return the rows of the trials that have a value for a parameter, and these values."""
        column = self._columns[label]
        values = np.array(column.values)
        return np.array(column.rows), values.astype(int) if column.integral else values

    def split(self, gamma: float) -> "Split":
        """Split the trials into those with the lowest losses and the rest, as hyperopt does."""
        below_count = min(int(np.ceil(gamma * np.sqrt(self.count))), DEFAULT_LF)
        # `np.argsort` is not stable: only the same call on the same array as in
        # `tpe.ap_split_trials` orders equal losses in the same way.
        order = np.argsort(self.losses[self._used])
        below, above = np.zeros((2, len(self.losses)), bool)
        above[self._used] = True
        lowest = self._used[order[:below_count]]
        below[lowest], above[lowest] = True, False
        return Split(self._columns, below, above)


class _Column:
    """Values of one parameter, and the rows of their trials."""

    def __init__(self) -> None:
        self.rows, self.values = array("q"), array("d")
        self.integral = True
        """Whether all values are integers."""

    def append(self, row: int, value: Any) -> None:
        integral = isinstance(value, int | np.integer) and not isinstance(value, bool)
        if not isinstance(value, float) and not (integral and float(value) == int(value)):
            raise UnsupportedError("value")
        self.integral = self.integral and integral
        self.rows.append(row)
        self.values.append(float(value))


class Split:
    """Values of each parameter in the better trials (below the split) and in the others."""

    def __init__(self, columns: dict[str, _Column], below: Rows, above: Rows) -> None:
        self._columns, self._below, self._above = columns, below, above
        self._weights: dict[int, Floats] = {}

    def of(self, label: str) -> tuple[WeightedValues, WeightedValues]:
        """Return one parameter's values below and above the split."""
        column = self._columns[label]
        values, below, above = np.array(column.values), self._below, self._above
        if len(values) < len(below):
            rows = np.array(column.rows)
            below, above = below[rows], above[rows]
        return self._weighted(values[below]), self._weighted(values[above])

    def _weighted(self, values: Floats) -> WeightedValues:
        count = len(values)
        if count not in self._weights:
            self._weights[count] = linear_forgetting_weights(count, DEFAULT_LF)
        return WeightedValues(values, self._weights[count])
