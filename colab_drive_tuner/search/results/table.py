"""Tables of trials: a row per trial, a column per parameter and returned value; CSV, Parquet."""

import csv
import io
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from importlib import import_module
from typing import Any

from colab_drive_tuner.checkpoint.document_schema import TrialDocument
from colab_drive_tuner.errors import optional_import
from colab_drive_tuner.search.spec.space_values import Path, parameter_values, plain, point_of
from colab_drive_tuner.search.trial_documents import (
    TrialState,
    error_text,
    float_of,
    run_time,
    seconds_of,
)
from colab_drive_tuner.text import text_of, visible

FIXED = ("tid", "state", "status", "loss", "duration", "runtime", "error")
_RETURNED_ELSEWHERE = {"status", "loss", "model", "history", "attachments"}
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""Beginnings of texts that spreadsheets run."""
_PANDAS_TYPES = {bool: "boolean", int: "Int64", float: "Float64"}


class Table:
    """Rows of trials, and the order of their columns.

    Without a space, parameters have their labels as names, and choices are indices.
    """

    def __init__(self, documents: Sequence[TrialDocument], space: Any = None) -> None:
        trials = [(document, point_of(document)) for document in documents]
        if space is None:
            parameters: list[dict[Path, Any]] = [
                {(label,): plain(value) for label, value in point.items()} for _, point in trials
            ]
            types = {path: set[type]() for found in parameters for path in found}
        else:
            parameters = [dict(parameter_values(space, point, ())) for _, point in trials]
            types = dict[Path, set[type]]()
            for path, possible in parameter_values(space, None, ()):
                types[path] = types.get(path, set()) | possible
        returned = [dict(_scalars(document["result"], ())) for document in documents]
        taken = set(FIXED)

        def named(path: Path, prefix: str) -> str:
            name = free_name(_utf8(".".join(path)), prefix, taken)
            taken.add(name)
            return name

        self._parameters = {path: named(path, "params") for path in types}
        self._types = {name: types[path] for path, name in self._parameters.items()}
        """Types that the space gives each column."""
        self._returned = {
            path: named(path, "result")
            for path in dict.fromkeys(path for found in returned for path in found)
        }
        self.parameters = tuple(self._parameters.values())
        self.returned = tuple(self._returned.values())
        self.columns = (*FIXED[:-1], *self.parameters, *self.returned, "error")
        self.rows = [
            self._row(document, given, scalars)
            for document, given, scalars in zip(documents, parameters, returned, strict=True)
        ]

    def _row(
        self, document: TrialDocument, given: Mapping[Path, Any], scalars: Mapping[Path, Any]
    ) -> dict[str, Any]:
        state, result = TrialState.of(document), document["result"]
        status = result.get("status")
        if state is not TrialState.DONE:
            without_result = state in (TrialState.ERROR, TrialState.CANCELLED)
            status = "fail" if without_result else state.value
        return {
            "tid": document["tid"],
            "state": state.value,
            "status": status,
            "loss": result.get("loss"),
            "duration": run_time(
                seconds_of(document.get("book_time")), seconds_of(document.get("refresh_time"))
            ),
            "runtime": document.get("owner"),
            **{self._parameters[path]: value for path, value in given.items()},
            **{self._returned[path]: value for path, value in scalars.items()},
            "error": _error(document),
        }

    def to_csv(self) -> bytes:
        """Return the rows as CSV; missing values are empty cells, None is the text "None"."""
        rows = (
            [row.get(name) if name in FIXED else value_cell(row, name) for name in self.columns]
            for row in self.rows
        )
        return csv_text(self.columns, rows).encode(errors="backslashreplace")

    def to_parquet(self) -> bytes:
        """Return the DataFrame as a Parquet file; columns of objects are converted to text."""
        frame = self.to_dataframe()
        missing = import_module("pandas").NA
        for name in frame.columns:
            if frame[name].dtype == object:
                frame[name] = [None if cell is missing else _utf8(cell) for cell in frame[name]]
        with optional_import("to_parquet() needs pyarrow: pip install pyarrow, or use to_csv()."):
            content: bytes = frame.to_parquet(index=False)
        return content

    def to_dataframe(self) -> Any:
        """Return a pandas DataFrame whose column types do not depend on missing values."""
        with optional_import("to_dataframe() needs pandas: pip install pandas, or use .rows."):
            pandas = import_module("pandas")
        columns = {}
        for name in self.columns:
            cells = [row.get(name, pandas.NA) for row in self.rows]
            if name == "loss":
                cells = [float_of(cell) for cell in cells]
            if name in FIXED:
                cells = [pandas.NA if cell is None else cell for cell in cells]
            columns[name] = _column(pandas, name, cells, self._types.get(name, set()))
        return pandas.DataFrame(columns, columns=list(self.columns))


def free_name(name: str, prefix: str, taken: Container[str]) -> str:
    """Return the name of a column, with as many prefixes as needed to make it unique."""
    while name in taken:
        name = f"{prefix}.{name}"
    return name


def value_cell(values: Mapping[str, Any], name: str) -> Any:
    """Return a value for a table of texts: None if it is missing, "None" if the value is None.

    This distinguishes a choice of None from an inactive parameter.
    """
    return str(None) if name in values and values[name] is None else values.get(name)


def _utf8(value: object) -> str:
    """Return the text of a value, with lone surrogates escaped."""
    return text_of(value).encode(errors="backslashreplace").decode()


def csv_text(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table as CSV; None becomes an empty cell."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(map(_cell, row) for row in (head, *rows))
    return text.getvalue()


def _cell(value: object) -> str | None:
    """Return a cell's text; an apostrophe before a formula keeps spreadsheets from running it."""
    if isinstance(value, str) and value.startswith(_FORMULA):
        value = f"'{value}"
    return None if value is None else text_of(value)


def _scalars(values: Mapping[Any, Any], path: Path) -> Iterator[tuple[Path, Any]]:
    """Yield the numbers, texts, times and None of a result, by path."""
    for key, given in values.items():
        if not path and key in _RETURNED_ELSEWHERE:
            continue
        if isinstance(given, Mapping):
            if not path and key == "reported":
                continue  # the curve and the pruner
            yield from _scalars(given, (*path, text_of(key)))
            continue
        value = plain(given)
        if value is None or isinstance(value, bool | int | float | str | datetime):
            yield (*path, text_of(key)), value


def _error(document: TrialDocument) -> str | None:
    """Return the error that ended a trial (`ValueError: out of tune`), or why it was given up.

    It is one line without control characters, because frames and CSV files are printed unescaped.
    """
    error = document["misc"].get("error")
    if isinstance(error, list | tuple) and len(error) == 2:
        return visible(error_text(*error))
    reason = document["result"].get("reason")
    failed = document["result"].get("status") == "fail" and reason is not None
    return visible(reason) or None if failed else None


def _column(pandas: Any, name: str, cells: list[Any], possible: set[type]) -> Any:
    """Return a column with the type of its possible values; missing values are `pandas.NA`."""
    present = [cell for cell in cells if cell is not pandas.NA]
    kinds = {type(cell) for cell in present} | possible
    if name in ("loss", "duration"):
        kinds = {float}
    elif name == "tid" and kinds <= {int}:
        return pandas.Series(cells, dtype="int64")
    if kinds == {int, float} and None not in map(float_of, present):
        kinds = {float}
    fits = kinds != {int} or all(-(2**63) <= cell < 2**63 for cell in present)
    numbers = _PANDAS_TYPES.get(next(iter(kinds))) if len(kinds) == 1 and fits else None
    if numbers == "Float64":
        # Missing values must not become NaN: a NaN was returned.
        import numpy as np

        mask = np.array([cell is pandas.NA for cell in cells], dtype=bool)
        data = np.array([0.0 if cell is pandas.NA else float(cell) for cell in cells])
        return pandas.Series(pandas.arrays.FloatingArray(data, mask))
    return pandas.Series(cells, dtype=numbers or "object")
