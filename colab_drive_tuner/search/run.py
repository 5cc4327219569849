"""One run of a search: claim it, run trials until enough are there, release it in any case."""

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

import numpy as np

from colab_drive_tuner.errors import SearchTakenOverError
from colab_drive_tuner.search.documents import name_all_parameters
from colab_drive_tuner.search.fingerprints import describe_algorithm, describe_space
from colab_drive_tuner.search.loop import Training, TrialDomain, TrialLoop
from colab_drive_tuner.search.points import check_documents, point_document
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
_AGAIN_SECONDS = 0.5


@dataclass(frozen=True)
class RunOptions:
    """What `resume_search` knows beyond hyperopt's own arguments."""

    restart: bool = False
    retry_failed: bool = False
    points: Sequence[dict[str, list[Any]]] = ()
    """Points to evaluate first in a search that has no trials yet, as `check_points` has them."""
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


def run_trials(
    trials: "DriveTrials",
    fn: Callable[..., Any],
    space: Any,
    algo: Callable[..., Any],
    *,
    max_evals: int = sys.maxsize,
    timeout: float | None = None,
    rstate: Any = None,
    pass_expr_memo_ctrl: bool | None = None,
    show_progressbar: Any = True,
    run: RunOptions = RunOptions(),
    **options: Any,
) -> None:
    """Run trials until `max_evals` are there, or another argument of hyperopt's ends the run.

    Whatever ends it, what is pending is flushed and the search is released.
    """
    domain = TrialDomain(fn, space, pass_expr_memo_ctrl=pass_expr_memo_ctrl)
    settings = SearchSettings(
        seed=trials.asked_seed,
        rstate=_initial(rstate) if trials.asked_seed is None else None,
        max_evals=max_evals,
        algo=describe_algorithm(algo),
        space=describe_space(space),
        model=run.model,
        data=run.data,
    )
    if not run.restart:
        settings.warn_of_changes(trials.name, trials.log.settings)
        check_documents(
            trials._dynamic_trials,
            space,
            suggested=lambda tid: trials.log.k_of.get(tid) is not None,
            search=trials.name,
        )
    with _sigterm() as arrived, _closing(trials, max_evals, arrived):
        trials.own(settings, restart=run.restart, retry_failed=run.retry_failed)
        _inherit(trials, run.points)
        name_all_parameters(trials._dynamic_trials, domain.params)
        stored = stored_state(trials.name, trials.log.settings)
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
                free_memory=trials.free_memory,
            ),
            max_evals=max_evals,
            timeout=_time_left(timeout, run.deadline),
            show_progressbar=progress_line(trials)
            if show_progressbar is True
            else show_progressbar,
            **options,
        )
        # A trial that stopped before the deadline is unfinished; the next run goes on with it.
        with _looping(trials), suppress(TrialInterrupted):
            loop.exhaust()


def _inherit(trials: "DriveTrials", points: Sequence[dict[str, list[Any]]]) -> None:
    """A new search begins with its given points; the claim has made ready what was unfinished."""
    if points and not trials._dynamic_trials:
        trials.insert_trial_docs(
            [
                point_document(tid, point)
                for tid, point in zip(trials.new_trial_ids(len(points)), points, strict=True)
            ]
        )
    trials.refresh()


def _stream(stored: bytes, given: np.random.Generator | None, k: int) -> SeedStream:
    """The stream of seeds from its k-th draw; of a new search it is the caller's own generator."""
    if k == 0 and given is not None and freeze_generator(given) == stored:
        return SeedStream(given)
    return SeedStream(thaw_generator(stored), k)


def _initial(rstate: Any) -> np.random.Generator | None:
    """What hyperopt makes of `rstate`; None where it would draw one: then we draw a seed."""
    if rstate is not None:
        return generator_of(rstate)
    seed = os.environ.get("HYPEROPT_FMIN_SEED", "")
    return np.random.default_rng(int(seed)) if seed else None


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
def _closing(trials: "DriveTrials", max_evals: int, arrived: threading.Event) -> Iterator[None]:
    """However the run ends: flush and release; a stop by the user ends in one line."""
    try:
        try:
            yield
        finally:
            arrived.set()
    except KeyboardInterrupt:
        done = trials.log.done(trials._dynamic_trials)
        _close_after(trials, STOP_PATIENCE)
        total = "" if max_evals == sys.maxsize else f" of {max_evals}"
        raise SearchStopped(
            f"Search {trials.name!r} stopped after {done}{total} trials. Run it again to go on."
        ) from None
    except SystemExit:
        _close_after(trials, STOP_PATIENCE)
        raise
    except BaseException:
        _close_after(trials)
        raise
    else:
        trials.close()


def _close_after(trials: "DriveTrials", *timeout: float) -> None:
    """Close after an error, which says more than that the search is lost."""
    with suppress(SearchTakenOverError):
        trials.close(*timeout)


@contextmanager
def _sigterm() -> Iterator[threading.Event]:
    """Within the block SIGTERM ends the process by SystemExit: what is pending is flushed.

    Python drops what a signal raises inside a finalizer or a callback of the garbage collector, so
    the signal comes again until whoever waits for the exception says that it has arrived.
    """
    arrived = threading.Event()
    mine = threading.current_thread() is threading.main_thread()
    if not mine or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield arrived
        return

    def once_more() -> None:
        if not arrived.is_set():
            os.kill(os.getpid(), signal.SIGTERM)

    def leave(number: int, _frame: FrameType | None) -> None:
        if not arrived.is_set():
            again = threading.Timer(_AGAIN_SECONDS, once_more)
            again.daemon = True
            again.start()
            raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, leave)
    try:
        yield arrived
    finally:
        arrived.set()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
