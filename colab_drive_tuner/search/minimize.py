"""`fmin` over a DriveTrials: hyperopt's own, going on from what the search has."""

import inspect
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any

import hyperopt
import numpy as np
from hyperopt.base import validate_loss_threshold, validate_timeout
from hyperopt.exceptions import InvalidAnnotatedParameter
from hyperopt.fmin import generate_trial
from hyperopt.pyll import Apply

from colab_drive_tuner.search.fingerprints import describe_algorithm, describe_space
from colab_drive_tuner.search.logbook import as_new
from colab_drive_tuner.search.loop import Training, TrialDomain, TrialLoop
from colab_drive_tuner.search.progress import progress_line
from colab_drive_tuner.search.seeds import (
    SeedStream,
    freeze_generator,
    generator_of,
    thaw_generator,
    training_seed_of,
)
from colab_drive_tuner.search.settings import SearchSettings, stored_state
from colab_drive_tuner.training import TrialInterrupted

if TYPE_CHECKING:
    from colab_drive_tuner.search.trials import DriveTrials

STOP_PATIENCE = 10.0
"""How long a stop by the user waits for the store, in seconds."""


@dataclass(frozen=True)
class RunOptions:
    """What `resume_search` knows beyond hyperopt's own arguments."""

    restart: bool = False
    retry_failed: bool = False
    points: Sequence[dict[str, Any]] = ()
    """Points to evaluate before the algorithm is asked, in a search that has no trials yet."""
    model: str | None = None
    data: str | None = None
    """Fingerprints of the model function and the data."""
    keras_wanted: bool = False
    deadline: float | None = None
    """`time.monotonic()` after which no trial is started."""


class SearchStopped(KeyboardInterrupt):
    """The user stopped the search: it is flushed, and the message says how to go on."""

    def _render_traceback_(self) -> list[str]:
        """What IPython shows instead of a traceback."""
        return [str(self)]


def minimize(  # noqa: PLR0917 (hyperopt's signature)
    trials: "DriveTrials",
    fn: Callable[..., Any],
    space: Any,
    algo: Callable[..., Any] | None = None,
    max_evals: int | None = None,
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
    run: RunOptions = RunOptions(),
) -> Any:
    """Run trials until `max_evals` are there; returns what `hyperopt.fmin` returns.

    The arguments are hyperopt's, in its order. Whatever ends the run, what was acknowledged is
    flushed and the search is released.
    """
    algo = algo or hyperopt.tpe.suggest
    max_evals = sys.maxsize if max_evals is None else max_evals
    validate_timeout(timeout)
    validate_loss_threshold(loss_threshold)
    if isinstance(space, str) and space == "annotated":
        fn, space = _annotated(fn)
    domain = TrialDomain(fn, space, pass_expr_memo_ctrl=pass_expr_memo_ctrl)
    settings = SearchSettings(
        seed=trials.asked_seed,
        rstate=_initial(rstate) if trials.asked_seed is None else None,
        max_evals=min(max_evals, 2**63 - 1),
        algo=describe_algorithm(algo),
        space=describe_space(space),
        model=run.model,
        data=run.data,
    )
    progress = progress_line(trials) if show_progressbar is True else show_progressbar
    if not run.restart:
        settings.warn_of_changes(trials.name, trials.log.history.settings)
    with _sigterm(), _closing(trials, max_evals):
        trials.own(settings, restart=run.restart, retry_failed=run.retry_failed)
        _inherit(trials, run.points)
        stored = stored_state(trials.name, trials.log.history)
        loop = TrialLoop(
            algo,
            domain,
            trials,
            _stream(stored, settings.rstate, trials.log.next_k),
            Training(
                seed=training_seed_of(stored),
                seeded=trials.seed_training,
                keras_wanted=run.keras_wanted,
                deadline=run.deadline,
                artifacts=trials.artifacts,
            ),
            max_evals=max_evals,
            timeout=_time_left(timeout, run.deadline),
            loss_threshold=loss_threshold,
            verbose=verbose,
            max_queue_len=max_queue_len,
            show_progressbar=progress,
            early_stop_fn=early_stop_fn,
            trials_save_file=trials_save_file,
            catch_eval_exceptions=catch_eval_exceptions,
        )
        with _looping(trials), suppress(TrialInterrupted):
            loop.exhaust()
    if return_argmin:
        if not trials.trials:
            raise Exception("There are no evaluation tasks, cannot return argmin of task losses.")
        return trials.argmin
    return hyperopt.space_eval(space, trials.argmin) if len(trials) > 0 else None


def _inherit(trials: "DriveTrials", points: Sequence[dict[str, Any]]) -> None:
    """Make ready to run what was left unfinished; a new search begins with its given points."""
    if points and not trials._dynamic_trials:
        trials.insert_trial_docs(
            [
                generate_trial(tid, point)
                for tid, point in zip(trials.new_trial_ids(len(points)), points, strict=True)
            ]
        )
    for document in trials._dynamic_trials:
        if document["tid"] in trials.log.inherited:
            document.update(as_new(document))
    trials.refresh()


def _stream(stored: bytes, given: np.random.Generator | None, k: int) -> SeedStream:
    """The stream of seeds from its k-th draw; of a new search it is the caller's own generator."""
    if k == 0 and given is not None and freeze_generator(given) == stored:
        return SeedStream(given)
    return SeedStream(thaw_generator(stored), k)


def _initial(rstate: Any) -> np.random.Generator | None:
    """What hyperopt makes of `rstate`; None where it would draw a fresh one: then a seed is drawn."""
    if rstate is not None:
        return generator_of(rstate)
    seed = os.environ.get("HYPEROPT_FMIN_SEED", "")
    return np.random.default_rng(int(seed)) if seed else None


def _annotated(fn: Callable[..., Any]) -> tuple[Callable[..., Any], dict[str, Any]]:
    """The objective and space of a function whose annotations are the space."""
    space = inspect.getfullargspec(fn).annotations
    for expression in space.values():
        if not isinstance(expression, Apply):
            raise InvalidAnnotatedParameter(
                'With `space="annotated"` every annotation must be an expression of hyperopt.hp.'
            )
    return (lambda point: fn(**point)), space


def _time_left(timeout: float | None, deadline: float | None) -> float | None:
    if deadline is None:
        return timeout
    left = deadline - time.monotonic()
    return left if timeout is None else min(timeout, left)


@contextmanager
def _looping(trials: "DriveTrials") -> Iterator[None]:
    trials.looping = True
    try:
        yield
    finally:
        trials.looping = False


@contextmanager
def _closing(trials: "DriveTrials", max_evals: int) -> Iterator[None]:
    """However the run ends: flush and release; a stop by the user ends in one line."""
    try:
        yield
    except KeyboardInterrupt:
        done = trials.log.done(trials._dynamic_trials)
        trials.close(STOP_PATIENCE)
        total = "" if max_evals == sys.maxsize else f" of {max_evals}"
        raise SearchStopped(
            f"Search {trials.name!r} stopped after {done}{total} trials. Run it again to go on."
        ) from None
    except SystemExit:
        trials.close(STOP_PATIENCE)
        raise
    except BaseException:
        trials.close()
        raise
    else:
        trials.close()


@contextmanager
def _sigterm() -> Iterator[None]:
    """Within the block SIGTERM ends the process by SystemExit: what is pending is flushed."""
    mine = threading.current_thread() is threading.main_thread()
    if not mine or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def leave(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
