"""`Pruner`: ends trials early that are worse than earlier trials at the same epoch.

A `Pruner` is both an argument of a search and a Keras callback. It has no state: the running trial
holds the reported values, so one object can serve all trials and threads. It does not subclass
Keras's `Callback`, because a search without Keras must not import it; Keras accepts any object
with the same methods.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from numbers import Real
from typing import Any

from colab_drive_tuner.errors import TrainingWarning, UsageError
from colab_drive_tuner.training.trial import as_integer, as_number, running_trial
from colab_drive_tuner.warn_user import warn_user

MEDIAN, PERCENTILE, HALVING = "median", "percentile", "successive halving"
RULES = (MEDIAN, PERCENTILE, HALVING)
_MAXIMIZED = (
    *("acc", "accuracy", "auc", "precision", "recall", "sensitivity", "specificity"),
    *("f1", "f1_score", "fbeta_score", "iou", "io_u", "r2", "r2_score", "dice"),
)
"""Ends of the names of metrics to maximize."""

_NO_MODEL = (
    "Pruner reports the epochs of this training but cannot end it: its CallbackList has no model. "
    "Pass one, CallbackList(callbacks, model=model), and end the loop when model.stop_training "
    "is true; or end it when running_trial().should_prune() is true."
)


@dataclass(frozen=True, repr=False)
class Pruner:
    """Ends a trial whose best value so far is worse than those of earlier trials at that epoch.

    Pass it to `fit(callbacks=[...])` in a model function, before or after `TrialBackup`. An
    objective without Keras calls `report` and `should_prune` of `running_trial()`, and its search
    gets `pruner=Pruner(...)`.

    A trial is compared with the best values so far of all trials that had ended when it was
    suggested, as recorded in the search; so a resumed search decides like the uninterrupted one.
    Failed trials and trials with a NaN loss do not count. Given points (`points_to_evaluate`) are
    never pruned.

    Args:
        rule: "median": a trial must not be worse than the median of the earlier ones;
            "percentile": it must be among the best `percentile` percent of them; "successive
            halving": at epochs further and further apart, only the best 1 / `reduction_factor`
            of the trials continue.
        monitor: The name of the metric in the logs of an epoch.
        warmup_steps: Number of first epochs (steps) that are not judged.
        min_trials: Number of earlier trials that must have a value at an epoch to judge it.
        mode: "min" or "max". "auto" decides by the name: accuracy, AUC, precision, recall, F1, IoU
            and R2 are maximized, all other metrics are minimized.
        percentile: For the rule "percentile": 25 percent by default.
        reduction_factor: For the rule "successive halving": 3 by default. A trial is then judged
            1, 3, 9, 27, ... epochs after the warm-up, and the best third continues.

    Raises:
        UsageError: An argument is invalid. During training: the logs have no metric `monitor`, its
            value is not a number, or two different pruners judge one trial.

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
        _check_choice("rule", self.rule, RULES)
        if not isinstance(self.monitor, str) or not self.monitor:
            raise UsageError(f"monitor must be the name of a metric, got {self.monitor!r:.60}.")
        _check_choice("mode", self.mode, ("auto", "min", "max"))
        self._set("warmup_steps", as_integer("warmup_steps", self.warmup_steps, least=0))
        self._set("min_trials", as_integer("min_trials", self.min_trials, least=1))
        if self.mode == "auto":
            self._set("mode", "max" if _is_maximized(self.monitor) else "min")
        if self._applies("percentile", PERCENTILE):
            percentile = 25 if self.percentile is None else self.percentile
            self._set("percentile", _check_percentile(percentile))
        if self._applies("reduction_factor", HALVING):
            factor = 3 if self.reduction_factor is None else self.reduction_factor
            self._set("reduction_factor", as_integer("reduction_factor", factor, least=2))

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def _applies(self, name: str, rule: str) -> bool:
        """Return whether the rule is the one with this argument; raise if given with another."""
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
        """The arguments as plain data: `Pruner(**settings)` equals this pruner."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    # -- as a Keras callback

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:  # noqa: ARG002 - passed by Keras
        """Check that a trial is running, and that no other pruner judges it."""
        from colab_drive_tuner.training.training_loop import find_training_loop

        loop, trial = find_training_loop(self), running_trial()
        if trial is None:
            warn_user(
                "Pruner does nothing here: no search is running in this thread.", TrainingWarning
            )
            return
        reports = trial.reports
        reports.set_pruner(self)
        # The epochs of another fit of the same trial follow those of the fit before.
        is_another_fit = loop.fit.get("initial_epoch", 0) < reports.last_step
        reports.offset, reports.epoch = reports.last_step if is_another_fit else 0, None
        if loop.model is None:
            warn_user(_NO_MODEL, TrainingWarning)
        elif reports.begun and reports.should_prune():  # killed before a pruned fit could end
            loop.model.stop_training = True

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Report the epoch's value; stop the training if the trial is to be pruned."""
        from colab_drive_tuner.training.training_loop import find_training_loop

        trial = running_trial()
        if trial is None:
            return
        reports = trial.reports
        if reports.epoch == epoch or (reports.pruned_at is not None and reports.epoch is None):
            return  # passed twice, or a fit after the one that was stopped
        loop = find_training_loop(self)
        value = (logs or {}).get(self.monitor)
        if value is None:
            self._check_missing(logs or {}, loop.fit)
            return
        number = as_number(f"Pruner: {self.monitor!r} of the epoch", value)
        step = reports.offset + int(epoch) + 1
        if step <= reports.last_step and reports.begun:
            return  # a custom loop that counts its epochs from the start again
        reports.epoch = epoch
        reports.add(step, number)
        if loop.model is not None and epoch + 1 < loop.epochs and reports.should_prune():
            loop.model.stop_training = True

    def _check_missing(self, logs: Mapping[str, Any], fit: Mapping[str, Any]) -> None:
        """Raise, or in a custom loop warn, if the epoch should have the metric."""
        is_validated = self.monitor.startswith("val_")
        if is_validated and fit.get("validation_freq", 1) != 1:
            return  # an epoch without validation
        known = ", ".join(sorted(map(str, logs))) or "none"
        unknown = f"Pruner: the epoch has no metric {self.monitor!r}. It has: {known}."
        if not fit:  # a custom loop may compute it at some epochs only
            warn_user(f"{unknown} It is not judged.", TrainingWarning)
            return
        needs_data = is_validated and "val_" not in known
        hint = " Pass validation_data= or validation_split= to fit." if needs_data else ""
        raise UsageError(unknown + hint)

    def set_params(self, params: Any) -> None:
        """Ignore Keras's parameters."""

    def set_model(self, model: Any) -> None:
        """Clear `stop_training`, as `fit` does: a custom loop reads it."""
        model.stop_training = False

    def __getattr__(self, name: str) -> Any:
        if name.startswith("on_"):  # Keras's other callback methods
            return _do_nothing
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


def _do_nothing(*_: object, **__: object) -> None:
    pass


_do_nothing._is_default = True  # type: ignore[attr-defined]  # so Keras may skip it asynchronously


def _is_maximized(monitor: str) -> bool:
    name = re.sub(r"_\d+$", "", monitor.lower())  # Keras numbers metrics of one class: auc_1
    return any(name == end or name.endswith(f"_{end}") for end in _MAXIMIZED)


def _check_choice(name: str, value: Any, known: Sequence[str]) -> None:
    if not isinstance(value, str) or value not in known:
        raise UsageError(f"{name} must be one of {', '.join(map(repr, known))}, got {value!r:.60}.")


def _check_percentile(value: Any) -> float:
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not is_number or not 0 < value < 100:
        raise UsageError(f"percentile must be a number between 0 and 100, got {value!r:.60}.")
    return float(value)
