"""Data of a search's trials, parameters and sessions, for charts, reports and tables."""

import contextlib
import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from colab_drive_tuner.checkpoint.document_schema import TrialDocument
from colab_drive_tuner.checkpoint.trials_and_sessions import RecordedSession
from colab_drive_tuner.search.results.table import Table, free_name, value_cell
from colab_drive_tuner.search.spec.space_values import plain, point_of
from colab_drive_tuner.search.trial_documents import (
    TrialState,
    countable_loss,
    curve_of,
    float_of,
    is_given_up,
    is_pruned,
    recorded_history,
    reported_by,
    run_time,
    seconds_of,
)
from colab_drive_tuner.text import shortened, text_of, visible, without_middle

_MIN_TRIALS = 10
"""With fewer trials, an order of parameters is meaningless."""


@dataclass(frozen=True)
class TrialData:
    """Data of one trial, as numbers and texts."""

    tid: Any
    state: TrialState
    loss: float | None
    """None if missing or NaN; it can be infinite."""
    where: str
    """The runtime or worker that ran the trial last."""
    began: float | None = None
    ended: float | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    returned: Mapping[str, Any] = field(default_factory=dict)
    """Numbers, texts and times that the objective returned in addition to the loss."""
    curves: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """Values reported per epoch, by metric."""
    error: str = ""
    pruned: bool = False
    """Whether a pruner ended the trial early."""
    infeasible: bool = False
    """Whether it violates a constraint of its study, so that its loss cannot be the best one."""
    given_up: bool = False
    """Whether too many workers or runtimes died in the trial."""
    values: tuple[float, ...] = ()
    """Values of several objectives, the first of which is the loss; empty for a single one."""

    @property
    def finite_loss(self) -> float | None:
        """The loss, or None if it is not finite and so cannot be drawn."""
        return self.loss if self.loss is not None and math.isfinite(self.loss) else None

    @property
    def ending(self) -> str:
        """The state, or "pruned" or "infeasible"."""
        return "pruned" if self.pruned else "infeasible" if self.infeasible else self.state

    @property
    def seconds(self) -> float | None:
        """Run time; None if unknown, if a clock was set back, or if the trial has not ended."""
        return run_time(self.began, self.ended) if self.state.ended else None

    @property
    def failed(self) -> bool:
        """Whether the trial ended without a loss and was not pruned."""
        return self.state.ended and self.loss is None and not self.pruned

    @property
    def loss_text(self) -> str:
        """The loss, or the reason why there is none."""
        return self.error_text or self.ending if self.loss is None else f"{self.loss:.6g}"

    @property
    def error_text(self) -> str:
        """The error at a length for display; tracebacks and TensorFlow's errors have many lines."""
        return without_middle(self.error, 160)

    @property
    def outcome(self) -> str:
        """The loss and whether it counts, or the reason why there is none."""
        counts = self.loss is None or self.ending == self.state
        return self.loss_text if counts else f"{self.loss_text}, {self.ending}"

    @property
    def seconds_text(self) -> str:
        """The run time; "" if unknown."""
        return "" if self.seconds is None else f"{self.seconds:.4g}"

    def value_text(self, name: str, width: int = 40) -> str:
        """Return a parameter's value; "" if the trial does not have it."""
        value = self.parameters.get(name, "")
        return f"{value:.6g}" if isinstance(value, float) else shortened(value, width)


@dataclass(frozen=True)
class SearchData:
    """Data of a search."""

    name: str
    trials: tuple[TrialData, ...]
    """Trials in the order in which they were suggested."""
    parameters: tuple[str, ...]
    """Names of the parameters, in the order of the space."""
    sessions: tuple[RecordedSession, ...] = ()
    seen: float = -math.inf
    """Time of the last sign of life of its runtime, if known."""
    studies: int = 1
    """Number of Optuna studies whose trials these are."""

    @property
    def last(self) -> float:
        """The last known time: trials that are still running are drawn up to it."""
        return max([self.seen, *(session.last for session in self.sessions)])

    @property
    def with_loss(self) -> list[TrialData]:
        """Trials that have a loss."""
        return [trial for trial in self.trials if trial.loss is not None]

    @property
    def with_finite_loss(self) -> list[TrialData]:
        """Trials whose loss can be drawn."""
        return [trial for trial in self.trials if trial.finite_loss is not None]

    @property
    def failed(self) -> list[TrialData]:
        """Trials that failed."""
        return [trial for trial in self.trials if trial.failed]

    @property
    def objectives(self) -> int:
        """Number of objectives; the first one is the loss."""
        return max([1, *(len(trial.values) for trial in self.trials)])

    @property
    def remarks(self) -> dict[str, str]:
        """Remarks on what the losses mean, by subject."""
        several = {
            "studies": (self.studies, "their losses are compared as if they were of one"),
            "objectives": (self.objectives, "the first one is shown as the loss"),
        }
        return {name: f"{count}; {text}" for name, (count, text) in several.items() if count > 1}

    def table(self, trials: Sequence[TrialData]) -> tuple[list[str], list[list[Any]]]:
        """Return column names and rows for some of the trials, with all digits."""
        values = range(self.objectives if self.objectives > 1 else 0)
        names = ["trial", "state", "loss", "seconds", *(f"value {n + 1}" for n in values)]
        returned = dict.fromkeys(name for one in trials for name in one.returned)
        rows = [
            [
                *(one.tid, one.ending, one.loss, one.seconds),
                *(one.values[number] if number < len(one.values) else None for number in values),
                *(value_cell(one.parameters, name) for name in self.parameters),
                *(value_cell(one.returned, name) for name in returned),
                one.error,
            ]
            for one in trials
        ]
        names += map(column_name, self.parameters)
        for name in returned:
            names.append(free_name(name, "result", {*names, "error"}))
        return [*names, "error"], rows

    def best(self, count: int) -> list[TrialData]:
        """Return the feasible trials with the lowest losses, the best first."""
        feasible = (trial for trial in self.with_loss if not trial.infeasible)
        return sorted(feasible, key=lambda trial: trial.loss or 0.0)[:count]

    def importance(self) -> dict[str, float]:
        """Return the share of the losses' variance that each parameter explains, largest first.

        Losses count by their rank. Trials are grouped by the parameter's value (numbers in groups
        of equal size), and the importance is the variance between groups beyond what chance
        explains. Without enough trials that have a loss, the result is empty.
        """
        trials = self.with_loss
        if len(trials) < _MIN_TRIALS:
            return {}
        losses = sorted(trial.loss for trial in trials if trial.loss is not None)
        # Equal losses share a rank, or the order of the trials would seem to explain them.
        ranks = {loss: (bisect_left(losses, loss) + bisect_right(losses, loss)) / 2
                 for loss in losses}  # fmt: skip
        found = {}
        for name in self.parameters:
            pairs = [
                (trial.parameters[name], ranks[trial.loss])
                for trial in trials
                if trial.loss is not None and name in trial.parameters
            ]
            found[name] = _explained_share(pairs) * len(pairs) / len(trials)
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    def parameters_for(self, columns: int) -> tuple[str, ...]:
        """Return all parameters, the most important ones first if there are more than columns."""
        shares = self.importance() if len(self.parameters) > columns else {}
        return tuple(shares) or self.parameters


def column_name(parameter: str) -> str:
    """Return the name of a parameter's column in a table, in which facts may have its label."""
    return free_name(parameter, "params", ("trial", "state", "loss", "seconds", "error"))


def used_parameters(names: Iterable[str], trials: Sequence[TrialData]) -> list[str]:
    """Return the parameters that at least one of the trials has."""
    return [name for name in names if any(name in trial.parameters for trial in trials)]


def search_data(
    name: str,
    documents: Sequence[TrialDocument],
    space: Any = None,
    sessions: Sequence[RecordedSession] = (),
) -> SearchData:
    """Return the data of a search; without a space, by label, with choices as their indices."""
    table = Table(documents, space)
    points = [
        {label: plain(value) for label, value in point_of(document).items()}
        if space is None
        else {name: row[name] for name in table.parameters if name in row}
        for document, row in zip(documents, table.rows, strict=True)
    ]
    names = table.parameters if space is not None else tuple(dict.fromkeys(chain(*points)))
    trials = tuple(
        TrialData(
            tid=document["tid"],
            state=TrialState(row["state"]),
            loss=(loss := countable_loss(document)),
            where="" if row["runtime"] is None else text_of(row["runtime"]),
            began=seconds_of(document.get("book_time")),
            ended=seconds_of(document.get("refresh_time")),
            parameters=point,
            returned={name: row[name] for name in table.returned if name in row},
            curves=curves_of(document),
            error=str(row["error"] or "") or _why_no_loss(row, document, loss),
            pruned=is_pruned(document),
            given_up=is_given_up(document),
        )
        for document, row, point in zip(documents, table.rows, points, strict=True)
    )
    return SearchData(name, trials, names, tuple(sessions))


def _why_no_loss(row: Mapping[str, Any], document: TrialDocument, loss: float | None) -> str:
    """Return why a trial that ended has no loss; "" if it has one, was pruned or has not ended."""
    if row["state"] != TrialState.DONE or loss is not None or is_pruned(document):
        return ""
    if row["status"] != "ok":
        return visible(row["status"])
    return f"loss {row['loss']}" if isinstance(row["loss"], float) else "the loss is not a number"


def history_of(document: TrialDocument) -> dict[str, list[float]]:
    """Return the curves of a trial by metric: reported values, and its history or its model's."""
    curves: dict[str, list[float]] = {}
    metric = reported_by(document).get("metric")
    if isinstance(metric, str) and (curve := curve_of(document, metric)):
        curves[metric] = [value for _, value in curve]
    return curves | recorded_history(document)


def curves_of(document: TrialDocument) -> dict[str, list[float]]:
    """Return the curves of `history_of` that are lists of numbers; NaN is possible."""
    curves = {}
    for metric, values in history_of(document).items():
        kinds = set(map(type, values)) if isinstance(values, list | tuple) else {str}
        if not any(issubclass(kind, bool | str) for kind in kinds):
            with contextlib.suppress(TypeError, ValueError, OverflowError):
                curves[str(metric)] = list(map(float, values))
    return curves


def is_number(value: Any) -> bool:
    """Return whether a parameter's value can be placed on an axis."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    number = float_of(value)  # None for an integer too large for a float
    return number is not None and math.isfinite(number)


def _explained_share(pairs: Sequence[tuple[Any, float]]) -> float:
    """Return the share of the ranks' variance that groups of equal values explain beyond chance."""
    groups = _grouped_ranks(pairs)
    freedom = len(pairs) - len(groups)
    whole = _squares([rank for _, rank in pairs])
    if len(groups) < 2 or freedom < 1 or not whole:
        return 0.0
    within = sum(map(_squares, groups))
    return max(0.0, 1.0 - (within / freedom) / (whole / (len(pairs) - 1)))


def _grouped_ranks(pairs: Sequence[tuple[Any, float]]) -> list[list[float]]:
    """Group ranks by equal value; many different numbers by up to ten ranges of equal size."""
    groups: dict[object, list[float]] = {}
    if all(is_number(value) for value, _ in pairs) and len({value for value, _ in pairs}) > 10:
        count = max(2, min(10, round(math.sqrt(len(pairs)) / 1.5)))
        for index, (_, rank) in enumerate(sorted(pairs, key=lambda pair: pair[0])):
            groups.setdefault(index * count // len(pairs), []).append(rank)
    else:
        for value, rank in pairs:
            groups.setdefault((type(value), text_of(value)), []).append(rank)
    return list(groups.values())


def _squares(ranks: Sequence[float]) -> float:
    """Return the sum of the squared distances from the mean."""
    mean = sum(ranks) / max(len(ranks), 1)
    return sum((rank - mean) ** 2 for rank in ranks)
