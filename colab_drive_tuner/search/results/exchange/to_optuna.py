"""Searches as Optuna studies; each trial keeps its whole document, as text, in an attribute.

`from_optuna` gives it back, so that there and back a trial is equal field by field.
"""

import base64
import itertools
import json
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from hyperopt.pyll import as_apply, dfs

from colab_drive_tuner.checkpoint.codec.codec import encode
from colab_drive_tuner.checkpoint.document_validation import TrialDocument
from colab_drive_tuner.errors import MissingExtraError, UsageError
from colab_drive_tuner.search.html_helpers import shortened
from colab_drive_tuner.search.results.importance import is_number
from colab_drive_tuner.search.results.read_search import read_history
from colab_drive_tuner.search.results.search_data import curves_of
from colab_drive_tuner.search.results.study_trials import translate_replay_errors
from colab_drive_tuner.search.spec.space_values import plain, point_of
from colab_drive_tuner.search.trial_documents import (
    FINISHED,
    NEW,
    RUNNING,
    curve_of,
    float_of,
    is_pruned,
    plain_document,
    reported_by,
)
from colab_drive_tuner.store.protocol import Store

try:
    import optuna
    from optuna.distributions import (
        BaseDistribution,
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )
    from optuna.storages.journal import BaseJournalBackend
    from optuna.trial import FrozenTrial, TrialState, create_trial
except ImportError as missing:
    raise MissingExtraError(
        "Optuna is not installed: pip install 'colab-drive-tuner[optuna]'."
    ) from missing

DOCUMENT = "colab_drive_tuner:document"
"""The attribute that holds a trial's document, encoded."""
_SHORT = 30
"""How long the name of an option may be."""
LOSS = "colab_drive_tuner:loss"
"""The attribute that holds a loss that Optuna does not take: NaN."""


def to_study(name: str, documents: Sequence[TrialDocument], space: Any) -> optuna.Study:
    """The trials as a study in memory.

    Args:
        name: The study's name.
        documents: The trials' documents.
        space: The space; None: the distributions are what was observed.
    """
    declared = dict(_declared(space)) if space is not None else {}
    points = [point_of(document) for document in documents]
    labels = dict.fromkeys(itertools.chain(declared, *points))
    shapes = {
        label: _distribution(declared.get(label), [p[label] for p in points if label in p])
        for label in labels
    }
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(max(verbosity, optuna.logging.WARNING))  # each picture makes one
    try:
        study = optuna.create_study(study_name=name)
    finally:
        optuna.logging.set_verbosity(verbosity)
    for document, point in zip(documents, points, strict=True):
        study.add_trial(_frozen(document, point, shapes))
    return study


def study_in_store(store: Store, name: str) -> optuna.Study:
    """A search or a study as a study in memory, as its records have it."""
    history = read_history(store, name)
    if not history.study.lines:
        return to_study(name, [entry.decoded() for entry in history.trials.values()], None)
    memory = optuna.storages.InMemoryStorage()
    with warnings.catch_warnings(), translate_replay_errors(store, name):
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        kept = optuna.storages.JournalStorage(_Lines(history.study.lines))
        names = [study.study_name for study in kept.get_all_studies()]
        for study_name in names:
            optuna.copy_study(
                from_study_name=study_name,
                from_storage=kept,
                to_storage=memory,
                to_study_name=study_name,
            )
    if not names:
        raise UsageError(f"{name!r} holds no study yet: create one by optuna.create_study.")
    return optuna.load_study(study_name=names[-1], storage=memory)


class _Lines(BaseJournalBackend):
    """The lines of a study's log, only to be read."""

    def __init__(self, lines: Sequence[bytes]) -> None:
        self._logs = [json.loads(line) for line in lines]

    def read_logs(self, log_number_from: int) -> list[dict[str, Any]]:
        """The lines from this one on."""
        return self._logs[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Refused: whoever looks at a study writes nothing."""
        del logs
        raise UsageError("A study that is only looked at takes no trials.")


def _frozen(
    document: TrialDocument, point: Mapping[str, Any], shapes: Mapping[str, BaseDistribution]
) -> FrozenTrial:
    result, state = document["result"], _state(document)
    loss = float_of(result.get("loss"))
    attributes: dict[str, Any] = {
        DOCUMENT: base64.b64encode(encode(plain_document(document))).decode()
    }
    if state in (TrialState.COMPLETE, TrialState.PRUNED) and (loss is None or math.isnan(loss)):
        state, attributes[LOSS] = TrialState.FAIL, repr(result.get("loss"))
    used = {label: shapes[label] for label in point}
    began, ended = _local(document.get("book_time")), _local(document.get("refresh_time"))
    trial = create_trial(
        state=state,
        value=loss if state in (TrialState.COMPLETE, TrialState.PRUNED) else None,
        params={label: _external(used[label], value) for label, value in point.items()},
        distributions=used,
        user_attrs=attributes,
        intermediate_values=_steps(document),
    )
    trial.datetime_start = None if state == TrialState.WAITING else began or trial.datetime_start
    if state.is_finished():
        trial.datetime_complete = ended or trial.datetime_start
        trial.datetime_start = trial.datetime_start or trial.datetime_complete
    return trial


def _state(document: TrialDocument) -> TrialState:
    if document["state"] == NEW:
        return TrialState.WAITING
    if document["state"] == RUNNING:
        return TrialState.RUNNING
    ok = document["state"] == FINISHED and document["result"].get("status") == "ok"
    if not ok:
        return TrialState.FAIL
    return TrialState.PRUNED if is_pruned(document) else TrialState.COMPLETE


def _declared(space: Any) -> Iterator[tuple[str, tuple[str, dict[str, Any], Sequence[Any] | None]]]:
    """By label: the kind of a parameter, its arguments, and the options of a choice.

    Whole numbers are made by `scope.int` of whole steps: their kind begins with "int ".
    """
    nodes = dfs(as_apply(space))
    options = {id(node.pos_args[0]): node.pos_args[1:] for node in nodes if node.name == "switch"}
    floats = {id(node): node.pos_args[0] for node in nodes if node.name == "float"}
    whole = [node.pos_args[0] for node in nodes if node.name == "int"]
    whole_ids = {id(floats.get(id(node), node)) for node in whole}
    for node in nodes:
        if node.name == "hyperopt_param":
            kind = node.pos_args[1]
            arguments = {name: getattr(arg, "obj", None) for name, arg in kind.arg.items()}
            whole_steps = kind.name.startswith("q") and (arguments["q"] or 0.5) % 1 == 0
            name = f"int {kind.name}" if whole_steps and id(node) in whole_ids else kind.name
            yield str(node.arg["label"].obj), (name, arguments, options.get(id(node)))


def _distribution(
    declared: tuple[str, dict[str, Any], Sequence[Any] | None] | None, observed: Sequence[Any]
) -> BaseDistribution:
    """The distribution that holds what was declared and all that was observed."""
    seen = [float(value) for value in observed if is_number(plain(value))]
    if declared is None:
        whole = bool(seen) and all(value.is_integer() for value in seen)
        low, high = min(seen, default=0.0), max(seen, default=1.0)
        return IntDistribution(int(low), int(high)) if whole else FloatDistribution(low, high)
    kind, arguments, options = declared
    if options is not None:
        return CategoricalDistribution(_names(options))
    if kind == "randint":
        first, beyond = arguments["low"], arguments.get("high")
        first, beyond = (0, first) if beyond is None else (first, beyond)
        return IntDistribution(
            int(min([first, *seen])), int(max([beyond - 1, *seen])) if beyond else 0
        )
    low, high = _bounds(kind, arguments)
    low, high = min([low, *seen]), max([high, *seen])
    if kind.startswith("int "):
        low, high = round(low), round(high)
        return IntDistribution(low, high, log="log" in kind and low > 0)
    return FloatDistribution(low, high, log="log" in kind and low > 0)


def _bounds(kind: str, arguments: Mapping[str, Any]) -> tuple[float, float]:
    """The declared range; of a normal distribution, which has none, nothing but its middle."""
    if "normal" in kind:
        middle = float(arguments["mu"] or 0.0)
        middle = math.exp(middle) if "log" in kind else middle
        return middle, middle
    low, high = float(arguments["low"] or 0.0), float(arguments["high"] or 0.0)
    return (math.exp(low), math.exp(high)) if "log" in kind else (low, high)


def _names(options: Sequence[Any]) -> list[Any]:
    """Each option as Optuna takes it, or else by a short name, all different by their index."""
    names: list[Any] = []
    for index, option in enumerate(options):
        value = plain(getattr(option, "obj", None)) if option.name == "literal" else option.name
        name: Any = value
        if not (value is None or isinstance(value, bool) or is_number(value)):
            whole = isinstance(value, str) and len(value) <= _SHORT
            name = value if whole else shortened(value, _SHORT)
        names.append(f"{index}: {name}" if name in names or option.name != "literal" else name)
    return names


def _external(distribution: BaseDistribution, value: Any) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[int(value)]
    return int(value) if isinstance(distribution, IntDistribution) else float(value)


def _steps(document: TrialDocument) -> dict[int, float]:
    """What a trial reported for pruning, to be minimized; or of the metric that matters most."""
    reported = reported_by(document)
    if curve := curve_of(document, str(reported.get("metric"))):
        pruner = reported.get("pruner")
        maximized = isinstance(pruner, dict) and pruner.get("mode") == "max"
        return {step: -value if maximized else value for step, value in curve}
    curves = curves_of(document)
    return dict(enumerate(curves.get("val_loss") or next(iter(curves.values()), []), 1))


def _local(time: Any) -> datetime | None:
    """Optuna's times are local ones without a zone; hyperopt's are UTC without one."""
    if not isinstance(time, datetime):
        return None
    zoned = time if time.tzinfo else time.replace(tzinfo=UTC)
    return zoned.astimezone().replace(tzinfo=None)
