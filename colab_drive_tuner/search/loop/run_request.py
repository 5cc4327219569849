"""The request for a run of a search, and its rules that end a run before all trials have run.

The loss threshold and the early-stop function end the search as well: the reason is recorded, and
the same call returns at once. A call with another rule, or for more trials, continues the search.
"""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from colab_drive_tuner.checkpoint.codec.codec import encode
from colab_drive_tuner.checkpoint.recorded_settings import EARLY_STOP, STOPPED
from colab_drive_tuner.errors import NotPlainDataError, UsageError
from colab_drive_tuner.search.begin_from import Origin
from colab_drive_tuner.search.executors.adapters import Workers
from colab_drive_tuner.search.spec.fingerprints import describe_rule
from colab_drive_tuner.search.spec.settings import stored_early_stop
from colab_drive_tuner.search.trials.counts import TrialCounts
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


class StoppingRules:
    """Applies the stopping rules of one run.

    `settings` are those of the search at the start of the run, which include the state of its
    early-stop function.
    """

    def __init__(
        self, request: RunRequest, settings: Mapping[str, Any], notify: Callable[[str], None]
    ) -> None:
        self._request, self._notify = request, notify
        self._timeout_at = None if request.timeout is None else time.monotonic() + request.timeout
        self._deadline, self._longest = request.deadline, 0.0
        self._was_stopped = settings.get(STOPPED) is not None
        self._rule, _ = request.early_stop_text  # without its state, which calls may have changed
        state = stored_early_stop(settings)
        known = state if state and state["by"] == self._rule else None
        self._arguments: Any = known["arguments"] if known else []
        self._judged: int | None = known["ended"] if known else None
        """Number of trials that had ended when the early-stop function was last called."""
        self._recordable, self._skipped = True, False

    # -- time

    @property
    def timed_out(self) -> bool:
        """Whether the timeout has passed, or another trial would end after the deadline."""
        over = self._timeout_at is not None and time.monotonic() >= self._timeout_at
        return over or self.deadline_near

    @property
    def deadline_near(self) -> bool:
        """Whether a trial as long as the longest so far would end after the deadline."""
        return self._deadline is not None and time.monotonic() + self._longest >= self._deadline

    def trial_took(self, seconds: float, *, resumable: bool) -> None:
        """Reserve the run time of a trial that cannot be resumed before the deadline.

        A trial with backups is not counted, since it stops by itself at the end of an epoch.
        """
        if not resumable:
            self._longest = max(self._longest, seconds)

    # -- the end of the search

    def judge(self, trials: Any, counts: TrialCounts) -> tuple[str, dict[str, Any]]:
        """Judge after a round; return why the search ends, or "", and the settings to record."""
        why, settings = self._reached(counts), {}
        if self._request.early_stop_fn is not None:
            if self._rule_stops(trials):
                why = f"early_stop_fn {self._request.early_stop_name}"
            settings = self._state(counts)
        return why, settings | (self._request.stopped_setting(why) if why else {})

    def _rule_stops(self, trials: Any) -> bool:
        """Call the early-stop function; a trial without the loss that it reads is not judged."""
        assert self._request.early_stop_fn is not None  # noqa: S101 - for the type checker
        name = self._request.early_stop_name
        try:
            returned = self._request.early_stop_fn(trials, *self._arguments)
        except KeyError as error:
            if error.args != ("loss",):
                raise
            if not self._skipped:  # such as hyperopt's own, which end the run of plain fmin
                self._notify(f"early_stop_fn {name} is not applied after trials without a loss.")
            self._skipped = True
            return False
        try:
            stop, self._arguments = returned
        except (TypeError, ValueError):
            raise UsageError(
                f"early_stop_fn {name} returned {returned!r:.80}: return whether to stop, and a "
                "list of its further arguments at the next call, such as `return False, []`."
            ) from None
        return bool(stop)

    def judge_interrupted_round(
        self, trials: Any, counts: TrialCounts
    ) -> tuple[str, dict[str, Any]]:
        """Judge, before the first round, trials that an earlier session ended without judging."""
        reached = self._reached(counts)
        if self._judged is None and not reached:
            # Shows a later session that this one ended before its first judgement, if it does.
            return "", self._state(counts) if self._request.early_stop_fn is not None else {}
        unjudged = self._judged is not None and self._judged < counts.ended
        if self._was_stopped or not (unjudged or reached):
            return "", {}
        if unjudged:
            return self.judge(trials, counts)
        return reached, self._request.stopped_setting(reached)

    def _reached(self, counts: TrialCounts) -> str:
        best, threshold = counts.best, self._request.loss_threshold
        if threshold is None or best is None or best >= threshold:
            return ""
        return f"loss {best:.6g} < {threshold:.6g}"

    def _state(self, counts: TrialCounts) -> dict[str, Any]:
        """Return the early-stop function's state as a setting; empty if it is not plain data."""
        try:
            arguments = encode(self._arguments, where="the state of early_stop_fn")
        except NotPlainDataError as error:
            if self._recordable:
                self._notify(
                    f"{error} When the search is resumed, early_stop_fn starts from scratch."
                )
            self._recordable = False
            return {}
        return {EARLY_STOP: {"by": self._rule, "arguments": arguments, "ended": counts.ended}}
