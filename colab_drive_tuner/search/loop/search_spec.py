"""A search as it was asked for, and whether its own rules have stopped it."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from colab_drive_tuner.checkpoint.recorded_settings import STOPPED
from colab_drive_tuner.search.begin_from import Origin
from colab_drive_tuner.search.executors.executor_arguments import Workers
from colab_drive_tuner.search.spec.fingerprints import describe_rule
from colab_drive_tuner.search.spec.settings import stored_stop
from colab_drive_tuner.training.pruner import Pruner


@dataclass(frozen=True)
class SearchSpec:
    """A search as it was asked for, in hyperopt's terms; the defaults are those of `fmin`."""

    fn: Callable[..., Any]
    """The objective."""
    space: Any
    algo: Callable[..., Any]
    """The algorithm: a suggest function."""
    max_evals: int = sys.maxsize
    """How many trials there shall be in all."""
    timeout: float | None = None
    """Seconds after which no further trial is asked for."""
    loss_threshold: float | None = None
    """The search ends once the best loss is below it."""
    early_stop_fn: Callable[..., Any] | None = None
    """Called after each round with the trials and what it returned last, as `hyperopt.fmin` does;
    the search ends once it says so."""
    max_queue_len: int = 1
    rstate: Any = None
    pass_expr_memo_ctrl: bool | None = None
    catch_eval_exceptions: bool = False
    show_progress: Any = True
    """False, True, or a progress callback of hyperopt's kind."""
    trials_save_file: str = ""

    restart: bool = False
    retry_failed: bool = False
    points: Sequence[dict[str, list[Any]]] = ()
    """Points to evaluate first in a search that has no trials yet, as `check_points` has them."""
    origin: Origin | None = None
    """Trials of another search to begin with."""
    source: str | None = None
    """The text of the model or objective function."""
    data: str | None = None
    """A fingerprint of the data."""
    keras_wanted: bool = False
    deadline: float | None = None
    """`time.monotonic()` after which no trial is started."""
    workers: Workers | None = None
    """Where trials run; None: here, one after another."""
    pruner: Pruner | None = None
    """What judges trials that report values by themselves."""

    @cached_property
    def early_stop_text(self) -> tuple[str, str]:
        """The early-stop function, as it is before it was called: it may remember what it saw."""
        return self._early_stop_now

    @property
    def early_stop_name(self) -> str:
        """The name of the early-stop function, or of the function that made it."""
        name = getattr(self.early_stop_fn, "__qualname__", type(self.early_stop_fn).__qualname__)
        return str(name).partition(".<locals>")[0]

    def stopped(self, settings: Mapping[str, Any]) -> str:
        """Why the search with these settings was stopped by these very rules; "": it was not.

        A call with another rule, or for more trials, goes on.
        """
        stop = stored_stop(settings)
        if stop is None or self.max_evals > stop["max_evals"]:
            return ""
        # A fresh function is what it was before the run; the very same object, what it was after.
        same = self._rules(self.early_stop_text) in (stop["rules"], stop["rules_after"])
        return str(stop["why"]) if same else ""

    def setting(self, why: str) -> dict[str, Any]:
        """The setting that says why these rules stopped the search."""
        stop = {"why": why, "max_evals": self.max_evals}
        stop |= {"rules": self._rules(self.early_stop_text)}
        return {STOPPED: stop | {"rules_after": self._rules(self._early_stop_now)}}

    @property
    def _early_stop_now(self) -> tuple[str, str]:
        return ("", "") if self.early_stop_fn is None else describe_rule(self.early_stop_fn)

    def _rules(self, early_stop: tuple[str, str]) -> str:
        return f"loss_threshold={self.loss_threshold} early_stop_fn={', '.join(early_stop)}"
