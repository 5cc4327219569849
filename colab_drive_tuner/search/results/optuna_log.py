"""Trials of an Optuna study, read from the lines of its log without Optuna.

States and operations are those of Optuna's journal (`optuna/storages/journal/_storage.py`).
"""

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from typing import Any

from colab_drive_tuner.errors import ColabDriveTunerError, SearchDamagedError
from colab_drive_tuner.search.trial_documents import seconds_of
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


_OF_A_TRIAL = (
    Operation.SET_TRIAL_PARAM,
    Operation.SET_TRIAL_STATE_VALUES,
    Operation.SET_TRIAL_INTERMEDIATE_VALUE,
)


class State(IntEnum):
    """States of Optuna's trials."""

    RUNNING = 0
    COMPLETE = 1
    PRUNED = 2
    FAIL = 3
    WAITING = 4

    @property
    def ended(self) -> bool:
        """Whether the trial runs no more."""
        return self in (State.COMPLETE, State.PRUNED, State.FAIL)


@dataclass
class StudyTrial:
    """A trial of a study."""

    study: str
    number: int
    minimized: bool
    """Whether its first value is to be small; else it is to be large."""
    state: State = State.RUNNING
    values: list[float] = field(default_factory=list)
    parameters: dict[str, Any] = field(default_factory=dict)
    steps: dict[int, float] = field(default_factory=dict)
    began: float | None = None
    ended: float | None = None

    @property
    def loss(self) -> float | None:
        """Its first value, negated where it is to be large; None where it has none."""
        value = self.values[0] if self.values and self.state == State.COMPLETE else None
        if value is None or math.isnan(value):
            return None
        return value if self.minimized else -value

    @property
    def error(self) -> str:
        """Why a trial that ended well has no loss; "" where it has one, or did not end well."""
        if self.state == State.PRUNED:
            return "pruned"
        without = self.state == State.COMPLETE and self.loss is None
        return f"value {', '.join(map(str, self.values))}" if without else ""


_NO_OPERATION = (
    *(KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError, RecursionError),
)


def read_study(lines: Iterable[bytes]) -> list[StudyTrial]:
    """The trials of all studies of a log that are not deleted, in the order of their creation."""
    names: list[tuple[str, bool]] = []
    deleted: set[int] = set()
    trials: list[tuple[int, StudyTrial]] = []
    counts: dict[int, int] = defaultdict(int)
    for line in lines:
        try:
            _apply(json.loads(line), names, deleted, trials, counts)
        except _NO_OPERATION:
            continue  # Optuna says what is wrong with it; here the other trials are shown
    return [trial for study, trial in trials if study not in deleted]


def _apply(
    log: dict[str, Any],
    names: list[tuple[str, bool]],
    deleted: set[int],
    trials: list[tuple[int, StudyTrial]],
    counts: dict[int, int],
) -> None:
    """Take in one line, as Optuna's replay does."""
    operation = log["op_code"]
    if operation == Operation.CREATE_STUDY:
        name = str(log["study_name"])
        if name not in [known for at, (known, _) in enumerate(names) if at not in deleted]:
            names.append((name, log["directions"][0] != 2))
    elif operation == Operation.DELETE_STUDY:
        deleted.add(int(log["study_id"]))
    elif operation == Operation.CREATE_TRIAL:
        study = int(log["study_id"])
        name, minimized = names[study]
        trial = _created(log, StudyTrial(name, counts[study], minimized))
        counts[study] += 1
        trials.append((study, trial))
    elif operation in _OF_A_TRIAL:
        trial = trials[int(log["trial_id"])][1]
        if trial.state.ended:
            return
        if operation == Operation.SET_TRIAL_PARAM:
            value = _value(log["distribution"], log["param_value_internal"])
            trial.parameters[str(log["param_name"])] = value
        elif operation == Operation.SET_TRIAL_INTERMEDIATE_VALUE:
            trial.steps[int(log["step"])] = float(log["intermediate_value"])
        else:
            trial.state = State(log["state"])
            trial.values = [float(value) for value in log["values"] or []] or trial.values
            trial.began = _seconds(log.get("datetime_start")) or trial.began
            trial.ended = _seconds(log.get("datetime_complete"))


def _created(log: dict[str, Any], trial: StudyTrial) -> StudyTrial:
    trial.state = State(log.get("state", State.RUNNING))
    values = log.get("values") or [log.get("value")]
    trial.values = [float(value) for value in values if value is not None]
    shapes = log.get("distributions", {})
    trial.parameters = {
        str(name): _value(shapes[name], value) for name, value in log.get("params", {}).items()
    }
    steps = log.get("intermediate_values", {}).items()
    trial.steps = {int(step): float(value) for step, value in steps}
    trial.began = _seconds(log.get("datetime_start"))
    trial.ended = _seconds(log.get("datetime_complete"))
    return trial


def _value(distribution: str, internal: Any) -> Any:
    """A parameter's value: of a categorical one the choice, else the number."""
    shape = json.loads(distribution)
    if shape["name"] == "CategoricalDistribution":
        return shape["attributes"]["choices"][int(internal)]
    return int(internal) if shape["name"] == "IntDistribution" else float(internal)


def _seconds(text: Any) -> float | None:
    return seconds_of(datetime.fromisoformat(text)) if isinstance(text, str) else None


@contextmanager
def replaying(store: Store, name: str) -> Iterator[None]:
    """Within the block Optuna reads a log; what it raises over one becomes `SearchDamagedError`."""
    try:
        yield
    except ColabDriveTunerError:
        raise
    except Exception as error:
        raise SearchDamagedError(
            f"Optuna cannot read the log of study {name!r} ({visible(repr(error)):.200}): another "
            f"program has written into it. {store.command('trials', name)} shows the trials that "
            f"can be read; go on with a study in a folder of another name."
        ) from error
