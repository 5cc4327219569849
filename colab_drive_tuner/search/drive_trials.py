"""`DriveTrials`: the `trials=` argument of `hyperopt.fmin`, recorded in a store."""

import inspect
import sys
from collections.abc import Callable
from typing import Any

import hyperopt
from hyperopt.base import DuplicateLabel, validate_loss_threshold, validate_timeout
from hyperopt.exceptions import InvalidAnnotatedParameter
from hyperopt.pyll import Apply

from colab_drive_tuner.search.executors.adapters import check_workers
from colab_drive_tuner.search.loop.pruning import check_pruner
from colab_drive_tuner.search.loop.run_request import RunRequest
from colab_drive_tuner.search.run import run_search
from colab_drive_tuner.search.spec.arguments import (
    check_early_stop,
    check_save_file,
    check_space,
    find_algorithm,
    real_number,
    whole_number,
)
from colab_drive_tuner.search.spec.keyword_advice import explain_keywords
from colab_drive_tuner.search.spec.objectives import (
    TemplatedObjective,
    check_callable,
    check_signature,
)
from colab_drive_tuner.search.trials.stored_trials import StoredTrials
from colab_drive_tuner.text import visible
from colab_drive_tuner.training.pruner import Pruner
from colab_drive_tuner.training.seeding import reseed_outer_trial


class DriveTrials(StoredTrials):
    """The trials of one search, for `hyperopt.fmin(..., trials=...)`.

    Creating an object only reads. `fmin`, or the first inserted document, claims the search; the
    end of `fmin` releases it. A pickle or copy is a plain `hyperopt.Trials`.

    Args:
        name: Name of the search, and of its folder in the store.
        store: A store, or its path or address. None: the store in `COLAB_DRIVE_TUNER_STORE`, else
            the one that `setup()` opened, else Drive.
        seed: Same as `rstate=numpy.random.default_rng(seed)`. A search keeps the seed it was
            created with; another one raises `SeedChangedError`. None: a random seed.
        on_busy: What to do if another runtime holds the search: "wait" until it is certainly
            dead, "takeover" or "error".
        max_attempts: A trial during which this many runtimes died is given up: it ends as failed.
        keep_models: Number of the best Keras models returned by the objective that are kept.
        seed_training: Whether to seed the global random generators before each trial.
        free_memory: Whether to free the memory of Keras after each trial.
        exp_key: hyperopt's experiment key: only documents with this key are listed.
        notify: Called with each message for the user.

    Example:
        >>> import hyperopt
        >>> from hyperopt import hp
        >>> trials = DriveTrials("parabola", store="searches")
        >>> best = hyperopt.fmin(lambda x: x**2, hp.uniform("x", -1, 1), max_evals=20,
        ...                      trials=trials)
    """

    def __repr__(self) -> str:
        place = f"DriveTrials {self.name!r} in {self.store.url(self.store.root)}"
        loss = self.status().best_loss
        best = "" if loss is None else f", best loss {loss:.6g}"
        return visible(f"{place}: {len(self)} trials{best}")

    @explain_keywords("The others of hyperopt.fmin belong to hyperopt.fmin(..., trials=...).")
    def fmin(
        self,
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
        *,
        executor: Any = None,
        width: int | None = None,
        trial_timeout: float | None = None,
        pruner: Pruner | None = None,
    ) -> Any:
        """Run trials until the search has `max_evals`, resuming from the recorded trials.

        The arguments are those of `hyperopt.fmin`, in its order, and four more by name.

        Args:
            fn: The objective.
            space: hyperopt's space, or "annotated" for the annotations of `fn`.
            algo: A suggest function. None: `hyperopt.tpe.suggest`.
            max_evals: Total number of trials over all runs. None: no limit.
            timeout: Seconds after which this call starts no further trial.
            loss_threshold: The search ends once a loss is below it.
            max_queue_len: Number of trials that the algorithm suggests at a time.
            rstate: A numpy Generator; used only when the search is created without a seed.
            verbose: Whether to show progress at all.
            pass_expr_memo_ctrl: Whether `fn` takes `expr`, `memo` and `ctrl`. None: as declared
                by its attribute `fmin_pass_expr_memo_ctrl`.
            catch_eval_exceptions: Whether a trial that raises counts as ended. Otherwise the
                exception ends the run, and the next run tries the trial again.
            return_argmin: Whether to return the best point as hyperopt samples it. False: as the
                objective receives it.
            show_progressbar: False, True, or a progress callback of hyperopt's kind.
            early_stop_fn: Function that ends the search; see `hyperopt.early_stop`.
            trials_save_file: Path to which the trials are also pickled after each round. Its folder
                must exist.
            executor: Where trials run: a `concurrent.futures.Executor` (`ThreadPoolExecutor(4)`,
                `loky_executor(4)`, `ray_executor()`, ...) or a `distributed.Client`. None: in
                this process, one after another.
            width: Number of trials that run at once, in a pool at most one per worker. None: as
                many as the executor reports.
            trial_timeout: Seconds that a trial may run on its worker before it ends as failed.
                None: no limit. Only with `executor`.
            pruner: Ends trials early that report values with `running_trial().report`; in a
                Keras trial, pass it to `fit` as a callback instead.

        Returns:
            The return value of `hyperopt.fmin`.

        Raises:
            UsageError: An argument cannot be used; nothing has been written.
            ObjectiveError: `fn` cannot be called with a point; nothing has been written.
            SearchBusyError: Another runtime holds the search.
            SpaceChangedError: The search was created with another space.
            ExecutorError: The workers of `executor` died, or it has none.
        """
        validate_timeout(timeout)
        validate_loss_threshold(loss_threshold)
        check_callable(fn)
        written = fn.written if isinstance(fn, TemplatedObjective) else fn
        if isinstance(space, str) and space == "annotated":
            fn, space = _annotated(fn)
        check_space(space, duplicate=DuplicateLabel)
        if pass_expr_memo_ctrl is None:
            pass_expr_memo_ctrl = getattr(fn, "fmin_pass_expr_memo_ctrl", False)
        if not pass_expr_memo_ctrl:
            check_signature(fn)
        check_early_stop(early_stop_fn)
        request = RunRequest(
            fn,
            space,
            find_algorithm(algo or hyperopt.tpe.suggest),
            max_evals=_total(max_evals),
            timeout=real_number("timeout", timeout),
            loss_threshold=real_number("loss_threshold", loss_threshold),
            max_queue_len=whole_number("max_queue_len", max_queue_len, least=1),
            rstate=rstate,
            pass_expr_memo_ctrl=pass_expr_memo_ctrl,
            catch_eval_exceptions=catch_eval_exceptions,
            show_progress=verbose and show_progressbar,
            early_stop_fn=early_stop_fn,
            trials_save_file=check_save_file(trials_save_file),
            written=written,
            workers=check_workers(executor, width, trial_timeout),
            pruner=check_pruner(pruner),
        )
        with reseed_outer_trial():
            run_search(self, request)
        if not return_argmin:
            return hyperopt.space_eval(space, self.argmin) if len(self) > 0 else None
        if not self.trials:
            raise Exception("There are no evaluation tasks, cannot return argmin of task losses.")
        return self.argmin


def _total(max_evals: float | None) -> int:
    """Return the total number of trials; hyperopt also accepts 40.0 and infinity."""
    if max_evals is None or max_evals == float("inf"):
        return sys.maxsize
    if isinstance(max_evals, float) and max_evals.is_integer():
        max_evals = int(max_evals)
    return whole_number("max_evals", max_evals, least=1)


def _annotated(fn: Callable[..., Any]) -> tuple[Callable[..., Any], dict[str, Any]]:
    """Return the objective and space of a function whose annotations are the space."""
    space = inspect.getfullargspec(fn).annotations
    for expression in space.values():
        if not isinstance(expression, Apply):
            raise InvalidAnnotatedParameter(
                'With `space="annotated"` every annotation must be an expression of hyperopt.hp.'
            )
    return (lambda point: fn(**point)), space
