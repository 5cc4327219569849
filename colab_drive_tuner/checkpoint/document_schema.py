"""Decoding and validation of trial documents: hyperopt's fields, with the right types.

Records and snapshots contain documents as encoded bytes; only this module decodes them.
"""

import contextlib
import numbers
from datetime import datetime
from typing import Any, NotRequired, TypedDict, cast

import numpy as np

from colab_drive_tuner.checkpoint.codec.codec import CodecError, decode, encode
from colab_drive_tuner.checkpoint.record_items import Tid
from colab_drive_tuner.errors import NotPlainDataError, SearchDamagedError

_STATES, _DONE = 5, 2
"""hyperopt's job states: new, running, done, error, cancelled."""
_KEYS = frozenset(
    {"tid", "spec", "result", "misc", "state", "owner", "book_time", "refresh_time", "exp_key"}
)
"""Keys of every hyperopt document."""


class TrialMisc(TypedDict):
    """Parameters of a trial and further notes: hyperopt's and ours."""

    tid: Tid
    cmd: Any
    workdir: NotRequired[Any]
    vals: dict[str, list[Any]]
    """By label, a list with the value; empty if the parameter is not active."""
    idxs: dict[str, list[Any]]
    """By label, a list of the same length with the trial's number."""
    error: NotRequired[tuple[str, str]]
    """Type and text of the exception that ended the trial."""
    traceback: NotRequired[str]
    history: NotRequired[dict[str, list[float]]]
    """Keras's metrics, one value per epoch."""
    from_search: NotRequired[str]
    """The search in which the trial ended, if it was another one."""


class TrialDocument(TypedDict):
    """A trial as hyperopt stores it. Documents inserted by users may have other fields, too."""

    tid: Any
    """A number; text or a float in documents inserted by users."""
    state: int
    """One of hyperopt's job states: new, running, done, error, cancelled."""
    spec: Any
    result: dict[str, Any]
    misc: TrialMisc
    exp_key: str | None
    owner: Any
    book_time: datetime | None
    refresh_time: datetime | None
    version: NotRequired[int]


def read_document(encoded: bytes, tid: Tid) -> TrialDocument:
    """Decode the document of trial `tid`; raise `SearchDamagedError` stating what is wrong."""
    try:
        return check_document(decode(encoded), tid)
    except (CodecError, TypeError, ValueError) as error:
        raise SearchDamagedError(
            f"The document of trial {tid!r:.60} is not a trial document: {error}."
        ) from error


def check_document(document: Any, tid: Any) -> TrialDocument:
    """Check everything that readers of a document rely on; raises TypeError or ValueError."""
    if type(document) is not dict:
        raise TypeError("it is not a map")
    if document.get("tid") != tid:
        raise ValueError("it has the number of another trial")
    if missing := _KEYS - document.keys():
        raise ValueError(f"it has no {min(missing)!r}")
    state = document["state"]
    if not isinstance(state, int | np.integer) or state is True or not 0 <= state < _STATES:
        raise ValueError(f"its state is {state!r:.60}")
    if not isinstance(document["exp_key"], str | None):
        raise TypeError("its exp_key is not text")
    _check_misc(document["misc"], tid)
    _check_result(document["result"], ended=state == _DONE)
    return cast(TrialDocument, document)


def _check_misc(misc: Any, tid: Any) -> None:
    if not isinstance(misc, dict):
        raise TypeError("its misc is not a map")
    if misc.get("tid") != tid:
        raise ValueError("its misc has the number of another trial")
    values, indices = misc.get("vals"), misc.get("idxs")
    if not isinstance(values, dict) or not isinstance(indices, dict):
        raise TypeError("its misc.vals or misc.idxs is not a map")
    for label, value in values.items():
        if not isinstance(label, str) or not isinstance(value, list | tuple):
            raise TypeError("its misc.vals is not a map of lists")
        if len(value) > 1 or not all(map(_is_value, value)):
            raise TypeError(f"its value of {label!r:.60} is {value!r:.60}, not one number or none")


def _check_result(result: Any, *, ended: bool) -> None:
    if not isinstance(result, dict):
        raise TypeError("its result is not a map")
    status, loss = result.get("status"), result.get("loss")
    if status is not None and not isinstance(status, str):
        raise TypeError(f"its status is {status!r:.60}")
    if status == "ok" and (ended or loss is not None) and not _is_loss(loss):
        raise TypeError(f"its loss is {loss!r:.60}")
    drop_odd_loss(result)


def drop_odd_loss(result: dict[str, Any]) -> None:
    """Remove a failed trial's loss if it is no number: hyperopt's algorithms read every loss."""
    loss = result.get("loss")
    if result.get("status") != "ok" and loss is not None and not _is_value(loss):
        del result["loss"]


def same_parameters(one: bytes, other: bytes, tid: Tid) -> bool:
    """Return whether two encoded documents of a trial have the same parameters."""
    return parameters(read_document(one, tid)) == parameters(read_document(other, tid))


def parameters(document: TrialDocument) -> bytes:
    """Return the parameters that a trial used, encoded, so that they can be compared."""
    try:
        return encode({name: val for name, val in document["misc"]["vals"].items() if len(val)})
    except NotPlainDataError as error:
        raise SearchDamagedError(f"The parameters of a trial cannot be used: {error}") from error


def _is_value(value: Any) -> bool:
    """Return whether it can be a parameter's value: a number that fits a float."""
    if isinstance(value, float):  # the usual case, numpy's float64 included
        return True
    if not isinstance(value, numbers.Real | np.bool_):
        return False
    with contextlib.suppress(OverflowError):
        float(value)
        return True
    return False


def _is_loss(value: Any) -> bool:
    """Return whether it can be the loss of a trial: a number, or an array of one."""
    if type(value) is float:
        return True
    if isinstance(value, np.ndarray):
        return value.size == 1 and value.dtype.kind in "biuf"
    return _is_value(value)
