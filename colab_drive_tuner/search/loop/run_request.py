"""The request for a run of a search: the checked arguments of one call."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from colab_drive_tuner.checkpoint.recorded_settings import STOPPED
from colab_drive_tuner.search.begin_from import Origin
from colab_drive_tuner.search.executors.adapters import Workers
from colab_drive_tuner.search.spec.fingerprints import describe_rule
from colab_drive_tuner.training.pruner import Pruner


@dataclass(frozen=True)
class RunRequest:
    """The request for a run.

    Fields without a comment are arguments of `DriveTrials.fmin` or `resume_search`; see there.
    """

    fn: Callable[..., Any]
    """The objective as hyperopt calls it."""
    space: Any
    algo: Callable[..., Any]
    max_evals: int = sys.maxsize
    timeout: float | None = None
    loss_threshold: float | None = None
    early_stop_fn: Callable[..., Any] | None = None
    max_queue_len: int = 1
    rstate: Any = None
    pass_expr_memo_ctrl: bool | None = None
    catch_eval_exceptions: bool = False
    show_progress: Any = True
    """The argument `show_progressbar` of `DriveTrials.fmin`."""
    trials_save_file: str = ""

    restart: bool = False
    retry_failed: bool = False
    points: Sequence[dict[str, list[Any]]] = ()
    """Points to evaluate first, as `check_points` returns them."""
    origin: Origin | None = None
    """Trials of another search to begin with."""
    written: Callable[..., Any] | None = None
    """The objective as the user wrote it; None: `fn` is that."""
    deadline: float | None = None
    """`time.monotonic()` after which no trial is started."""
    workers: Workers | None = None
    """Where trials run; None: in this process, one after another."""
    pruner: Pruner | None = None

    @cached_property
    def early_stop_text(self) -> tuple[str, str]:
        """Identity of the early-stop function, and its state before calls, which may change it."""
        return self._early_stop_now

    @property
    def early_stop_name(self) -> str:
        """The name of the early-stop function, or of the function that made it."""
        name = getattr(self.early_stop_fn, "__qualname__", type(self.early_stop_fn).__qualname__)
        return str(name).partition(".<locals>")[0]

    def stop_reason(self, settings: Mapping[str, Any]) -> str:
        """Return why the search with these settings was stopped by the same rules, or ""."""
        stop = settings.get(STOPPED)
        if stop is None or self.max_evals > stop["max_evals"]:
            return ""
        # A new function equals its state before the run; the same object, its state after the run.
        same = self._rules(self.early_stop_text) in (stop["rules"], stop["rules_after"])
        return str(stop["why"]) if same else ""

    def stopped_setting(self, why: str) -> dict[str, Any]:
        """Return the setting `STOPPED`, which records why these rules stopped the search."""
        return {
            STOPPED: {
                "why": why,
                "max_evals": self.max_evals,
                "rules": self._rules(self.early_stop_text),
                "rules_after": self._rules(self._early_stop_now),
            }
        }

    @property
    def _early_stop_now(self) -> tuple[str, str]:
        return ("", "") if self.early_stop_fn is None else describe_rule(self.early_stop_fn)

    def _rules(self, early_stop: tuple[str, str]) -> str:
        return f"loss_threshold={self.loss_threshold} early_stop_fn={', '.join(early_stop)}"
