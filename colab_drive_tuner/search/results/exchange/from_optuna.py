"""Optuna studies as searches: new ones, with which hyperopt goes on."""

import base64
import json
import math
from datetime import UTC, datetime
from typing import Any

from colab_drive_tuner.checkpoint.codec.codec import CodecError, decode
from colab_drive_tuner.checkpoint.documents import TrialDocument, check_document
from colab_drive_tuner.errors import ConversionWarning, UsageError
from colab_drive_tuner.search.documents import (
    ERROR,
    FINISHED,
    NEW,
    imported_document,
    name_all_parameters,
)
from colab_drive_tuner.search.results.exchange.to_optuna import DOCUMENT
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


def from_optuna(study: Any, *, name: str, store: Any = None) -> dict[str, Any]:
    """Make a new search from an Optuna study, so that hyperopt goes on with its trials.

    A value that is to be large becomes a negative loss. A categorical value becomes a choice by its
    index. The loss of a pruned trial is the last value that it reported; one that reported none has
    the status fail, as one that failed. Waiting and running ones are run when the search goes on,
    if their values are all there.

    Args:
        study: The study, with one objective.
        name: The new search's name.
        store: Where it will be kept, as in `resume_search`; None: what `setup()` opened.

    Returns:
        A hyperopt space with the study's parameters, for `resume_search(..., space=space)`.

    Raises:
        UsageError: The study cannot be a search, or there is a search of that name.
        MissingExtraError: Optuna is not installed.

    Example:
        >>> space = cdt.from_optuna(study, name="cnn")  # doctest: +SKIP
        >>> cdt.resume_search(objective, space=space, name="cnn", max_evals=200)  # doctest: +SKIP
    """
    from colab_drive_tuner.search.results.exchange.export import insert_into_new
    from colab_drive_tuner.store import open_store

    space = space_of(study)
    documents = _complete(documents_of(study), frozenset(space))
    name_all_parameters(documents, space)
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


def documents_of(study: optuna.Study) -> list[TrialDocument]:
    """The trials of a study as hyperopt's documents; raises `UsageError` for what it cannot say."""
    if len(study.directions) != 1:
        raise UsageError(
            f"Study {study.study_name!r} has {len(study.directions)} objectives, and a search has "
            "one loss: keep it by cdt.optuna_storage instead."
        )
    maximized = study.direction == optuna.study.StudyDirection.MAXIMIZE
    return [_document(trial, maximized=maximized) for trial in study.trials]


def _document(trial: FrozenTrial, *, maximized: bool) -> TrialDocument:
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
    values = {label: _internal(trial, label) for label in trial.params}
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
    kept = {"optuna": {"state": trial.state.name, "user_attrs": json.dumps(trial.user_attrs)}}
    steps = [trial.intermediate_values[step] for step in sorted(trial.intermediate_values)]
    curve = {"history": {"value": steps}} if steps else {}
    if trial.state == TrialState.COMPLETE:
        value = float(trial.values[0])
        return {"status": "ok", "loss": -value if maximized else value} | curve | kept
    if trial.state == TrialState.PRUNED and steps and not math.isnan(steps[-1]):
        loss = -steps[-1] if maximized else steps[-1]
        pruned = {"pruned": True, "pruned_at": max(trial.intermediate_values)}
        return {"status": "ok", "loss": loss} | pruned | curve | kept
    reason = "pruned" if trial.state == TrialState.PRUNED else "failed"
    return {"status": "fail", "reason": reason} | curve | kept


def _internal(trial: FrozenTrial, label: str) -> float | int:
    """A value as hyperopt notes it: a choice by its index."""
    shape, value = trial.distributions[label], trial.params[label]
    if isinstance(shape, CategoricalDistribution):
        return int(shape.to_internal_repr(value))
    return int(value) if isinstance(shape, IntDistribution) else float(value)


def _utc(time: datetime | None) -> datetime | None:
    return None if time is None else time.astimezone(UTC).replace(tzinfo=None)


def space_of(study: optuna.Study) -> dict[str, Any]:
    """A hyperopt space with the parameters of a study, by their names."""
    from hyperopt import hp

    shapes: dict[str, BaseDistribution] = {}
    for trial in study.trials:
        shapes |= trial.distributions
    space: dict[str, Any] = {}
    for label, shape in shapes.items():
        if isinstance(shape, CategoricalDistribution):
            space[label] = hp.choice(label, list(shape.choices))
        elif isinstance(shape, IntDistribution) and not shape.log and shape.step == 1:
            space[label] = hp.randint(label, shape.low, shape.high + 1)
        elif isinstance(shape, FloatDistribution | IntDistribution):
            space[label] = _continuous(label, shape)
        else:
            raise UsageError(f"Parameter {label!r} has a {type(shape).__name__}: unknown here.")
    return space


def _continuous(label: str, shape: FloatDistribution | IntDistribution) -> Any:
    from hyperopt import hp

    step = shape.step or (1 if isinstance(shape, IntDistribution) else None)
    if shape.log:
        low, high = math.log(shape.low), math.log(shape.high)
        return hp.qloguniform(label, low, high, step) if step else hp.loguniform(label, low, high)
    if step:
        return hp.quniform(label, shape.low, shape.high, step)
    return hp.uniform(label, shape.low, shape.high)
