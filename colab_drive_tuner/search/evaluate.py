"""Evaluation of one trial, independent of the store, so that it can run in any process.

hyperopt evaluates the space's graph node by node for each trial, which takes longer than all other
work per trial. Nearly all spaces are dicts, lists and choices of parameters, whose value is
computed directly. hyperopt evaluates any other space.
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hyperopt.base import STATUS_STRINGS, Ctrl, Domain
from hyperopt.pyll.base import Apply, Literal

from colab_drive_tuner.checkpoint.document_schema import drop_odd_loss
from colab_drive_tuner.errors import ObjectiveError
from colab_drive_tuner.search.spec.space_values import PURE_FUNCTIONS, evaluate_space
from colab_drive_tuner.training.pruner import Pruner
from colab_drive_tuner.training.seeding import seed_trial
from colab_drive_tuner.training.trial import IntermediateValues, RunningTrial, run_as
from colab_drive_tuner.training.trial_backup_files import TrialBackupFiles

_logger = logging.getLogger(__name__)

_PRUNED = (
    "The objective raised optuna.TrialPruned, which prunes no trial here. Pass pruner=, and return "
    "the loss so far where colab_drive_tuner.running_trial().should_prune() is true; a trial "
    "without a loss returns {'status': STATUS_FAIL}."
)

_NUMBERS = ("literal", "hyperopt_param", "float", "int")
"""Nodes that may be evaluated twice with the same result; most of them wrap a parameter."""


@dataclass(frozen=True)
class TrainingSettings:
    """Training settings that all trials of a run share."""

    seed: int
    """The search's training seed."""
    seeded: bool = True
    """Whether the global random generators are seeded before each trial."""
    frameworks: tuple[str, ...] = ()
    """Modules that the objective uses: a worker imports them before the trial is seeded."""
    pruner: Pruner | None = None
    """The pruner of trials that report their own values."""


@dataclass(frozen=True)
class Attempt:
    """One attempt to run a trial."""

    search: str
    tid: int
    number: int
    """1 for the first runtime that runs this trial, 2 for the next, ..."""
    point: dict[str, Any]
    """The sampled values by label, without those of options that were not chosen."""
    training: TrainingSettings
    thresholds: Mapping[Pruner, Mapping[int, float]] = field(default_factory=dict)
    """By pruner and step, the values that the trial must not be worse than."""
    ends_at: float | None = None
    """`time.time()` at which it must have stopped, on any machine; None: no limit."""


class FastDomain(Domain):  # type: ignore[misc]  # hyperopt is untyped
    """hyperopt's Domain, which evaluates usual spaces without walking their graph."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._usual = not self.pass_expr_memo_ctrl and _is_usual(self.expr)

    def evaluate(self, config: dict[str, Any], ctrl: Ctrl, attach_attachments: bool = True) -> Any:
        """Call the objective with the sampled values, as in hyperopt."""
        if self._usual:
            try:
                point = evaluate_space(self.expr, config)
            except Exception as error:  # noqa: BLE001 - hyperopt raises its own error for such values
                _logger.debug("falling back to hyperopt's own evaluation: %r", error)
            else:
                return _SampledDomain(self.fn).evaluate(point, ctrl, attach_attachments)
        return super().evaluate(config, ctrl, attach_attachments)


class _SampledDomain(Domain):  # type: ignore[misc]  # hyperopt is untyped
    """A Domain whose graph is one node: the objective's argument itself."""

    pass_expr_memo_ctrl = False
    expr = Literal()

    def __init__(self, fn: Callable[[Any], Any]) -> None:
        self.fn = fn  # `evaluate` needs nothing else; algorithms would

    def memo_from_config(self, config: Any) -> dict[Any, Any]:
        return {self.expr: config}


def evaluate(
    attempt: Attempt,
    domain: Domain,
    ctrl: Ctrl,
    artifacts: TrialBackupFiles | None = None,
    notices: list[str] | None = None,
) -> dict[str, Any]:
    """Run the objective of `domain` and return its result; its exceptions propagate.

    `notices` collects messages for the user, if they cannot be shown in this process.
    """
    training, ends_at = attempt.training, attempt.ends_at
    trial = RunningTrial(
        search=attempt.search,
        tid=attempt.tid,
        seed=training.seed,
        seeded=training.seeded,
        attempt=attempt.number,
        deadline=ends_at and time.monotonic() + ends_at - time.time(),
        artifacts=artifacts,
        notices=notices,
        reports=IntermediateValues(training.pruner, attempt.thresholds),
    )
    with run_as(trial):
        if training.seeded:
            seed_trial(training.seed, attempt.tid)
        try:
            result: dict[str, Any] = domain.evaluate(attempt.point, ctrl)
        except Exception as error:
            if "TrialPruned" in {kind.__name__ for kind in type(error).__mro__}:
                raise ObjectiveError(_PRUNED) from error
            raise
        # The status may be an enum member, which equals hyperopt's text but is not plain data.
        status = {"status": STATUS_STRINGS[STATUS_STRINGS.index(result["status"])]}
        result |= status | trial.reports.result()
        drop_odd_loss(result)
        return result


def _is_usual(space: Apply) -> bool:
    """Return whether hyperopt would compute the same as `evaluate_space`."""
    waiting, seen = [space], {space}
    while waiting:
        node = waiting.pop()
        if node.name == "hyperopt_param":
            continue  # its distribution does not matter here
        if node.name not in PURE_FUNCTIONS | {"literal", "switch"}:
            return False
        if isinstance(node, Literal) and node.obj is Ctrl:  # hyperopt passes the trial's
            return False
        for argument in node.inputs():
            # hyperopt shares one object between two places, and the objective may change it.
            if argument in seen and argument.name not in _NUMBERS:
                return False
            seen.add(argument)
            waiting.append(argument)
    return True
