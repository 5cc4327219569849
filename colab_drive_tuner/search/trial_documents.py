"""Trial documents as hyperopt makes them, without hyperopt: states, losses, and what is stored."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from numbers import Real
from typing import Any, cast

from colab_drive_tuner.checkpoint.document_validation import TrialDocument
from colab_drive_tuner.intermediate_values import UNNAMED, are_valid_steps

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
        """The state of a trial."""
        return list(cls)[document["state"]]


def imported_document(
    tid: int, state: int, values: Mapping[str, float | int], result: dict[str, Any], **more: Any
) -> TrialDocument:
    """The document of a trial that another program has suggested, by the values that it gave."""
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
    """Whether the trial counts as done: with a result, or with an error that was caught."""
    return document["state"] in (FINISHED, ERROR)


def count_ended(documents: Iterable[TrialDocument]) -> int:
    """How many of the trials have ended."""
    return sum(map(has_ended, documents))


def loss_of(document: TrialDocument) -> float | None:
    """The loss by hyperopt's rule for stopping: of any status, unless it is NaN or an error's.

    Only of a trial that went well does hyperopt check that the loss is a number.
    """
    loss = document["result"].get("loss")
    if document["state"] in (ERROR, CANCELLED) or not isinstance(loss, Real):
        return None
    counted: Any = loss
    return counted if counted == counted else None  # noqa: PLR0124 - NaN differs from itself


def plain_result(result: Any) -> Any:
    """The result as it is stored: without whatever stands for a model."""
    plain = getattr(result, "plain", None)
    return result if plain is None else plain()


def plain_document(document: TrialDocument) -> TrialDocument:
    """The document as it is stored: its result without whatever stands for a model."""
    return cast(TrialDocument, document | {"result": plain_result(document["result"])})


def as_new(document: TrialDocument) -> TrialDocument:
    """The document of a trial that is to be run (again), with the parameters it has."""
    ran = ("error", "traceback", "history")
    misc = {key: val for key, val in document["misc"].items() if key not in ran}
    fresh = {"state": NEW, "result": {"status": "new"}, "misc": misc, "owner": None}
    fresh |= {"book_time": None, "refresh_time": None}
    return cast(TrialDocument, {**document, **fresh})


def name_all_parameters(documents: Iterable[TrialDocument], labels: Iterable[str]) -> int:
    """Say of each parameter that a document does not name that its trial did not use it.

    Return in how many documents one was missing; hyperopt's algorithms fail on such a document, and
    on one whose values are noted under another trial's number.
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
    """The loss where it counts for the best: status ok, a number, not NaN."""
    result = document["result"]
    if document["state"] != FINISHED or result.get("status") != "ok":
        return None
    try:
        loss = float(result["loss"])
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    return loss if loss == loss else None  # noqa: PLR0124 - NaN is the value that differs from itself


def is_failed(document: TrialDocument) -> bool:
    """Whether the trial ended without a loss, and not by a pruner."""
    return has_ended(document) and not is_pruned(document) and countable_loss(document) is None


def float_of(value: Any) -> float | None:
    """The float that `value` is or can be made; None where it cannot."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def is_pruned(document: TrialDocument) -> bool:
    """Whether a pruner ended the trial early."""
    return document["result"].get("pruned") is True


def reported_by(document: TrialDocument) -> dict[str, Any]:
    """What a trial reported for pruning, as its result has it; empty where that is nothing."""
    reported = document["result"].get("reported")
    return reported if isinstance(reported, dict) else {}


def curve_of(document: TrialDocument, metric: str) -> list[tuple[int, float]]:
    """Steps and values that a trial reported under this name; empty where it reported none.

    That is what it reported for pruning, or else what `fit` reported to its model.
    """
    reported = reported_by(document)
    if reported.get("metric") in (metric, UNNAMED):
        values, steps = reported.get("values"), reported.get("steps")
    else:
        given = document["result"].get("history") or document["misc"].get("history")
        values, steps = given.get(metric) if isinstance(given, dict) else None, None
    if not isinstance(values, list) or not all(type(value) is float for value in values):
        return []
    if steps is None:
        return list(enumerate(values, 1))
    if not isinstance(steps, list) or len(steps) != len(values) or not are_valid_steps(steps):
        return []
    return list(zip(steps, values, strict=True))


def insertion_index(tid: int, documents: Sequence[TrialDocument]) -> int:
    """Where in the documents a trial belongs: before the first one with a higher number."""
    for at, doc in enumerate(documents):
        if isinstance(doc["tid"], int) and doc["tid"] > tid:
            return at
    return len(documents)


def seconds_of(value: Any) -> float | None:
    """A time of a document as seconds since 1970; those without a zone are UTC, as hyperopt's."""
    if not isinstance(value, datetime):
        return None
    try:
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    except (OverflowError, ValueError):
        return None
