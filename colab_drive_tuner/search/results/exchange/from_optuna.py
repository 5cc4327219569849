"""Optuna studies as searches: new ones, with which hyperopt goes on."""

import base64
import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from colab_drive_tuner.checkpoint.codec.codec import CodecError, decode
from colab_drive_tuner.checkpoint.document_validation import TrialDocument, check_document
from colab_drive_tuner.errors import ConversionWarning, UsageError
from colab_drive_tuner.search.results.exchange.to_optuna import DOCUMENT
from colab_drive_tuner.search.spec.space_values import plain
from colab_drive_tuner.search.trial_documents import (
    ERROR,
    FINISHED,
    NEW,
    imported_document,
    name_all_parameters,
)
from colab_drive_tuner.text import visible
from colab_drive_tuner.user_warnings import warn_user

# After `to_optuna`, which says what to install where Optuna is missing.
# isort: split
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState

_MOST_KINDS, _MOST_OPTIONS = 100, 1000
"""Up to so many whole numbers are kinds to hyperopt's `randint`, and so many values a choice."""


def from_optuna(study: Any, *, name: str, store: Any = None) -> dict[str, Any]:
    """Make a new search from an Optuna study, so that hyperopt goes on with its trials.

    A value that is to be large becomes a negative loss. A categorical value becomes a choice by its
    index; so does one of a grid that hyperopt's steps miss, or of a range of one float. The loss of
    a pruned trial is the last value that it reported; one that reported none has the status fail,
    as one that failed. Waiting and running ones are run when the search goes on, if their values
    are all there.

    Args:
        study: The study, with one objective.
        name: The new search's name.
        store: Where it will be kept, as in `resume_search`; None: what `setup()` opened.

    Returns:
        A hyperopt space with the study's parameters, for `resume_search(..., space=space)`.

    Raises:
        UsageError: This is no study, it cannot be a search, or there is a search of that name.
        MissingExtraError: Optuna is not installed.

    Example:
        >>> space = cdt.from_optuna(study, name="cnn")  # doctest: +SKIP
        >>> cdt.resume_search(objective, space=space, name="cnn", max_evals=200)  # doctest: +SKIP
    """
    from colab_drive_tuner.search.results.exchange.import_export import insert_into_new
    from colab_drive_tuner.store import open_store

    if not isinstance(study, optuna.Study):
        raise UsageError(
            f"from_optuna() takes an Optuna study, got {visible(repr(study))}: "
            "optuna.load_study(...) opens one."
        )
    shapes = _shapes_of(study)
    space = {label: _expression(label, shape) for label, shape in shapes.items()}
    documents = _complete(documents_of(study, shapes), frozenset(space))
    name_all_parameters(documents, space)
    lost = [name for name, shape in shapes.items() if _loses_steps(shape)]
    if lost:
        warn_user(
            f"hyperopt has no such steps as those of {', '.join(map(visible, lost))}: it suggests "
            "values between them, too.",
            ConversionWarning,
        )
    if study.user_attrs:
        names = ", ".join(map(visible, study.user_attrs))
        warn_user(
            f"A search keeps no attributes of the study itself: {names} stay in the study.",
            ConversionWarning,
        )
    insert_into_new(open_store(store), name, documents, {})
    return space


def _complete(documents: list[TrialDocument], labels: frozenset[str]) -> list[TrialDocument]:
    """The documents without those that are to be run and lack values for that; says which."""
    partial = [
        document["tid"]
        for document in documents
        if document["state"] == NEW and not labels <= document["misc"]["vals"].keys()
    ]
    if partial:
        warn_user(
            f"Trials {', '.join(map(str, partial))} wait with values for some parameters only, "
            "which hyperopt cannot run: they are left out. Give them as points_to_evaluate.",
            ConversionWarning,
        )
    return [document for document in documents if document["tid"] not in partial]


def documents_of(
    study: optuna.Study, shapes: Mapping[str, BaseDistribution]
) -> list[TrialDocument]:
    """The trials of a study as hyperopt's documents; raises `UsageError` for what it cannot say."""
    if len(study.directions) != 1:
        raise UsageError(
            f"Study {study.study_name!r} has {len(study.directions)} objectives, and a search has "
            "one loss: keep it by cdt.optuna_storage instead."
        )
    maximized = study.direction == optuna.study.StudyDirection.MAXIMIZE
    return [_document(trial, shapes, maximized=maximized) for trial in study.trials]


def _document(
    trial: FrozenTrial, shapes: Mapping[str, BaseDistribution], *, maximized: bool
) -> TrialDocument:
    if DOCUMENT in trial.user_attrs:
        try:
            document = decode(base64.b64decode(trial.user_attrs[DOCUMENT], validate=True))
            return check_document(document, document["tid"])
        except (CodecError, KeyError, TypeError, ValueError) as error:
            raise UsageError(
                f"Trial {trial.number} has an attribute {DOCUMENT!r} that is no trial document "
                f"({error}): remove it from the study."
            ) from error
    tid, ended = trial.number, trial.state.is_finished()
    values = {label: _internal(shapes[label], value) for label, value in trial.params.items()}
    if not ended:
        return imported_document(tid, NEW, values, {"status": "new"}, owner=None)
    return imported_document(
        tid,
        ERROR if trial.state == TrialState.FAIL else FINISHED,
        values,
        _result(trial, maximized=maximized),
        owner="Optuna",
        book_time=_utc(trial.datetime_start),
        refresh_time=_utc(trial.datetime_complete),
    )


def _result(trial: FrozenTrial, *, maximized: bool) -> dict[str, Any]:
    attributes = json.dumps(trial.user_attrs, default=_as_json)
    kept = {"optuna": {"state": trial.state.name, "user_attrs": attributes}}
    sign = -1 if maximized else 1
    steps = [sign * trial.intermediate_values[step] for step in sorted(trial.intermediate_values)]
    curve = {"history": {"value": steps}} if steps else {}
    if trial.state == TrialState.COMPLETE:
        return {"status": "ok", "loss": sign * float(trial.values[0])} | curve | kept
    if trial.state == TrialState.PRUNED and steps and not math.isnan(steps[-1]):
        pruned = {"pruned": True, "pruned_at": max(trial.intermediate_values)}
        return {"status": "ok", "loss": steps[-1]} | pruned | curve | kept
    reason = "pruned" if trial.state == TrialState.PRUNED else "failed"
    return {"status": "fail", "reason": reason} | curve | kept


def _as_json(value: Any) -> Any:
    """An attribute that JSON does not know: a number of numpy's as a number, others as a text."""
    number = plain(value)
    return repr(value) if number is value else number


def _internal(shape: BaseDistribution, value: Any) -> float | int:
    """A value as hyperopt notes it: a choice by its index."""
    if isinstance(shape, CategoricalDistribution):
        return int(shape.to_internal_repr(value))
    if grid := _grid(shape):
        return min(range(len(grid)), key=lambda index: abs(grid[index] - value))
    return int(value) if _is_kinds(shape) else float(value)


def _utc(time: datetime | None) -> datetime | None:
    return None if time is None else time.astimezone(UTC).replace(tzinfo=None)


def _shapes_of(study: optuna.Study) -> dict[str, BaseDistribution]:
    """The distribution of each parameter; of one that changed all that it ever held."""
    shapes: dict[str, BaseDistribution] = {}
    for trial in study.trials:
        for label, shape in trial.distributions.items():
            shapes[label] = _joined(label, shapes.get(label, shape), shape)
    return shapes


def _joined(label: str, one: Any, other: Any) -> Any:
    """A distribution that holds the values of both."""
    if one == other:
        return other
    choices = [isinstance(shape, CategoricalDistribution) for shape in (one, other)]
    if all(choices):
        more = [choice for choice in other.choices if choice not in one.choices]
        return CategoricalDistribution([*one.choices, *more])
    if any(choices):
        raise UsageError(
            f"Parameter {label!r} is a choice in some trials and a range in others, which no space "
            "can say: make a study of those that agree."
        )
    low, high, log = min(one.low, other.low), max(one.high, other.high), one.log and other.log
    if isinstance(one, IntDistribution) and isinstance(other, IntDistribution):
        step = 1 if log else math.gcd(one.step, other.step, one.low - other.low)
        return IntDistribution(low, high, log=log, step=step)
    same = one.step == other.step and one.low == other.low
    return FloatDistribution(low, high, log=log, step=other.step if same else None)


def _expression(label: str, shape: Any) -> Any:
    """What hyperopt has for a distribution."""
    from hyperopt import hp
    from hyperopt.pyll import scope

    if isinstance(shape, CategoricalDistribution):
        return hp.choice(label, list(shape.choices))
    if not isinstance(shape, FloatDistribution | IntDistribution):
        raise UsageError(f"Parameter {label!r} has a {type(shape).__name__}: unknown here.")
    if grid := _grid(shape):
        return hp.choice(label, grid)
    if _is_kinds(shape):
        return hp.randint(label, shape.low, shape.high + 1)
    low, high, whole = shape.low, shape.high, isinstance(shape, IntDistribution)
    step = shape.step if _is_on_steps(shape) else None
    step = 1 if whole and step is None else step
    if shape.log:
        low, high = math.log(low), math.log(high)
        made = hp.qloguniform(label, low, high, 1) if whole else hp.loguniform(label, low, high)
    else:
        made = hp.quniform(label, low, high, step) if step else hp.uniform(label, low, high)
    return scope.int(made) if whole else made


def _grid(shape: Any) -> list[Any]:
    """The values that hyperopt can only have as a choice; empty where it has a range for them.

    Its steps begin at 0, so they miss a grid that begins between them; and no range of floats holds
    a single value.
    """
    if _is_kinds(shape):
        return []
    if shape.single():
        return [shape.low]
    if _is_on_steps(shape):
        return []
    count = round((shape.high - shape.low) / shape.step) + 1
    if count > _MOST_OPTIONS:
        return []
    return [shape.low + number * shape.step for number in range(count)]


def _loses_steps(shape: Any) -> bool:
    categorical = isinstance(shape, CategoricalDistribution)
    return not (categorical or _is_kinds(shape) or _is_on_steps(shape) or _grid(shape))


def _is_on_steps(shape: Any) -> bool:
    """Whether it has no steps, or such as hyperopt's, which are multiples."""
    steps = shape.low / shape.step if shape.step else 0.0
    return math.isclose(steps, round(steps), rel_tol=0, abs_tol=1e-8)


def _is_kinds(shape: Any) -> bool:
    """Whether it is so few whole numbers that hyperopt may weigh each by itself."""
    if not isinstance(shape, IntDistribution):
        return False
    each = not shape.log and shape.step == 1
    return shape.single() or (each and shape.high - shape.low < _MOST_KINDS)
