"""Plain series of a search's trials, parameters and sessions, for pictures and pages."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from colab_drive_tuner.checkpoint.document_validation import TrialDocument
from colab_drive_tuner.checkpoint.history import History
from colab_drive_tuner.checkpoint.trials_and_sessions import Session
from colab_drive_tuner.search.results.optuna_log import State, read_study
from colab_drive_tuner.search.results.table import Table, free_name, value_cell
from colab_drive_tuner.search.trial_documents import (
    TrialState,
    curve_of,
    float_of,
    is_given_up,
    is_pruned,
    reported_by,
    seconds_of,
)
from colab_drive_tuner.text import text_of, visible

LEAST_FOR_IMPORTANCE = 10
"""With fewer trials an order of parameters says nothing."""


@dataclass(frozen=True)
class Trial:
    """One trial, in numbers and texts."""

    tid: Any
    state: TrialState
    loss: float | None
    """None where it has none, or one that is not a number; an infinite loss is one."""
    where: str
    """The runtime, or the worker, that ran it last."""
    began: float | None = None
    ended: float | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    returned: Mapping[str, Any] = field(default_factory=dict)
    """What the objective returned beside the loss: numbers, texts and times."""
    curves: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """What it reported epoch by epoch, by metric."""
    error: str = ""
    pruned: bool = False
    """Whether a pruner ended it early."""
    given_up: bool = False
    """Whether it killed too many of those that ran it."""
    values: tuple[float, ...] = ()
    """Its values, where it has several objectives; its loss is the first one's."""

    @property
    def drawn_loss(self) -> float | None:
        """Its loss where that has a place in a picture: a finite one."""
        return self.loss if self.loss is not None and math.isfinite(self.loss) else None

    @property
    def ending(self) -> str:
        """Its state, or that it was pruned."""
        return "pruned" if self.pruned else self.state

    @property
    def seconds(self) -> float | None:
        """How long it took; None where that is not known, or it has not ended."""
        if self.began is None or self.ended is None or not self.state.ended:
            return None
        return self.ended - self.began

    @property
    def failed(self) -> bool:
        """Whether it ended without a loss, and not by a pruner."""
        return self.state.ended and self.loss is None and not self.pruned


@dataclass(frozen=True)
class Series:
    """A search as plain series."""

    name: str
    trials: tuple[Trial, ...]
    """In the order in which they were suggested."""
    parameters: tuple[str, ...]
    """Their names, in the order of the space."""
    sessions: tuple[Session, ...] = ()
    seen: float = -math.inf
    """When its runtime gave the newest sign of life, where that is known."""

    @property
    def last(self) -> float:
        """The newest time that is known of it: what runs has run until then."""
        return max([self.seen, *(session.last for session in self.sessions)])

    @property
    def with_loss(self) -> list[Trial]:
        """The trials that have a loss."""
        return [trial for trial in self.trials if trial.loss is not None]

    @property
    def drawn(self) -> list[Trial]:
        """The trials whose loss has a place in a picture."""
        return [trial for trial in self.trials if trial.drawn_loss is not None]

    @property
    def failed(self) -> list[Trial]:
        """The trials that failed."""
        return [trial for trial in self.trials if trial.failed]

    @property
    def objectives(self) -> int:
        """How many values a trial has; of several, the first one is its loss."""
        return max([1, *(len(trial.values) for trial in self.trials)])

    def table(self, trials: Sequence[Trial]) -> tuple[list[str], list[list[Any]]]:
        """Some of its trials with every digit: the names of the columns, and the rows."""
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
        for prefix, given in (("params", self.parameters), ("result", returned)):
            for name in given:
                names.append(free_name(name, prefix, {*names, "error"}))
        return [*names, "error"], rows

    def best(self, count: int) -> list[Trial]:
        """The trials with the lowest losses, the best first."""
        return sorted(self.with_loss, key=lambda trial: trial.loss or 0.0)[:count]

    def importance(self) -> dict[str, float]:
        """The share of the losses' spread that each parameter explains by itself, largest first.

        Losses count by their rank. The trials are grouped by the parameter's value (a number in
        groups of equal size), and what the groups explain beyond chance is its importance. Empty
        where too few trials have a loss.
        """
        trials = self.with_loss
        if len(trials) < LEAST_FOR_IMPORTANCE:
            return {}
        order = sorted(range(len(trials)), key=lambda index: trials[index].loss or 0.0)
        ranks = {index: float(rank) for rank, index in enumerate(order)}
        found = {}
        for name in self.parameters:
            pairs = [
                (trial.parameters[name], ranks[index])
                for index, trial in enumerate(trials)
                if name in trial.parameters
            ]
            found[name] = _explained(pairs) * len(pairs) / len(trials)
        return dict(sorted(found.items(), key=lambda item: -item[1]))


def series_of(
    name: str,
    documents: Sequence[TrialDocument],
    space: Any = None,
    sessions: Sequence[Session] = (),
) -> Series:
    """The series of these trial documents.

    Args:
        name: The search's name.
        documents: The trials' documents.
        space: The space; None: parameters are named by their labels, and a choice is its index.
        sessions: The runtimes that held the search, by its records.
    """
    table = Table(documents, space)
    trials = tuple(
        Trial(
            tid=document["tid"],
            state=TrialState(row["state"]),
            loss=(loss := _loss(row["loss"]) if row["status"] == "ok" else None),
            where=str(row["runtime"] or ""),
            began=seconds_of(document.get("book_time")),
            ended=seconds_of(document.get("refresh_time")),
            parameters={name: row[name] for name in table.parameters if name in row},
            returned={name: row[name] for name in table.returned if name in row},
            curves=curves_of(document),
            error=str(row["error"] or "") or _why_no_loss(row, document, loss),
            pruned=is_pruned(document),
            given_up=is_given_up(document),
        )
        for document, row in zip(documents, table.rows, strict=True)
    )
    known = tuple(one for one in sessions if math.isfinite(one.began) and math.isfinite(one.last))
    return Series(name, trials, table.parameters, known)


def is_number(value: Any) -> bool:
    """Whether a parameter's value has a place on an axis."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    number = float_of(value)  # None where it is an integer beyond every float
    return number is not None and math.isfinite(number)


def _explained(pairs: Sequence[tuple[Any, float]]) -> float:
    """How much of the ranks' variance the groups of a parameter explain, less what chance would."""
    groups: dict[object, list[float]] = {}
    if all(is_number(value) for value, _ in pairs) and len({value for value, _ in pairs}) > 10:
        ordered = sorted(pairs, key=lambda pair: pair[0])
        count = max(2, min(10, round(math.sqrt(len(pairs)) / 1.5)))
        for index, (_, rank) in enumerate(ordered):
            groups.setdefault(index * count // len(ordered), []).append(rank)
    else:
        for value, rank in pairs:
            groups.setdefault((type(value), text_of(value)), []).append(rank)
    spread = len(pairs) - len(groups)
    if len(groups) < 2 or spread < 1:
        return 0.0
    mean = sum(rank for _, rank in pairs) / len(pairs)
    whole = sum((rank - mean) ** 2 for _, rank in pairs)
    within = 0.0
    for ranks in groups.values():
        middle = sum(ranks) / len(ranks)
        within += sum((rank - middle) ** 2 for rank in ranks)
    return max(0.0, 1.0 - (within / spread) / (whole / (len(pairs) - 1))) if whole else 0.0


def _loss(value: Any) -> float | None:
    loss = float_of(value)
    return None if loss is None or math.isnan(loss) else loss


def _why_no_loss(row: Mapping[str, Any], document: TrialDocument, loss: float | None) -> str:
    """What a trial that ended says in place of a loss; "" for one that has one, or still runs."""
    if row["state"] != TrialState.DONE or loss is not None:
        return ""
    if is_pruned(document):
        return "pruned"
    if row["status"] != "ok":
        return visible(row["status"])
    return f"loss {row['loss']}" if isinstance(row["loss"], float) else "the loss is no number"


def history_of(document: TrialDocument) -> dict[str, list[float]]:
    """What a trial reported, by metric: for pruning, and to its own history or its model's."""
    given = document["result"].get("history")
    found = given if isinstance(given, dict) else document["misc"].get("history")
    curves: dict[str, list[float]] = {}
    metric = reported_by(document).get("metric")
    if isinstance(metric, str) and (curve := curve_of(document, metric)):
        curves[metric] = [value for _, value in curve]
    return curves | (found or {})


def curves_of(document: TrialDocument) -> dict[str, list[float]]:
    """What a trial reported epoch by epoch, by metric; only lists of numbers, NaN among them."""
    curves = {}
    for metric, values in history_of(document).items():
        if not isinstance(values, list | tuple) or any(isinstance(v, bool | str) for v in values):
            continue
        numbers = list(map(float_of, values))
        if None not in numbers:
            curves[str(metric)] = [number for number in numbers if number is not None]
    return curves


_STATES = {
    State.RUNNING: TrialState.RUNNING,
    State.WAITING: TrialState.NEW,
    State.COMPLETE: TrialState.DONE,
    State.PRUNED: TrialState.DONE,
    State.FAIL: TrialState.ERROR,
}


def series_of_study(name: str, history: History) -> Series:
    """The series of an Optuna study; trials of several studies are told apart by their names."""
    found = read_study(history.study.lines)
    several = len({trial.study for trial in found}) > 1
    trials = tuple(
        Trial(
            tid=f"{trial.study} {trial.number}" if several else trial.number,
            state=_STATES[trial.state],
            loss=trial.loss,
            where=_where(history.timeline, trial.began),
            began=trial.began,
            ended=trial.ended,
            parameters=trial.parameters,
            curves={"value": [trial.steps[step] for step in sorted(trial.steps)]}
            if trial.steps
            else {},
            error=trial.error,
            pruned=trial.state == State.PRUNED,
            values=tuple(trial.values) if len(trial.values) > 1 else (),
        )
        for trial in found
    )
    names = tuple(dict.fromkeys(label for trial in found for label in trial.parameters))
    return Series(name, trials, names, tuple(history.timeline))


def _where(sessions: Sequence[Session], began: float | None) -> str:
    """The runtime that held the study when a trial began."""
    before = [one for one in sessions if began is not None and one.began <= began]
    return before[-1].where if before else ""
