"""Trials of an Optuna study, reconstructed from its log without importing Optuna.

States and operations are those of Optuna's journal (`optuna/storages/journal/_storage.py`).
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from typing import Any

from colab_drive_tuner.errors import ColabDriveTunerError, SearchDamagedError
from colab_drive_tuner.search.trial_documents import float_of, seconds_of
from colab_drive_tuner.store.protocol import Store
from colab_drive_tuner.text import visible


class Operation(IntEnum):
    """Operations of Optuna's journal that concern trials."""

    CREATE_STUDY = 0
    DELETE_STUDY = 1
    CREATE_TRIAL = 4
    SET_TRIAL_PARAM = 5
    SET_TRIAL_STATE_VALUES = 6
    SET_TRIAL_INTERMEDIATE_VALUE = 7
    SET_TRIAL_SYSTEM_ATTR = 9


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
    system_attrs: dict[str, Any] = field(default_factory=dict)
    began: float | None = None
    ended: float | None = None

    @property
    def loss(self) -> float | None:
        """The first value, negated if it is maximized; None if missing or NaN."""
        value = self.values[0] if self.values and self.state == State.COMPLETE else None
        if value is None or math.isnan(value):
            return None
        return value if self.minimized else -value

    @property
    def infeasible(self) -> bool:
        """Whether it has a loss but violates a constraint, so that it cannot be the best trial."""
        return self.loss is not None and bool(violated_constraints(self.system_attrs))

    @property
    def error(self) -> str:
        """Reason why a complete trial has no loss; "" for all other trials."""
        without = self.state == State.COMPLETE and self.loss is None
        return f"value {', '.join(map(str, self.values))}" if without else ""


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
        try:
            replay.apply(json.loads(line))
        except (
            ArithmeticError,
            AttributeError,
            LookupError,
            RecursionError,
            TypeError,
            ValueError,
        ):
            continue  # Optuna reports the fault; here the other trials are shown
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
        if operation == Operation.CREATE_STUDY:
            self._create_study(str(log["study_name"]), minimized=log["directions"][0] != 2)
        elif operation == Operation.DELETE_STUDY:
            self.studies.pop(log["study_id"], None)
        elif operation == Operation.CREATE_TRIAL:
            study = log["study_id"]
            name, minimized = self.studies[study]
            number = self._counts[study]
            trial = _created(log, StudyTrial(name, number, number, minimized))
            self._counts[study] += 1
            self.trials[len(self.trials)] = study, trial
        elif "trial_id" in log:
            _, trial = self.trials[log["trial_id"]]
            if not trial.state.ended:
                _update(trial, log)

    def _create_study(self, name: str, *, minimized: bool) -> None:
        if name not in (known for known, _ in self.studies.values()):
            self.studies[len(self._counts)] = name, minimized
            self._counts.append(0)


def _update(trial: StudyTrial, log: dict[str, Any]) -> None:
    if log["op_code"] == Operation.SET_TRIAL_PARAM:
        value = _value(log["distribution"], log["param_value_internal"])
        trial.parameters[str(log["param_name"])] = value
    elif log["op_code"] == Operation.SET_TRIAL_INTERMEDIATE_VALUE:
        trial.steps[int(log["step"])] = float(log["intermediate_value"])
    elif log["op_code"] == Operation.SET_TRIAL_SYSTEM_ATTR:
        trial.system_attrs |= log["system_attr"]
    elif log["op_code"] == Operation.SET_TRIAL_STATE_VALUES:
        trial.state = State(log["state"])
        trial.values = [float(value) for value in log["values"] or []] or trial.values
        trial.began = _seconds(log.get("datetime_start")) or trial.began
        trial.ended = _seconds(log.get("datetime_complete"))


def _created(log: dict[str, Any], trial: StudyTrial) -> StudyTrial:
    trial.state = State(log.get("state", State.RUNNING))
    values = log.get("values") or [log.get("value")]
    trial.values = [float(value) for value in values if value is not None]
    distributions = log.get("distributions", {})
    trial.parameters = {
        str(name): _value(distributions[name], value)
        for name, value in log.get("params", {}).items()
    }
    steps = log.get("intermediate_values", {}).items()
    trial.steps = {int(step): float(value) for step, value in steps}
    trial.system_attrs = dict(log.get("system_attrs", {}))
    trial.began = _seconds(log.get("datetime_start"))
    trial.ended = _seconds(log.get("datetime_complete"))
    return trial


def _value(distribution: str, internal: Any) -> Any:
    """Return a parameter's value from Optuna's internal representation."""
    parsed = json.loads(distribution)
    if parsed["name"] == "CategoricalDistribution":
        return parsed["attributes"]["choices"][int(internal)]
    return int(internal) if parsed["name"] == "IntDistribution" else float(internal)


def _seconds(text: Any) -> float | None:
    return seconds_of(datetime.fromisoformat(text)) if isinstance(text, str) else None


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
