"""Trials of Optuna's studies, reconstructed from a log without importing Optuna.

States and operations are those of Optuna's journal (`optuna/storages/journal/_storage.py`).
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from typing import Any

from colab_drive_tuner.checkpoint.history import History
from colab_drive_tuner.checkpoint.trials_and_sessions import RecordedSession
from colab_drive_tuner.errors import ColabDriveTunerError, SearchDamagedError
from colab_drive_tuner.search.results.search_data import SearchData, TrialData
from colab_drive_tuner.search.trial_documents import TrialState, float_of, seconds_of
from colab_drive_tuner.search.trials.search_status import RunningNow
from colab_drive_tuner.store.protocol import Store
from colab_drive_tuner.text import visible

ATTEMPTS = "colab_drive_tuner:attempts"
"""User attribute of a trial: the number of runtimes that died in it."""

_FAULTS = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""Raised for a malformed line."""
_CREATE_STUDY, _DELETE_STUDY, _CREATE_TRIAL = 0, 1, 4
"""Operations of Optuna's journal; the others that concern trials differ by their keys."""


class State(IntEnum):
    """States of Optuna's trials."""

    RUNNING = 0
    COMPLETE = 1
    PRUNED = 2
    FAIL = 3
    WAITING = 4

    @property
    def ended(self) -> bool:
        """Whether the trial has ended."""
        return self in (State.COMPLETE, State.PRUNED, State.FAIL)


_STATES = {
    State.RUNNING: TrialState.RUNNING,
    State.WAITING: TrialState.NEW,
    State.COMPLETE: TrialState.DONE,
    State.PRUNED: TrialState.DONE,
    State.FAIL: TrialState.ERROR,
}


@dataclass
class StudyTrial:
    """A trial of a study."""

    study: str
    number: int
    tid: int | str
    """The number, after the study's name if there are several studies."""
    minimized: bool
    """Whether the first objective is minimized; otherwise it is maximized."""
    state: State = State.RUNNING
    values: list[float] = field(default_factory=list)
    parameters: dict[str, Any] = field(default_factory=dict)
    steps: dict[int, float] = field(default_factory=dict)
    user_attrs: dict[str, Any] = field(default_factory=dict)
    system_attrs: dict[str, Any] = field(default_factory=dict)
    began: float | None = None
    ended: float | None = None

    def apply(self, log: dict[str, Any]) -> None:
        """Apply a line of the log that creates or changes the trial."""
        given = log.get("params", {})
        parameters = [(name, log["distributions"][name], given[name]) for name in given]
        if "param_name" in log:
            parameters = [(log["param_name"], log["distribution"], log["param_value_internal"])]
        for name, distribution, internal in parameters:
            self.parameters[str(name)] = _value(distribution, internal)
        steps = log.get("intermediate_values", {})
        if "step" in log:
            steps = {log["step"]: log["intermediate_value"]}
        self.steps |= {int(step): float(value) for step, value in steps.items()}
        self.user_attrs |= log.get("user_attrs", log.get("user_attr", {}))
        self.system_attrs |= log.get("system_attrs", log.get("system_attr", {}))
        self.state = State(log.get("state", self.state))
        values = log.get("values") or [log.get("value")]
        self.values = [float(value) for value in values if value is not None] or self.values
        self.began = _seconds(log.get("datetime_start")) or self.began
        self.ended = _seconds(log.get("datetime_complete"))


def violated_constraints(system_attrs: Mapping[str, Any]) -> dict[str, float]:
    """Return the constraints that a trial violates: those with a value above 0.

    `Trial.set_constraint` stores each in an attribute of its own, a sampler's `constraints_func`
    all in one list.
    """
    listed = system_attrs.get("constraints")
    values = dict(enumerate(listed)) if isinstance(listed, list | tuple) else {}
    named = {key: value for key, value in system_attrs.items() if key.startswith("constraints:")}
    given = {str(key).removeprefix("constraints:"): val for key, val in (values | named).items()}
    return {key: value for key, val in given.items() if (value := float_of(val)) and value > 0}


def read_study(lines: Iterable[bytes]) -> list[StudyTrial]:
    """Return the trials of all studies that are not deleted, in order of creation.

    If there are several studies, the trials' names contain that of the study.
    """
    replay = _Replay()
    for line in lines:
        with suppress(*_FAULTS):  # Optuna reports the fault; here the other trials are shown
            replay.apply(json.loads(line))
    trials = [trial for study, trial in replay.trials.values() if study in replay.studies]
    if len({trial.study for trial in trials}) > 1:
        for trial in trials:
            trial.tid = f"{trial.study} {trial.number}"
    return trials


class _Replay:
    """Studies and trials of a log, numbered in the order of their creation."""

    def __init__(self) -> None:
        self.studies: dict[int, tuple[str, bool]] = {}
        """Name of each study, and whether its first objective is minimized; not of deleted ones."""
        self.trials: dict[int, tuple[int, StudyTrial]] = {}
        """Each trial, with the number of its study."""
        self._counts: list[int] = []
        """Number of trials of each study that was ever created."""

    def apply(self, log: dict[str, Any]) -> None:
        """Apply one line of the log, as Optuna's replay does."""
        operation = log["op_code"]
        if operation == _CREATE_STUDY:
            name = str(log["study_name"])
            if name not in (known for known, _ in self.studies.values()):
                self.studies[len(self._counts)] = name, log["directions"][0] != 2
                self._counts.append(0)
        elif operation == _DELETE_STUDY:
            self.studies.pop(log["study_id"], None)
        elif operation == _CREATE_TRIAL:
            study = log["study_id"]
            name, minimized = self.studies[study]
            number = self._counts[study]
            trial = StudyTrial(name, number, number, minimized)
            trial.apply(log)
            self._counts[study] += 1
            self.trials[len(self.trials)] = study, trial
        elif "trial_id" in log:
            _, trial = self.trials[log["trial_id"]]
            if not trial.state.ended:
                trial.apply(log)


def _value(distribution: str, internal: Any) -> Any:
    """Return a parameter's value from Optuna's internal representation."""
    parsed = json.loads(distribution)
    if parsed["name"] == "CategoricalDistribution":
        return parsed["attributes"]["choices"][int(internal)]
    return int(internal) if parsed["name"] == "IntDistribution" else float(internal)


def _seconds(text: Any) -> float | None:
    return seconds_of(datetime.fromisoformat(text)) if isinstance(text, str) else None


def running_now(history: History) -> tuple[RunningNow, ...]:
    """Return the trials that the current session is running."""
    where = history.timeline[-1].where if history.timeline else ""  # a snapshot may omit it
    return tuple(
        RunningNow(trial.tid, where, trial.began, attempts_of(trial.user_attrs) + 1)
        for trial in read_study(history.study.lines)
        if trial.state == State.RUNNING
    )


def attempts_of(user_attrs: Mapping[str, Any]) -> int:
    """Return the number of runtimes that died in a trial; 0 if the attribute is no number."""
    attempts = user_attrs.get(ATTEMPTS)
    return attempts if type(attempts) is int else 0


def study_data(
    name: str, lines: Iterable[bytes], sessions: Sequence[RecordedSession] = ()
) -> SearchData:
    """Return the data of all Optuna studies in a log; maximized values are negative losses."""
    found = read_study(lines)
    names = tuple(dict.fromkeys(label for trial in found for label in trial.parameters))
    return SearchData(
        name,
        tuple(_trial_data(trial, sessions) for trial in found),
        names,
        tuple(sessions),
        studies=len({trial.study for trial in found}),
    )


def _trial_data(trial: StudyTrial, sessions: Sequence[RecordedSession]) -> TrialData:
    where, ended = _run_of(trial, sessions)
    is_complete = trial.state == State.COMPLETE
    value = trial.values[0] if trial.values and is_complete else math.nan
    minimized = value if trial.minimized else -value
    loss = None if math.isnan(value) else minimized
    curve = [trial.steps[step] for step in sorted(trial.steps)]
    return TrialData(
        tid=trial.tid,
        state=_STATES[trial.state],
        loss=loss,
        where=where,
        began=trial.began,
        ended=ended,
        parameters=trial.parameters,
        curves={"value": curve} if curve else {},
        error=f"value {', '.join(map(str, trial.values))}" if is_complete and loss is None else "",
        pruned=trial.state == State.PRUNED,
        infeasible=loss is not None and bool(violated_constraints(trial.system_attrs)),
        values=tuple(trial.values) if len(trial.values) > 1 else (),
    )


def _run_of(trial: StudyTrial, sessions: Sequence[RecordedSession]) -> tuple[str, float | None]:
    """Return the runtime that held the study when a trial began, and when the trial ended in it.

    A trial that a kill interrupted is marked as failed only by the next session.
    """
    began, ended = trial.began, trial.ended
    before = [one for one in sessions if began is not None and one.began <= began]
    if began is None or not before:
        return "", ended
    is_interrupted = ended is not None and len(before) < sum(one.began <= ended for one in sessions)
    return before[-1].where, max(began, before[-1].last) if is_interrupted else ended


@contextmanager
def translate_replay_errors(store: Store, name: str) -> Iterator[None]:
    """Convert exceptions that Optuna raises while it reads a log to `SearchDamagedError`."""
    try:
        yield
    except ColabDriveTunerError:
        raise
    except Exception as error:
        raise SearchDamagedError(
            f"Optuna cannot read the log of study {name!r} ({visible(repr(error)):.200}): another "
            f"program has written into it. {store.command('trials', name)} shows the trials that "
            f"can be read; start a new study in a folder of another name."
        ) from error
