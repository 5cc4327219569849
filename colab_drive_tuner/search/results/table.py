"""Trials as a table: a row for each trial, a column for each parameter and each value returned."""

import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from importlib import import_module
from typing import Any, SupportsFloat

from colab_drive_tuner.checkpoint.documents import TrialDocument
from colab_drive_tuner.errors import MissingExtraError
from colab_drive_tuner.text import visible

FIXED = ("tid", "state", "status", "loss", "duration", "runtime", "error")
_STATES = ("new", "running", "done", "error", "cancelled")
_WITHOUT_RESULT = {"error": "fail", "cancelled": "fail"}
"""The status of a trial that ended without a result; another one has that of its state."""
_RETURNED_ELSEWHERE = {"status", "loss", "model", "history", "attachments"}
_TARGETS = {bool: "boolean", int: "Int64", float: "Float64"}

Path = tuple[str, ...]
"""The keys that lead to a value of a space or result."""


class Table:
    """The rows of trials, and the order of their columns.

    Args:
        documents: The trials' documents.
        space: The space; None: parameters are named by their labels, and a choice is its index.
    """

    def __init__(self, documents: Sequence[TrialDocument], space: Any = None) -> None:
        trials = [(document, point_of(document)) for document in documents]
        if space is None:
            parameters: list[dict[Path, Any]] = [
                {(label,): plain(value) for label, value in point.items()} for _, point in trials
            ]
            paths = dict.fromkeys(path for found in parameters for path in found)
        else:
            parameters = [dict(_values(space, point, ())) for _, point in trials]
            paths = dict.fromkeys(path for path, _ in _values(space, None, ()))
        returned = [dict(_scalars(document["result"], ())) for document in documents]
        names = _Names(FIXED)
        self._parameters = {path: names.add("params", path) for path in paths}
        self._returned = {
            path: names.add("result", path)
            for path in dict.fromkeys(path for found in returned for path in found)
        }
        self.parameters = tuple(self._parameters.values())
        self.columns = (*FIXED[:-1], *self._parameters.values(), *self._returned.values(), "error")
        self.rows = [
            self._row(document, given, scalars)
            for document, given, scalars in zip(documents, parameters, returned, strict=True)
        ]

    def _row(
        self, document: TrialDocument, given: Mapping[Path, Any], scalars: Mapping[Path, Any]
    ) -> dict[str, Any]:
        state = _STATES[document["state"]]
        result = document["result"]
        return {
            "tid": document["tid"],
            "state": state,
            "status": result.get("status")
            if state == "done"
            else _WITHOUT_RESULT.get(state, state),
            "loss": result.get("loss"),
            "duration": _seconds(document.get("book_time"), document.get("refresh_time")),
            "runtime": document.get("owner"),
            **{self._parameters[path]: value for path, value in given.items()},
            **{self._returned[path]: value for path, value in scalars.items()},
            "error": _error(document),
        }

    def to_csv(self) -> bytes:
        """The rows as CSV; a missing value is an empty cell."""
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self.columns)
        writer.writeheader()
        writer.writerows(self.rows)
        return text.getvalue().encode(errors="backslashreplace")

    def to_parquet(self) -> bytes:
        """The DataFrame as a Parquet file; columns of objects as their text."""
        frame = self.to_dataframe()
        for name in frame.columns:
            if frame[name].dtype == object:
                frame[name] = [
                    None if cell is None or _is_na(cell) else str(cell) for cell in frame[name]
                ]
        try:
            content: bytes = frame.to_parquet(index=False)
        except ImportError as error:
            raise MissingExtraError(
                "to_parquet() needs pyarrow: pip install pyarrow, or use to_csv()."
            ) from error
        return content

    def to_dataframe(self) -> Any:
        """The rows as a pandas DataFrame whose column types do not depend on what is missing."""
        try:
            pandas = import_module("pandas")
        except ImportError as error:
            raise MissingExtraError(
                "to_dataframe() needs pandas: pip install pandas, or use .rows."
            ) from error
        columns = {}
        for name in self.columns:
            cells = [row.get(name, pandas.NA) for row in self.rows]
            if name in FIXED:
                cells = [pandas.NA if cell is None else cell for cell in cells]
            columns[name] = _series(pandas, name, cells)
        return pandas.DataFrame(columns, columns=list(self.columns))


def csv_text(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table as CSV; what is None is an empty cell."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([head, *rows])
    return text.getvalue()


class _Names:
    """Column names, each given once: one that is taken gets a prefix."""

    def __init__(self, taken: Sequence[str]) -> None:
        self._taken = set(taken)

    def add(self, prefix: str, path: Path) -> str:
        name = ".".join(path)
        while name in self._taken:
            name = f"{prefix}.{name}"
        self._taken.add(name)
        return name


def point_of(document: TrialDocument) -> dict[str, Any]:
    """The sampled values by label, without those that the trial does not have."""
    return {label: vals[0] for label, vals in document["misc"]["vals"].items() if len(vals)}


def missing_labels(space: Any, point: Mapping[str, Any]) -> set[str]:
    """The parameters that the space asks for, after the point's choices, and the point lacks."""
    from hyperopt.pyll import as_apply

    missing, waiting = set(), [as_apply(space)]
    while waiting:
        node = waiting.pop()
        if node.name == "hyperopt_param":
            label = node.arg["label"].obj
            if label not in point:
                missing.add(label)
        elif node.name == "switch":
            option = _chosen(node, point)
            if option is None:
                missing.add(_label(node) or "")
            else:
                waiting.append(option)
        else:
            waiting += node.inputs()
    return missing


def _values(node: Any, point: Mapping[str, Any] | None, path: Path) -> Iterator[tuple[Path, Any]]:
    """Each value of a point by its path, as the objective gets it; a None of a point: all paths."""
    for key, part in _members(node):
        yield from _values(part, point, (*path, key))
    if _members(node):
        return
    options = node.pos_args[1:] if _is(node, "switch") else ()
    nested = [bool(_members(option)) or _is(option, "switch") for option in options]
    if any(nested):
        label = path or (_label(node) or "value",)
        chosen = _chosen(node, point) if point is not None else None
        if all(nested) and (point is None or chosen is not None):
            yield label, None if point is None else int(point[_label(node) or ""])
        for option, inner in zip(options, nested, strict=True):
            if point is None or option is chosen:
                yield from _values(option, point, path if inner else label)
        return
    leaf = path or (_label(node) or "value",)
    if point is None:
        yield leaf, None
    elif not missing_labels(node, point):
        yield leaf, plain(evaluate_space(node, point))


def evaluate_space(node: Any, point: Mapping[str, Any]) -> Any:
    """What the objective gets for a part of a space; the common kinds without hyperopt's graph."""
    if node is None or isinstance(node, bool | int | float | str):
        return node
    if _is(node, "hyperopt_param"):
        return point[node.arg["label"].obj]
    if getattr(node, "name", None) == "literal":
        return node.obj
    if _is(node, "switch"):
        return evaluate_space(_chosen(node, point), point)
    from hyperopt import space_eval

    return space_eval([node], dict(point))[0]  # in a list, since it takes no bare literal


def _members(node: Any) -> list[tuple[str, Any]]:
    """The parts of a dict, or of a list that holds parameters, by key or by label."""
    if isinstance(node, dict):
        return [(str(key), part) for key, part in node.items()]
    if _is(node, "dict") and not node.pos_args:
        return [(str(key), part) for key, part in node.named_args]
    parts = (
        node if isinstance(node, list | tuple) else node.pos_args if _is(node, "pos_args") else ()
    )
    if not any(map(_has_parameters, parts)):
        return []
    labels = [_label(part) for part in parts]
    return [
        (str(number) if label is None or labels.count(label) > 1 else label, part)
        for number, (label, part) in enumerate(zip(labels, parts, strict=True))
    ]


def _is(node: Any, name: str) -> bool:
    return getattr(node, "name", None) == name and hasattr(node, "pos_args")


def _has_parameters(node: Any) -> bool:
    from hyperopt.pyll import as_apply, dfs

    return any(part.name == "hyperopt_param" for part in dfs(as_apply(node)))


def _label(node: Any) -> str | None:
    """The label of a parameter, of what is made of one parameter alone, or of a choice."""
    if _is(node, "hyperopt_param"):
        return str(node.arg["label"].obj)
    if _is(node, "switch"):
        return _label(node.pos_args[0])
    if not hasattr(node, "inputs") or _members_of_node(node):
        return None
    labels = [label for label in map(_label, node.inputs()) if label is not None]
    return labels[0] if len(labels) == 1 else None


def _members_of_node(node: Any) -> bool:
    return _is(node, "dict") or _is(node, "pos_args")


def _chosen(node: Any, point: Mapping[str, Any]) -> Any:
    """The option that a point chooses; None where it has no valid index."""
    index = point.get(_label(node) or "")
    options = node.pos_args[1:]
    if not isinstance(index, SupportsFloat) or not math.isfinite(float(index)):
        return None
    number = int(float(index))
    return options[number] if 0 <= number < len(options) else None


def _scalars(values: Mapping[Any, Any], path: Path) -> Iterator[tuple[Path, Any]]:
    """What a result holds of numbers, texts, times and None, by path."""
    for key, given in values.items():
        if not path and key in _RETURNED_ELSEWHERE:
            continue
        if isinstance(given, Mapping):
            if not path and key == "reported":
                continue  # a curve, and the pruner
            yield from _scalars(given, (*path, str(key)))
            continue
        value = plain(given)
        if value is None or isinstance(value, bool | int | float | str | datetime):
            yield (*path, str(key)), value


def _is_na(cell: Any) -> bool:
    return type(cell).__name__ == "NAType"


def plain(value: Any) -> Any:
    """A number of numpy's as one of Python's, so that a column has one type."""
    return value.item() if getattr(value, "shape", None) == () else value


def _seconds(began: Any, ended: Any) -> float | None:
    """From one time to another; None where they are no times that can be compared."""
    if not isinstance(began, datetime) or not isinstance(ended, datetime):
        return None
    if (began.tzinfo is None) != (ended.tzinfo is None):
        return None
    return (ended - began).total_seconds()


def _error(document: TrialDocument) -> str | None:
    """The error that ended a trial: `ValueError: out of tune`, or why it was given up.

    On one line that no terminal obeys: frames and CSV files are printed as they are.
    """
    error = document["misc"].get("error")
    if isinstance(error, list | tuple) and len(error) == 2:
        kind = str(error[0]).removeprefix("<class '").removesuffix("'>").rpartition(".")[2]
        return visible(f"{kind}: {error[1]}")
    reason = document["result"].get("reason")
    return visible(reason) if document["result"].get("status") == "fail" and reason else None


def _series(pandas: Any, name: str, cells: list[Any]) -> Any:
    """A column whose type is that of its values; what is not there is `pandas.NA`."""
    present = [cell for cell in cells if cell is not pandas.NA]
    kinds = {type(cell) for cell in present}
    if name in ("loss", "duration"):
        kinds = {float}
    elif name == "tid" and kinds == {int}:
        return pandas.Series(cells, dtype="int64")
    if kinds == {int, float}:
        kinds = {float}
    fits = kinds != {int} or all(-(2**63) <= cell < 2**63 for cell in present)
    numbers = _TARGETS.get(next(iter(kinds))) if len(kinds) == 1 and fits else None
    if numbers == "Float64":
        # Not NaN for what is missing: a loss that is NaN was returned.
        import numpy as np

        mask = np.array([cell is pandas.NA for cell in cells], dtype=bool)
        data = np.array([0.0 if cell is pandas.NA else float(cell) for cell in cells])
        return pandas.Series(pandas.arrays.FloatingArray(data, mask))
    return pandas.Series(cells, dtype=numbers or "object")
