"""`resume_search`: start or resume a search; the same call does both."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colab_drive_tuner.checkpoint.record_items import TrialEnd
from colab_drive_tuner.environment_variables import Variable
from colab_drive_tuner.journal.folder.properties import check_name
from colab_drive_tuner.search.begin_from import load_origin
from colab_drive_tuner.search.drive_trials import DriveTrials
from colab_drive_tuner.search.executors.adapters import check_workers
from colab_drive_tuner.search.loop.pruning import check_pruner
from colab_drive_tuner.search.loop.run_request import RunRequest
from colab_drive_tuner.search.results.result import SearchResult
from colab_drive_tuner.search.run import run_search, untried_points
from colab_drive_tuner.search.spec.arguments import (
    check_early_stop,
    find_algorithm,
    parse_duration,
    real_number,
    whole_number,
)
from colab_drive_tuner.search.spec.fingerprints import describe_space
from colab_drive_tuner.search.spec.keyword_advice import explain_keywords
from colab_drive_tuner.search.spec.objectives import TemplatedObjective, make_objective
from colab_drive_tuner.search.spec.points import check_points
from colab_drive_tuner.search.spec.settings import SearchSettings
from colab_drive_tuner.search.trial_documents import count_ended
from colab_drive_tuner.store.protocol import Store
from colab_drive_tuner.training.seeding import reseed_outer_trial

if TYPE_CHECKING:
    from colab_drive_tuner.templates.data_cache import DataArguments
    from colab_drive_tuner.training.pruner import Pruner


@explain_keywords("hyperopt's own belong to hyperopt.fmin(..., trials=DriveTrials(name)).")
def resume_search(
    objective: Callable[..., Any],
    data: Any = None,
    *,
    data_args: "DataArguments | None" = None,
    name: str,
    max_evals: int,
    space: Any = None,
    algo: str | Callable[..., Any] = "tpe",
    seed: int | None = None,
    store: Store | Path | str | None = None,
    max_time: float | str | timedelta | None = None,
    on_busy: str = "wait",
    restart: bool = False,
    from_search: str | None = None,
    retry_failed: bool = False,
    max_attempts: int = 3,
    keep_models: int = 1,
    seed_training: bool = True,
    free_memory: bool = True,
    points_to_evaluate: Sequence[Mapping[str, Any]] | None = None,
    progress: bool = True,
    catch_eval_exceptions: bool = False,
    loss_threshold: float | None = None,
    early_stop_fn: Callable[..., Any] | None = None,
    executor: Any = None,
    width: int | None = None,
    trial_timeout: float | None = None,
    pruner: "Pruner | None" = None,
) -> SearchResult:
    """Run the search `name` until it has `max_evals` trials, resuming from the recorded trials.

    The same call starts a search, resumes it in another runtime, and returns at once when it is
    finished.

    Args:
        objective: A model function with `{{...}}` templates, as in hyperas; or, with `space`, any
            objective that `hyperopt.fmin` accepts. It returns a loss, or a dict with `loss` and
            `status`; a Keras model goes under `model`.
        data: The data function of a model with templates, or the data itself: a tuple of the
            model's arguments, or a dict of them by name. The function runs once per process;
            changing it or `data_args`, and `restart`, run it again.
        data_args: The arguments of `data`: a tuple, or a dict by name.
        name: Name of the search, and of its folder in the store.
        max_evals: Total number of trials over all runs.
        space: A hyperopt space, for an objective without templates.
        algo: "tpe", "rand", "anneal", "atpe", or a suggest function of hyperopt's kind.
        seed: Determines the suggestions and, with `seed_training`, the training. A search keeps
            the seed it was created with. None: that seed, or a random one for a new search.
        store: A store, or the path of a folder. None: the store in `COLAB_DRIVE_TUNER_STORE`, else
            the one that `setup()` opened, else Drive.
        max_time: Time limit of this run: "11h30m", seconds, or a timedelta. No trial starts after
            it, and one with a `TrialBackup` stops before it. None: no limit.
        on_busy: What to do if another runtime holds the search: "wait" until it releases the
            search or is silent for 90 seconds, "takeover" at once, or "error". A live process of
            this machine is an error in any case.
        restart: Whether to begin again under the same name; the old history stays in the store.
        from_search: Name of another search in the same store whose ended trials this one begins
            with, to widen a space or change the algorithm. They count towards `max_evals`, and the
            algorithm learns from them. Used when the search is created; later it must be the same,
            or omitted. None: the search begins without trials.
        retry_failed: Whether to run trials again that were given up after `max_attempts`.
        max_attempts: A trial during which this many runtimes died is given up: it ends as failed.
        keep_models: Number of the best Keras models returned by the objective that are kept.
        seed_training: Whether to seed the generators of Python, NumPy, Keras and PyTorch before
            each trial, from `seed` and the trial's number.
        free_memory: Whether to free the memory of Keras after each trial.
        points_to_evaluate: Points to try first, each a dict by parameter, with a choice given by
            its index. Points that the search has already tried are not run again.
        progress: Whether to show progress while the search runs.
        catch_eval_exceptions: Whether a trial whose objective raises is recorded as an error that
            counts towards `max_evals`. Otherwise the exception ends the run, and the next run
            tries the trial again.
        loss_threshold: The search ends once a loss is below it.
        early_stop_fn: Function that ends the search, such as hyperopt's `no_progress_loss(10)`.
        executor: Where trials run: a `concurrent.futures.Executor` (`ThreadPoolExecutor(4)`,
            `loky_executor(4)`, `ray_executor()`, ...) or a `distributed.Client`. None: in this
            process, one after another.
        width: Number of trials that run at once, in a pool at most one per worker. None: as many
            as the executor reports.
        trial_timeout: Seconds that a trial may run on its worker before it ends as failed. None:
            no limit. Only with `executor`.
        pruner: Ends trials early that report values with `running_trial().report`. In a Keras
            trial, pass it to `fit` as a callback instead. None: reported values are only recorded.

    Returns:
        The result, with the trials of all runs. If `max_time` ended the run, or a trial was
        interrupted, its `finished` is False, and the same call resumes the search.

    Raises:
        UsageError: An argument cannot be used; nothing has been written.
        SearchNotFoundError: There is no search named `from_search`.
        SeedChangedError: The search was created with another seed.
        SpaceChangedError: The search was created with another space.
        TemplateError: A template cannot be compiled.
        ObjectiveError: The objective or data function has a wrong signature, or returned no loss.
        SearchBusyError: Another runtime holds the search, and `on_busy` is "error".
        SearchTakenOverError: Another runtime took the search over while this one ran.
        ExecutorError: The workers of `executor` died, or it has none; ended trials are recorded.

    Example:
        >>> from hyperopt import hp
        >>> result = resume_search(lambda x: (x - 3) ** 2, space=hp.uniform("x", -10, 10),
        ...                        name="parabola", max_evals=20, store="searches")
    """
    deadline = _deadline(parse_duration(max_time))
    check_name(name)
    max_evals = whole_number("max_evals", max_evals, least=1)
    loss_threshold = real_number("loss_threshold", loss_threshold)
    check_early_stop(early_stop_fn)
    suggest = find_algorithm(algo)
    workers = check_workers(executor, width, trial_timeout)
    fn, sampled = make_objective(objective, data, space, data_args, again=restart)
    request = RunRequest(
        fn,
        sampled,
        suggest,
        max_evals=max_evals,
        show_progress=progress,
        loss_threshold=loss_threshold,
        early_stop_fn=early_stop_fn,
        catch_eval_exceptions=catch_eval_exceptions,
        restart=restart,
        retry_failed=retry_failed,
        points=check_points(points_to_evaluate, sampled),
        written=objective,
        deadline=deadline,
        workers=workers,
        pruner=check_pruner(pruner),
    )
    trials = DriveTrials(
        name,
        store=store,
        on_busy=on_busy,
        max_attempts=max_attempts,
        keep_models=keep_models,
        seed_training=seed_training,
        free_memory=free_memory,
    )
    trials.ask_seed(seed)
    history = trials.log.history
    if not restart:
        SearchSettings(seed=seed, space=describe_space(sampled)).check(name, history.settings)
    if from_search is not None:
        origin = load_origin(trials, from_search, sampled, suggest, restart=restart)
        request = replace(request, origin=origin)
    stopped = request.stop_reason(history.settings)
    retry = retry_failed and any(e.end == TrialEnd.GIVEN_UP for e in history.trials.values())
    goes_on = untried_points(trials._dynamic_trials, request.points) or not stopped
    with reseed_outer_trial():
        if restart or retry or (history.done < max_evals and goes_on):
            if isinstance(fn, TemplatedObjective):
                fn.prepare()
            stopped = run_search(trials, request)
    done = count_ended(trials._dynamic_trials)
    return SearchResult(trials, done=done, max_evals=max_evals, stopped=stopped, space=sampled)


def _deadline(max_time: float | None) -> float | None:
    """Return `time.monotonic()` at the end of `max_time`, or at a scheduled deadline before it."""
    until = Variable.DEADLINE.number(float)
    limits = [] if max_time is None else [max_time]
    limits += [] if until is None else [max(1.0, until - time.time())]
    return time.monotonic() + min(limits) if limits else None
