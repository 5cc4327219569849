"""Conversion of searches to Optuna studies; an attribute of each trial holds its whole document.

`from_optuna` restores the document, so that a round trip keeps every field.
"""

import base64
import itertools
import json
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from hyperopt.pyll import Apply, as_apply, dfs

from colab_drive_tuner.checkpoint.codec.codec import encode
from colab_drive_tuner.checkpoint.document_schema import TrialDocument
from colab_drive_tuner.errors import UsageError, optional_import
from colab_drive_tuner.search.results.optuna_studies import translate_replay_errors
from colab_drive_tuner.search.results.read_search import read_history
from colab_drive_tuner.search.results.search_data import curves_of, is_number
from colab_drive_tuner.search.spec.space_values import evaluate_space, plain, point_of
from colab_drive_tuner.search.trial_documents import (
    NEW,
    RUNNING,
    countable_loss,
    curve_of,
    is_pruned,
    plain_document,
    reported_by,
    seconds_of,
)
from colab_drive_tuner.store.protocol import Store
from colab_drive_tuner.text import shortened

with optional_import("Optuna is not installed: pip install 'colab-drive-tuner[optuna]'."):
    import optuna
    from optuna.distributions import (
        BaseDistribution,
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )
    from optuna.storages.journal import BaseJournalBackend
    from optuna.trial import FrozenTrial, TrialState, create_trial

DOCUMENT = "colab_drive_tuner:document"
"""Attribute with a trial's encoded document."""
_MAX_NAME = 30
"""Maximum length of an option's name."""


def to_study(name: str, documents: Sequence[TrialDocument], space: Any) -> optuna.Study:
    """Return trials as a study in memory; without a space, distributions cover observed values."""
    declared = dict(_declared(space)) if space is not None else {}
    points = [point_of(document) for document in documents]
    labels = dict.fromkeys(itertools.chain(declared, *points))
    distributions = {
        label: _distribution(declared.get(label), [p[label] for p in points if label in p])
        for label in labels
    }
    verbosity = optuna.logging.get_verbosity()
    # Each plot creates a study, which would be logged.
    optuna.logging.set_verbosity(max(verbosity, optuna.logging.WARNING))
    try:
        study = optuna.create_study(study_name=name)
    finally:
        optuna.logging.set_verbosity(verbosity)
    for document, point in zip(documents, points, strict=True):
        study.add_trial(_frozen_trial(document, point, distributions))
    return study


def storage_in_memory(store: Store, name: str) -> optuna.storages.BaseStorage:
    """Return a copy of a stored search or of its studies, to which a dashboard may write."""
    history = read_history(store, name)
    if not history.study.lines:
        documents = [entry.decoded() for entry in history.trials.values()]
        return to_study(name, documents, None)._storage
    with warnings.catch_warnings(), translate_replay_errors(store, name):
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        storage = optuna.storages.JournalStorage(LogInMemory(history.study.lines))
        if storage.get_all_studies():
            return storage
    raise UsageError(f"{name!r} has no study yet: create one with optuna.create_study.")


class LogInMemory(BaseJournalBackend):
    """Backend of a journal storage that keeps its log in memory."""

    def __init__(self, lines: Sequence[bytes]) -> None:
        self._logs = [json.loads(line) for line in lines]

    def read_logs(self, log_number_from: int) -> list[dict[str, Any]]:
        """Return the logs from this line on."""
        return self._logs[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Add logs, which nothing keeps."""
        self._logs += logs


def _frozen_trial(
    document: TrialDocument,
    point: Mapping[str, Any],
    distributions: Mapping[str, BaseDistribution],
) -> FrozenTrial:
    loss, state = countable_loss(document), _state(document)
    used = {label: distributions[label] for label in point}
    began = _to_local_time(document.get("book_time"))
    ended = _to_local_time(document.get("refresh_time"))
    trial = create_trial(
        state=state,
        value=loss,
        params={label: _optuna_value(used[label], value) for label, value in point.items()},
        distributions=used,
        user_attrs={DOCUMENT: base64.b64encode(encode(plain_document(document))).decode()},
        intermediate_values=_intermediate_values(document),
    )
    trial.datetime_start = None if state == TrialState.WAITING else began or trial.datetime_start
    if state.is_finished():
        trial.datetime_complete = ended or trial.datetime_start
        trial.datetime_start = trial.datetime_start or trial.datetime_complete
    return trial


def _state(document: TrialDocument) -> TrialState:
    if document["state"] in (NEW, RUNNING):
        return TrialState.WAITING if document["state"] == NEW else TrialState.RUNNING
    if countable_loss(document) is None:
        return TrialState.FAIL
    return TrialState.PRUNED if is_pruned(document) else TrialState.COMPLETE


def _declared(space: Any) -> Iterator[tuple[str, tuple[str, dict[str, Any], Sequence[Any] | None]]]:
    """Yield each parameter's label with its kind, its arguments, and the options of a choice.

    An argument is None if it is an expression.
    The kind of an integer, which is `scope.int` of integral steps, begins with "int ".
    """
    nodes = dfs(as_apply(space))
    options = {id(node.pos_args[0]): node.pos_args[1:] for node in nodes if node.name == "switch"}
    floats = {id(node): node.pos_args[0] for node in nodes if node.name == "float"}
    ints = [node.pos_args[0] for node in nodes if node.name == "int"]
    int_ids = {id(floats.get(id(node), node)) for node in ints}
    for node in nodes:
        if node.name == "hyperopt_param":
            kind = node.pos_args[1]
            given = {name: arg for name, arg in kind.arg.items() if isinstance(arg, Apply)}
            arguments = {name: getattr(arg, "obj", None) for name, arg in given.items()}
            integral = kind.name.startswith("q") and (arguments["q"] or 0.5) % 1 == 0
            name = f"int {kind.name}" if integral and id(node) in int_ids else kind.name
            yield str(node.arg["label"].obj), (name, arguments, options.get(id(node)))


def _distribution(
    declared: tuple[str, dict[str, Any], Sequence[Any] | None] | None, observed: Sequence[Any]
) -> BaseDistribution:
    """Return a distribution that covers the declared range and all observed values."""
    seen = [float(value) for value in observed if is_number(plain(value))]
    if declared is None:
        integral = bool(seen) and all(value.is_integer() for value in seen)
        low, high = min(seen, default=0.0), max(seen, default=1.0)
        return IntDistribution(int(low), int(high)) if integral else FloatDistribution(low, high)
    kind, arguments, options = declared
    if options is not None:
        return CategoricalDistribution(_option_names(options))
    if kind == "randint":
        bounds = arguments["low"], arguments.get("high")
        start, stop = bounds if "high" in arguments else (0, bounds[0])
        covered = [start, None if stop is None else stop - 1, *seen]
        known = [int(value) for value in covered if value is not None] or [0]
        return IntDistribution(min(known), max(known))
    low, high = _bounds(kind, arguments)
    low, high = min([low, *seen]), max([high, *seen])
    if kind.startswith("int "):
        low, high = round(low), round(high)
        return IntDistribution(low, high, log="log" in kind and low > 0)
    return FloatDistribution(low, high, log="log" in kind and low > 0)


def _bounds(kind: str, arguments: Mapping[str, Any]) -> tuple[float, float]:
    """Return the declared range; for a normal distribution, which has none, its mean twice."""
    if "normal" in kind:
        mean = float(arguments["mu"] or 0.0)
        mean = math.exp(mean) if "log" in kind else mean
        return mean, mean
    low, high = float(arguments["low"] or 0.0), float(arguments["high"] or 0.0)
    return (math.exp(low), math.exp(high)) if "log" in kind else (low, high)


def _option_names(options: Sequence[Any]) -> list[Any]:
    """Return a distinct name for each option: its value if Optuna accepts it, or a short text."""
    names: list[Any] = []
    for index, option in enumerate(options):
        try:
            value = plain(evaluate_space(option, {}))
        except Exception:  # noqa: BLE001 - it has parameters, or a function of the user's raises
            value = f"{index}: {option.name}"
        name: Any = value
        if not (value is None or isinstance(value, bool | float) or is_number(value)):
            short = isinstance(value, str) and len(value) <= _MAX_NAME
            name = value if short else shortened(value, _MAX_NAME)
        names.append(f"{index}: {name}" if name in names else name)
    return names


def _optuna_value(distribution: BaseDistribution, value: Any) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[int(value)]
    return int(value) if isinstance(distribution, IntDistribution) else float(value)


def _intermediate_values(document: TrialDocument) -> dict[int, float]:
    """Return the values reported for pruning, to be minimized; else those of one learning curve."""
    reported = reported_by(document)
    if curve := curve_of(document, str(reported.get("metric"))):
        pruner = reported.get("pruner")
        maximized = isinstance(pruner, dict) and pruner.get("mode") == "max"
        return {step: -value if maximized else value for step, value in curve}
    curves = curves_of(document)
    return dict(enumerate(curves.get("val_loss") or next(iter(curves.values()), []), 1))


def _to_local_time(time: Any) -> datetime | None:
    """Convert hyperopt's naive UTC time to Optuna's naive local time."""
    seconds = seconds_of(time)
    return None if seconds is None else datetime.fromtimestamp(seconds)
