"""`hyperopt.fmin` over a DriveTrials: hyperopt's arguments, in its order, and what it returns."""

import inspect
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import hyperopt
from hyperopt.base import validate_loss_threshold, validate_timeout
from hyperopt.exceptions import InvalidAnnotatedParameter
from hyperopt.pyll import Apply

from colab_drive_tuner.search.arguments import find_algorithm, whole_number
from colab_drive_tuner.search.run import run_trials

if TYPE_CHECKING:
    from colab_drive_tuner.search.trials import DriveTrials


def minimize(
    trials: "DriveTrials",
    fn: Callable[..., Any],
    space: Any,
    algo: Callable[..., Any] | None = None,
    max_evals: float | None = None,
    timeout: float | None = None,
    loss_threshold: float | None = None,
    max_queue_len: int = 1,
    rstate: Any = None,
    verbose: bool = False,
    pass_expr_memo_ctrl: bool | None = None,
    catch_eval_exceptions: bool = False,
    return_argmin: bool = True,
    show_progressbar: Any = True,
    early_stop_fn: Callable[..., Any] | None = None,
    trials_save_file: str = "",
) -> Any:
    """Run trials until `max_evals` are there in all; return what `hyperopt.fmin` returns."""
    target = _target(max_evals)
    validate_timeout(timeout)
    validate_loss_threshold(loss_threshold)
    if isinstance(space, str) and space == "annotated":
        fn, space = _annotated(fn)
    run_trials(
        trials,
        fn,
        space,
        find_algorithm(algo or hyperopt.tpe.suggest),
        max_evals=target,
        timeout=timeout,
        loss_threshold=loss_threshold,
        max_queue_len=max_queue_len,
        rstate=rstate,
        verbose=verbose,
        pass_expr_memo_ctrl=pass_expr_memo_ctrl,
        catch_eval_exceptions=catch_eval_exceptions,
        show_progressbar=show_progressbar,
        early_stop_fn=early_stop_fn,
        trials_save_file=trials_save_file,
    )
    if not return_argmin:
        return hyperopt.space_eval(space, trials.argmin) if len(trials) > 0 else None
    if not trials.trials:
        raise Exception("There are no evaluation tasks, cannot return argmin of task losses.")
    return trials.argmin


def _target(max_evals: float | None) -> int:
    """How many trials there shall be in all; hyperopt takes 40.0 and infinity, too."""
    if max_evals is None or max_evals == float("inf"):
        return sys.maxsize
    if isinstance(max_evals, float) and max_evals.is_integer():
        max_evals = int(max_evals)
    return whole_number("max_evals", max_evals, least=1)


def _annotated(fn: Callable[..., Any]) -> tuple[Callable[..., Any], dict[str, Any]]:
    """The objective and space of a function whose annotations are the space."""
    space = inspect.getfullargspec(fn).annotations
    for expression in space.values():
        if not isinstance(expression, Apply):
            raise InvalidAnnotatedParameter(
                'With `space="annotated"` every annotation must be an expression of hyperopt.hp.'
            )
    return (lambda point: fn(**point)), space
