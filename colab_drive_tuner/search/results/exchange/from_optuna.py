"""`from_optuna`: conversion of Optuna studies to searches that hyperopt continues."""

import base64
import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from colab_drive_tuner.checkpoint.codec.codec import CodecError, decode
from colab_drive_tuner.checkpoint.document_schema import TrialDocument, check_document
from colab_drive_tuner.errors import ConversionWarning, UsageError
from colab_drive_tuner.search.results.exchange.to_optuna import DOCUMENT
from colab_drive_tuner.search.results.optuna_studies import violated_constraints
from colab_drive_tuner.search.spec.space_values import plain
from colab_drive_tuner.search.trial_documents import (
    ERROR,
    FINISHED,
    NEW,
    imported_document,
    name_all_parameters,
)
from colab_drive_tuner.text import text_of, visible
from colab_drive_tuner.warn_user import warn_user

# After `to_optuna`, which raises `MissingExtraError` if Optuna is missing.
# isort: split
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState, create_trial

_MAX_RANDINT, _MAX_OPTIONS = 100, 1000
"""Larger integer ranges do not become a `randint`; larger grids do not become a choice."""


@dataclass(frozen=True)
class _Parameter:
    """A parameter of a study as one of a hyperopt space."""

    distribution: BaseDistribution
    expression: Any
    convert: Callable[[Any], float | int]
    """Returns a value in hyperopt's representation: a choice as its index."""
    exact: bool = True
    """Whether hyperopt suggests no values between the distribution's steps."""


def from_optuna(study: Any, *, name: str, store: Any = None) -> dict[str, Any]:
    """Create a search from an Optuna study, so that hyperopt continues with its trials.

    A maximized value becomes a negative loss. Categorical values become the index of a choice, and
    so do values of a grid that hyperopt's steps cannot represent, or of a range with a single
    float. The loss of a pruned trial is its last reported value; without one, its status is "fail",
    like that of a failed trial and of one that violates a constraint. Waiting and running trials
    run when the search is resumed, unless they lack values for some parameters.

    Args:
        study: The study, with one objective.
        name: The new search's name.
        store: Store of the search, as in `resume_search`; None: the one opened by `setup()`.

    Returns:
        A hyperopt space with the study's parameters, for `resume_search(..., space=space)`. Each
        trial gets a value for each of them; a warning names those that some trials lack.

    Raises:
        UsageError: `study` is not a study or cannot be converted, or a search of that name exists.
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
    trials = study.trials  # read once: a running study grows
    parameters = {label: _parameter(label, one) for label, one in _distributions_of(trials).items()}
    space = {label: one.expression for label, one in parameters.items()}
    documents = _drop_incomplete(_documents_of(study, trials, parameters), frozenset(space))
    if not space:
        raise UsageError(
            f"No trial of study {study.study_name!r} has parameters, so a search has nothing to "
            "choose: run a trial first."
        )
    name_all_parameters(documents, space)
    if lost := [label for label, one in parameters.items() if not one.exact]:
        warn_user(
            f"hyperopt does not support the steps of {', '.join(map(visible, lost))}: it also "
            "suggests values between them.",
            ConversionWarning,
        )
    complete = [trial.params for trial in trials if trial.state == TrialState.COMPLETE]
    if partial := [label for label in space if any(p and label not in p for p in complete)]:
        warn_user(
            f"Some complete trials lack {', '.join(map(visible, partial))}, but the space returned "
            "here gives each trial a value. If the objective suggests them under a condition, pass "
            "a space of your own to resume_search: an hp.choice among dicts, with the study's "
            "names, and the options in their order.",
            ConversionWarning,
        )
    if study.user_attrs:
        names = ", ".join(map(visible, study.user_attrs))
        warn_user(
            f"A search cannot hold the attributes of a study: {names} are not converted.",
            ConversionWarning,
        )
    insert_into_new(open_store(store), name, documents, {})
    return space


def _drop_incomplete(documents: list[TrialDocument], labels: frozenset[str]) -> list[TrialDocument]:
    """Drop the documents of trials that cannot run because they lack values, with a warning."""
    partial = [
        document["tid"]
        for document in documents
        if document["state"] == NEW and not labels <= document["misc"]["vals"].keys()
    ]
    if partial:
        warn_user(
            f"Waiting trials {', '.join(map(str, partial))} have values for some parameters only, "
            "so hyperopt cannot run them: they are left out. Pass them as points_to_evaluate.",
            ConversionWarning,
        )
    return [document for document in documents if document["tid"] not in partial]


def _documents_of(
    study: optuna.Study, trials: Sequence[FrozenTrial], parameters: Mapping[str, _Parameter]
) -> list[TrialDocument]:
    """Return a study's trials as hyperopt documents; raise `UsageError` if that is impossible."""
    if len(study.directions) != 1:
        raise UsageError(
            f"Study {study.study_name!r} has {len(study.directions)} objectives, and a search has "
            "one loss: keep the study in cdt.optuna_storage instead."
        )
    maximized = study.direction == optuna.study.StudyDirection.MAXIMIZE
    documents = [_document(trial, parameters, maximized=maximized) for trial in trials]
    # Trials of `to_optuna` keep their numbers, which others of the study can have, too.
    numbers = {document["tid"] for document in documents}
    unused, taken = (n for n in itertools.count() if n not in numbers), set[Any]()
    for document in documents:
        if document["tid"] in taken:
            document["tid"] = document["misc"]["tid"] = next(unused)
        taken.add(document["tid"])
    return documents


def _document(
    trial: FrozenTrial, parameters: Mapping[str, _Parameter], *, maximized: bool
) -> TrialDocument:
    if DOCUMENT in trial.user_attrs:
        try:
            document = decode(base64.b64decode(trial.user_attrs[DOCUMENT], validate=True))
            return check_document(document, document["tid"])
        except (CodecError, KeyError, TypeError, ValueError) as error:
            raise UsageError(
                f"Trial {trial.number} has an attribute {DOCUMENT!r} that is not a trial document "
                f"({error}): remove it from the study."
            ) from error
    tid, ended = trial.number, trial.state.is_finished()
    params = trial.params if ended else _enqueued_params(trial, parameters) | trial.params
    values = {label: parameters[label].convert(value) for label, value in params.items()}
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


def _enqueued_params(trial: FrozenTrial, parameters: Mapping[str, _Parameter]) -> dict[str, Any]:
    """Return the values of `enqueue_trial` that lie in the study's distributions."""
    found, enqueued = dict[str, Any](), trial.system_attrs.get("fixed_params")
    for label, value in enqueued.items() if isinstance(enqueued, dict) else ():
        with suppress(KeyError, TypeError, ValueError):  # unknown, or out of range
            one = {label: parameters[label].distribution}
            checked = create_trial(value=0.0, params={label: value}, distributions=one)
            found |= checked.params
    return found


def _result(trial: FrozenTrial, *, maximized: bool) -> dict[str, Any]:
    try:
        attributes = json.dumps(trial.user_attrs, default=_as_json)
    except (RecursionError, TypeError, ValueError):  # a key that is no text, or a circle
        attributes = json.dumps({key: text_of(val, repr) for key, val in trial.user_attrs.items()})
    origin = {"optuna": {"state": trial.state.name, "user_attrs": attributes}}
    sign = -1 if maximized else 1
    steps = [sign * trial.intermediate_values[step] for step in sorted(trial.intermediate_values)]
    more = ({"history": {"value": steps}} if steps else {}) | origin
    loss, pruned = math.nan, dict[str, Any]()
    if trial.state == TrialState.COMPLETE:
        loss = sign * float(trial.values[0])
    elif trial.state == TrialState.PRUNED and steps:
        loss, pruned = steps[-1], {"pruned": True, "pruned_at": max(trial.intermediate_values)}
    if math.isnan(loss):
        reason = "pruned" if trial.state == TrialState.PRUNED else "failed"
        return {"status": "fail", "reason": reason} | more
    if violated := violated_constraints(trial.system_attrs):
        listed = ", ".join(f"{name} = {value:.6g}" for name, value in violated.items())
        return {"status": "fail", "reason": f"infeasible, {listed}; loss {loss!r}"} | more
    return {"status": "ok", "loss": loss} | pruned | more


def _as_json(value: Any) -> Any:
    """Convert an attribute that JSON does not support: numpy numbers to numbers, others to text."""
    number = plain(value)
    return repr(value) if number is value else number


def _utc(time: datetime | None) -> datetime | None:
    return None if time is None else time.astimezone(UTC).replace(tzinfo=None)


def _distributions_of(trials: Sequence[FrozenTrial]) -> dict[str, BaseDistribution]:
    """Return each parameter's distribution; if it changed, one that covers all its values."""
    distributions: dict[str, BaseDistribution] = {}
    for trial in trials:
        for label, distribution in trial.distributions.items():
            known = distributions.get(label, distribution)
            distributions[label] = _union(label, known, distribution)
    return distributions


def _union(label: str, one: Any, other: Any) -> Any:
    """Return a distribution that covers the values of both."""
    if one == other:
        return other
    choices = [isinstance(distribution, CategoricalDistribution) for distribution in (one, other)]
    if all(choices):
        more = [choice for choice in other.choices if choice not in one.choices]
        return CategoricalDistribution([*one.choices, *more])
    if any(choices):
        raise UsageError(
            f"Parameter {label!r} is a choice in some trials and a range in others, which a space "
            "cannot express: make a study of the trials that agree."
        )
    low, high, log = min(one.low, other.low), max(one.high, other.high), one.log and other.log
    if isinstance(one, IntDistribution) and isinstance(other, IntDistribution):
        step = 1 if log else math.gcd(one.step, other.step, one.low - other.low)
        return IntDistribution(low, high, log=log, step=step)
    same = one.step == other.step and one.low == other.low
    return FloatDistribution(low, high, log=log, step=other.step if same else None)


def _parameter(label: str, distribution: Any) -> _Parameter:
    """Convert a parameter to a choice, a `randint`, or a range.

    hyperopt's steps are multiples, so they miss a grid with another offset; and its ranges of
    floats cannot have a single value. A `randint` weighs each integer separately.
    """
    from hyperopt import hp
    from hyperopt.pyll import scope

    if isinstance(distribution, CategoricalDistribution):
        made = hp.choice(label, list(distribution.choices))
        return _Parameter(
            distribution, made, lambda value: int(distribution.to_internal_repr(value))
        )
    low, high, step, log = (getattr(distribution, name) for name in ("low", "high", "step", "log"))
    integral = isinstance(distribution, IntDistribution)
    each = not log and step == 1 and high - low < _MAX_RANDINT
    if integral and (each or distribution.single()):
        return _Parameter(distribution, hp.randint(label, low, high + 1), int)
    steps = low / step if step else 0.0
    exact = math.isclose(steps, round(steps), rel_tol=0, abs_tol=1e-8)
    options = [low] if distribution.single() else []
    if not options and not exact:
        options = _grid(distribution)
    if options:
        indices = range(len(options))
        return _Parameter(
            distribution,
            hp.choice(label, options),
            lambda value: min(indices, key=lambda index: abs(options[index] - value)),
        )
    if log:
        low, high = math.log(low), math.log(high)
        made = hp.qloguniform(label, low, high, 1) if integral else hp.loguniform(label, low, high)
    else:
        step = step if exact else 1 if integral else None
        made = hp.quniform(label, low, high, step) if step else hp.uniform(label, low, high)
    return _Parameter(distribution, scope.int(made) if integral else made, float, exact)


def _grid(distribution: Any) -> list[Any]:
    """Return the values of a distribution with steps; empty if they are too many for a choice."""
    low, high, step = distribution.low, distribution.high, distribution.step
    count = round((high - low) / step) + 1
    steps = range(count if count <= _MAX_OPTIONS else 0)
    return [min(low + number * step, high) for number in steps]  # as Optuna does
