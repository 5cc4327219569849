"""hyperopt's trial documents, read and made without hyperopt: states, losses, stored form."""

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from numbers import Real
from operator import itemgetter
from typing import Any, cast

from colab_drive_tuner.checkpoint.document_schema import TrialDocument
from colab_drive_tuner.text import text_of
from colab_drive_tuner.training.trial import UNNAMED, are_valid_steps

NEW, RUNNING, FINISHED, ERROR, CANCELLED = range(5)
"""hyperopt's job states, named here so that reading a search needs no hyperopt."""
OPEN = (NEW, RUNNING)


class TrialState(StrEnum):
    """hyperopt's job states in words, in the order of their numbers."""

    NEW = "new"
    RUNNING = "running"
    DONE = "done"
    ERROR = "error"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether the trial neither waits nor runs."""
        return self not in (TrialState.NEW, TrialState.RUNNING)

    @classmethod
    def of(cls, document: TrialDocument) -> "TrialState":
        """Return the state of a trial."""
        return list(cls)[document["state"]]


def imported_document(
    tid: int, state: int, values: Mapping[str, float | int], result: dict[str, Any], **more: Any
) -> TrialDocument:
    """Return the document of a trial that another program suggested, given its values."""
    misc = {
        "tid": tid,
        "cmd": ("domain_attachment", "FMinIter_Domain"),
        "workdir": None,
        "idxs": {label: [tid] for label in values},
        "vals": {label: [value] for label, value in values.items()},
    }
    document = {"tid": tid, "state": state, "spec": None, "result": result, "misc": misc}
    common = {"exp_key": None, "version": 0, "book_time": None, "refresh_time": None}
    return cast(TrialDocument, document | common | more)


def has_ended(document: TrialDocument) -> bool:
    """Return whether the trial counts as done: with a result, or with an error that was caught."""
    return document["state"] in (FINISHED, ERROR)


def count_ended(documents: Iterable[TrialDocument]) -> int:
    """Count the trials that have ended."""
    return sum(map(has_ended, documents))


def loss_of(document: TrialDocument) -> float | None:
    """Return the loss by hyperopt's rule for stopping: any status, but not NaN or of an error.

    hyperopt checks only for status ok that the loss is a number.
    """
    loss = document["result"].get("loss")
    if document["state"] in (ERROR, CANCELLED) or not isinstance(loss, Real):
        return None
    counted: Any = loss
    return counted if counted == counted else None  # noqa: PLR0124 - NaN differs from itself


def plain_result(result: Any) -> Any:
    """Return the result as stored, without the placeholder of a model."""
    plain = getattr(result, "plain", None)
    return result if plain is None else plain()


def plain_document(document: TrialDocument) -> TrialDocument:
    """Return the document as stored, its result without the placeholder of a model."""
    return cast(TrialDocument, document | {"result": plain_result(document["result"])})


def as_new(document: TrialDocument) -> TrialDocument:
    """Return the document of a trial that is to run (again) with the same parameters."""
    ran = ("error", "traceback", "history")
    misc = {key: val for key, val in document["misc"].items() if key not in ran}
    fresh = {"state": NEW, "result": {"status": "new"}, "misc": misc, "owner": None}
    fresh |= {"book_time": None, "refresh_time": None}
    return cast(TrialDocument, {**document, **fresh})


def name_all_parameters(documents: Iterable[TrialDocument], labels: Iterable[str]) -> int:
    """Add parameters that a document does not name, as not used by its trial.

    Return the number of documents that lacked one. hyperopt's algorithms fail on such a document,
    and on one whose values are listed under another trial's number.
    """
    wanted, incomplete = frozenset(labels), 0
    for document in documents:
        misc = document["misc"]
        missing = wanted - misc["vals"].keys()
        incomplete += bool(missing)
        for label in missing:
            misc["vals"][label] = []
        misc["idxs"] = {
            label: [document["tid"]] * len(vals) for label, vals in misc["vals"].items()
        }
    return incomplete


def countable_loss(document: TrialDocument) -> float | None:
    """Return the loss if it counts for the best loss: status ok, a number, not NaN."""
    result = document["result"]
    if document["state"] != FINISHED or result.get("status") != "ok":
        return None
    loss = float_of(result.get("loss"))
    return None if loss is None or math.isnan(loss) else loss


def ranked(documents: Iterable[TrialDocument]) -> list[TrialDocument]:
    """Return the trials whose loss counts, the best first."""
    losses = ((countable_loss(document), document) for document in documents)
    with_loss = [(loss, document) for loss, document in losses if loss is not None]
    return [document for _, document in sorted(with_loss, key=itemgetter(0))]


def is_failed(document: TrialDocument) -> bool:
    """Return whether the trial ended without a countable loss, and was not pruned."""
    return has_ended(document) and not is_pruned(document) and countable_loss(document) is None


def float_of(value: Any) -> float | None:
    """Convert `value` to a float; None if that is impossible."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def is_pruned(document: TrialDocument) -> bool:
    """Return whether a pruner ended the trial early."""
    return document["result"].get("pruned") is True


def is_given_up(document: TrialDocument) -> bool:
    """Return whether too many workers or runtimes died in the trial."""
    return document["result"].get("given_up") is True


def reported_by(document: TrialDocument) -> dict[str, Any]:
    """Return the entry of a result with the values reported for pruning, or an empty dict."""
    reported = document["result"].get("reported")
    return reported if isinstance(reported, dict) else {}


def recorded_history(document: TrialDocument) -> dict[Any, Any]:
    """Return the history in a trial's result, or else its model's, or an empty dict."""
    both = document["result"].get("history"), document["misc"].get("history")
    return next((one for one in both if isinstance(one, dict) and one), {})


def curve_of(document: TrialDocument, metric: str) -> list[tuple[int, float]]:
    """Return the steps and values of a metric in a trial, or an empty list.

    They are those reported for pruning, or else those in the history of the model's `fit`.
    """
    reported = reported_by(document)
    named = reported.get("metric")
    if isinstance(named, str) and named in (metric, UNNAMED):
        values, steps = reported.get("values"), reported.get("steps")
    else:
        values, steps = recorded_history(document).get(metric), None
    if not isinstance(values, list) or not {float}.issuperset(map(type, values)):
        return []
    if steps is None:
        return list(enumerate(values, 1))
    if not isinstance(steps, list) or len(steps) != len(values) or not are_valid_steps(steps):
        return []
    return list(zip(steps, values, strict=True))


def insertion_index(tid: int, documents: Sequence[TrialDocument]) -> int:
    """Return the index before the first document with a higher number than `tid`."""
    for at, doc in enumerate(documents):
        if isinstance(doc["tid"], int) and doc["tid"] > tid:
            return at
    return len(documents)


def seconds_of(value: Any) -> float | None:
    """Convert a document's time to seconds since 1970; hyperopt's have no zone and are UTC.

    None for anything else, and for a time that in UTC is not of a year from 1 to 9999.
    """
    if not isinstance(value, datetime):
        return None
    try:
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(UTC).timestamp()
    except (OverflowError, ValueError):
        return None


def run_time(began: float | None, ended: float | None) -> float | None:
    """Return the seconds between two times; None if one is unknown or a clock was set back."""
    if began is None or ended is None or ended < began:
        return None
    return round(ended - began, 3)  # clocks have milliseconds; a difference of floats more digits


def error_text(kind: object, message: object) -> str:
    """Return the two parts of `misc["error"]` as Python shows them: `ValueError: out of tune`."""
    name = text_of(kind).removeprefix("<class '").removesuffix("'>").rpartition(".")[2]
    text = "" if message is None else text_of(message)
    return f"{name}: {text}" if text else name
