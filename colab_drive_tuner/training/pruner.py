"""`Pruner`: ends trials early that are worse than earlier ones were at the same epoch.

It is what a search is given and a Keras callback at once. It remembers nothing: what a trial has
reported is kept by the running trial, so one object may serve all trials and threads. And it is no
subclass of Keras's `Callback`, which accepts any object with its methods: a search without Keras
must not have to import it.
"""

import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from numbers import Real
from typing import Any

from colab_drive_tuner.errors import TrainingWarning, UsageError
from colab_drive_tuner.intermediate_values import as_number
from colab_drive_tuner.training.pruning_rules import (
    BestValues,
    Curve,
    halving_threshold,
    is_rung,
    percentile_threshold,
)
from colab_drive_tuner.trial import running_trial
from colab_drive_tuner.user_warnings import warn_user

MEDIAN, PERCENTILE, HALVING = "median", "percentile", "successive halving"
RULES = (MEDIAN, PERCENTILE, HALVING)
_MAXIMIZED = (
    *("acc", "accuracy", "auc", "precision", "recall", "sensitivity", "specificity"),
    *("f1", "f1_score", "fbeta_score", "iou", "io_u", "r2", "r2_score", "dice"),
)
"""Metrics of which more is better, by the end of their names."""


_NO_MODEL = (
    "Pruner reports the epochs of this training and cannot end it: its CallbackList has no model. "
    "Give it one, CallbackList(callbacks, model=model), and end the loop where model.stop_training "
    "is true; or end it where running_trial().should_prune() is."
)


@dataclass(frozen=True, repr=False)
class Pruner:
    """Ends a trial whose best value so far is worse than what earlier trials had at that epoch.

    Put it into `fit(callbacks=[...])` of a model function, beside `TrialBackup` in any order; that
    is all. An objective without Keras calls `report` and `should_prune` of `running_trial()`, and
    its search gets `pruner=Pruner(...)`.

    Compared are the best values so far of all trials that had ended when this one was suggested, as
    the record says; so a resumed search decides as the uninterrupted one. Those that failed, or
    whose loss is NaN, do not count. Points that were given (`points_to_evaluate`) are never pruned.

    Args:
        rule: "median": a trial must not be worse than the median of the earlier ones;
            "percentile": it must be among the best `percentile` percent of them; "successive
            halving": at epochs further and further apart, only the best of `reduction_factor`
            trials go on.
        monitor: The metric, as Keras names it in an epoch's logs.
        warmup_steps: So many first epochs (steps) are not judged.
        min_trials: So many earlier trials must have a value at an epoch before it is judged.
        mode: "min" or "max", where "auto" guesses wrongly by the name: more is better of accuracy,
            AUC, precision, recall, F1, IoU and R2, less is better of all else.
        percentile: Of the rule "percentile", which is 25 percent by default.
        reduction_factor: Of the rule "successive halving", 3 by default: the trial is judged 1, 3,
            9, 27, ... epochs after the warm-up, and the best third goes on.

    Raises:
        UsageError: An argument cannot be used. In training: `fit` has no metric `monitor`, or its
            value is no number, or two different pruners judge one trial.

    Example:
        ```python
        model.fit(x, y, epochs=30, validation_data=(x_val, y_val),
                  callbacks=[cdt.TrialBackup(), cdt.Pruner(monitor="val_accuracy")])
        ```
    """

    rule: str = MEDIAN
    monitor: str = "val_loss"
    warmup_steps: int = 1
    min_trials: int = 5
    mode: str = field(default="auto", kw_only=True)
    percentile: float | None = field(default=None, kw_only=True)
    reduction_factor: int | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        _one_of("rule", self.rule, RULES)
        if not isinstance(self.monitor, str) or not self.monitor:
            raise UsageError(f"monitor must be the name of a metric, got {self.monitor!r:.60}.")
        _one_of("mode", self.mode, ("auto", "min", "max"))
        self._keep("warmup_steps", _whole("warmup_steps", self.warmup_steps, least=0))
        self._keep("min_trials", _whole("min_trials", self.min_trials, least=1))
        if self.mode == "auto":
            self._keep("mode", "max" if _is_maximized(self.monitor) else "min")
        if self._goes_with("percentile", PERCENTILE):
            self._keep(
                "percentile", _percentile(25 if self.percentile is None else self.percentile)
            )
        if self._goes_with("reduction_factor", HALVING):
            factor = 3 if self.reduction_factor is None else self.reduction_factor
            self._keep("reduction_factor", _whole("reduction_factor", factor, least=2))

    def _keep(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def _goes_with(self, name: str, rule: str) -> bool:
        """Whether the argument is one of this rule; raises where it is given with another."""
        if self.rule != rule and getattr(self, name) is not None:
            raise UsageError(f"{name}= goes with rule={rule!r}, not with rule={self.rule!r}.")
        return self.rule == rule

    def __repr__(self) -> str:
        return f"Pruner({', '.join(f'{name}={value!r}' for name, value in self.settings.items())})"

    @property
    def maximized(self) -> bool:
        """Whether larger values are better."""
        return self.mode == "max"

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments, as plain data: `Pruner(**settings)` is equal to this one."""
        given = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: value for name, value in given.items() if value is not None}

    def best_values(self, curves: Iterable[Curve]) -> BestValues:
        """What earlier trials had by each epoch, and the thresholds that follow from it.

        Args:
            curves: Of each earlier trial, the steps and the values that it reported.
        """
        judged: Callable[[int], bool] = self.warmup_steps.__lt__
        cut: Callable[[Sequence[float]], float]
        if self.rule == HALVING:
            factor = self.reduction_factor or 0
            judged = partial(is_rung, warmup_steps=self.warmup_steps, reduction_factor=factor)
            cut = partial(halving_threshold, reduction_factor=factor)
        else:
            cut = partial(percentile_threshold, percentile=self.percentile or 50)
        return BestValues(
            curves, cut, judged=judged, min_trials=self.min_trials, maximized=self.maximized
        )

    # -- as a Keras callback

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:  # noqa: ARG002 - Keras hands it over
        """Check that there is a trial to judge, and that no other pruner judges it."""
        from colab_drive_tuner.training.training_loop import find_training_loop

        loop, trial = find_training_loop(self), running_trial()
        if trial is None:
            warn_user("Pruner does nothing here: no search runs.", TrainingWarning)
            return
        reports = trial.reports
        reports.set_pruner(self)
        # Another fit of the same trial: its first epoch comes after the last one of the fit before.
        begins_anew = loop.fit.get("initial_epoch", 0) < reports.last_step
        reports.offset, reports.epoch = reports.last_step if begins_anew else 0, None
        if loop.model is None:
            warn_user(_NO_MODEL, TrainingWarning)
        elif reports.begun and reports.should_prune():  # the last epoch before was not the last one
            loop.model.stop_training = True

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Report the epoch's value; stop the training if it is worse than earlier trials' ones."""
        from colab_drive_tuner.training.training_loop import find_training_loop

        trial = running_trial()
        if trial is None:
            return
        reports = trial.reports
        if reports.epoch == epoch or (reports.pruned_at is not None and reports.epoch is None):
            return  # given twice, or a fit after the one that was stopped
        loop = find_training_loop(self)
        value = (logs or {}).get(self.monitor)
        if value is None:
            if self.monitor.startswith("val_") and loop.fit.get("validation_freq", 1) != 1:
                return  # an epoch that is not validated
            known = ", ".join(sorted(map(str, logs or {}))) or "none"
            unknown = f"Pruner: the epoch has no metric {self.monitor!r}. It has: {known}."
            if not loop.fit:  # a loop of the user's own may well measure it now and then
                warn_user(f"{unknown} It is not judged.", TrainingWarning)
                return
            is_missing = self.monitor.startswith("val_") and "val_" not in known
            hint = " Give fit validation_data= or validation_split=." if is_missing else ""
            raise UsageError(unknown + hint)
        number = as_number(f"Pruner: {self.monitor!r} of the epoch", value)
        step = reports.offset + int(epoch) + 1
        if step <= reports.last_step and reports.begun:
            return  # a loop of the user's own that counts anew
        reports.epoch = epoch
        reports.add(step, number)
        if loop.model is not None and epoch + 1 < loop.epochs and reports.should_prune():
            loop.model.stop_training = True

    def set_params(self, params: Any) -> None:
        """Keras's; nothing is kept."""

    def set_model(self, model: Any) -> None:
        """Keras's; nothing is kept."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("on_"):  # what Keras calls on other occasions
            return _nothing
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


def _nothing(*_: object, **__: object) -> None:
    """Do nothing, as the methods of Keras's own `Callback`."""


_nothing._is_default = True  # type: ignore[attr-defined]  # so Keras knows that it need not wait


def _is_maximized(monitor: str) -> bool:
    name = re.sub(r"_\d+$", "", monitor.lower())  # Keras numbers metrics of one class: auc_1
    return any(name == end or name.endswith(f"_{end}") for end in _MAXIMIZED)


def _one_of(name: str, value: Any, known: Sequence[str]) -> None:
    if not isinstance(value, str) or value not in known:
        raise UsageError(f"{name} must be one of {', '.join(map(repr, known))}, got {value!r:.60}.")


def _whole(name: str, value: Any, *, least: int) -> int:
    try:
        number = least - 1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = least - 1
    if number < least:
        raise UsageError(f"{name} must be an integer >= {least}, got {value!r:.60}.")
    return number


def _percentile(value: Any) -> float:
    number = isinstance(value, Real) and not isinstance(value, bool)
    if not number or not 0 < value < 100:
        raise UsageError(f"percentile must be a number between 0 and 100, got {value!r:.60}.")
    return float(value)
