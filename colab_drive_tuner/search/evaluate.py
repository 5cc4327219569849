"""One run of one trial, with nothing of the store inside, so that it can run anywhere."""

from dataclasses import dataclass
from typing import Any

from hyperopt.base import STATUS_STRINGS, Ctrl, Domain
from hyperopt.pyll import dfs
from hyperopt.pyll.base import GarbageCollected

from colab_drive_tuner.training.seeds import seed_trial
from colab_drive_tuner.trial import Artifacts, RunningTrial, run_as


@dataclass(frozen=True)
class Training:
    """Settings that all trials of a run share."""

    seed: int
    """The search's training seed."""
    seeded: bool = True
    """Whether the global random generators are seeded before each trial."""
    keras_wanted: bool = False
    """Whether Keras is seeded although nothing has imported it yet."""
    deadline: float | None = None
    """`time.monotonic()` after which nothing is started."""


@dataclass(frozen=True)
class Attempt:
    """What a trial needs in order to run."""

    search: str
    tid: int
    number: int
    """1 for the first runtime that works on this trial, 2 for the next, ..."""
    point: dict[str, Any]
    """The sampled values by label, without those of branches that were not chosen."""
    training: Training


class IndexedDomain(Domain):  # type: ignore[misc]  # hyperopt is untyped
    """hyperopt's Domain, which looks for its parameters once and not for each trial."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._parameters = [
            (node, node.arg["label"].obj)
            for node in dfs(self.expr)
            if node.name == "hyperopt_param"
        ]

    def memo_from_config(self, config: dict[str, Any]) -> dict[Any, Any]:
        """The value of each parameter's node; of one in an option not chosen, that it has none."""
        return {node: config.get(label, GarbageCollected) for node, label in self._parameters}


def evaluate(
    attempt: Attempt, domain: Domain, ctrl: Ctrl, artifacts: Artifacts | None = None
) -> dict[str, Any]:
    """Run the objective of `domain` and return its result; whatever it raises is raised.

    Args:
        attempt: The trial.
        domain: hyperopt's Domain: the space and the objective.
        ctrl: What an objective that asks for it gets to see of the search.
        artifacts: Where backups of the half-finished trial are kept; None: nowhere.
    """
    training = attempt.training
    trial = RunningTrial(
        search=attempt.search,
        tid=attempt.tid,
        seed=training.seed,
        attempt=attempt.number,
        deadline=training.deadline,
        artifacts=artifacts,
    )
    with run_as(trial):
        if training.seeded:
            seed_trial(training.seed, attempt.tid, keras_wanted=training.keras_wanted)
        result: dict[str, Any] = domain.evaluate(attempt.point, ctrl)
        # An enum's member may equal one of hyperopt's statuses, and is no plain data.
        return result | {"status": STATUS_STRINGS[STATUS_STRINGS.index(result["status"])]}
