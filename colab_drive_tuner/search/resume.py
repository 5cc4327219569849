"""`resume_search`: start a search, or go on with it; the call is the same, today and tomorrow."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colab_drive_tuner.checkpoint.record_items import TrialEnd
from colab_drive_tuner.environment_variables import Variable
from colab_drive_tuner.errors import ObjectiveError, UsageError
from colab_drive_tuner.journal.folder.lookup import check_name
from colab_drive_tuner.search.executors.executor_arguments import find_engine
from colab_drive_tuner.search.results.result import SearchResult
from colab_drive_tuner.search.spec.arguments import (
    check_space,
    find_algorithm,
    parse_duration,
    real_number,
    whole_number,
)
from colab_drive_tuner.search.spec.keras_use import load_keras_for
from colab_drive_tuner.search.spec.keywords import ADVICE, explain_keywords
from colab_drive_tuner.search.spec.objective_validation import (
    check_return_statements,
    check_signature,
    validate_results,
)
from colab_drive_tuner.search.spec.templated_objective import TemplatedObjective
from colab_drive_tuner.store.protocol import Store

if TYPE_CHECKING:
    from colab_drive_tuner.templates import DataArguments
    from colab_drive_tuner.training.pruner import Pruner


@dataclass(frozen=True)
class Task:
    """What is to be searched, in hyperopt's terms."""

    space: Any
    prepare: Callable[[], tuple[Callable[[Any], Any], str | None]]
    """Loads the data; returns the objective and what describes the data."""
    source: str
    """The text of the model or objective function, without comments and layout."""


@explain_keywords(ADVICE)
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
    """Run the search `name` until it has `max_evals` trials, going on from what the store has.

    The same call starts a search, goes on with it in another runtime, and returns at once when it
    is finished.

    Args:
        objective: A model function with `{{...}}` templates, as hyperas has it; or, with `space`,
            any objective that `hyperopt.fmin` takes. It returns a loss, or a dict with `loss` and
            `status`; a Keras model goes under `model`.
        data: The data function of a model with templates, or the data itself. A tuple is the
            model's arguments, a dict gives them by name. The function runs once per process; a
            change of it or of `data_args`, and `restart`, run it again.
        data_args: The arguments of `data`: a tuple, or a dict by name.
        name: The search's name, and that of its folder in the store.
        max_evals: How many trials the search has in the end, those of all runs together.
        space: A hyperopt space, for an objective without templates.
        algo: "tpe", "rand", "anneal", "atpe", or a suggest function as hyperopt has them.
        seed: Decides the suggestions and, with `seed_training`, the training. The one that the
            search was created with holds ever after; None: that one, or for a new search a drawn
            one.
        store: A store, or the path of a folder; None: the one that `COLAB_DRIVE_TUNER_STORE` names,
            else the one that `setup()` opened, else Drive.
        max_time: How long this run may take: "11h30m", seconds, or a timedelta. No trial is started
            after it, and one with a `TrialBackup` stops before it. None: no limit.
        on_busy: What to do where another runtime holds the search: "wait" until it has released it
            or was silent for 90 seconds, "takeover" at once, or "error".
        restart: Whether to begin again under the same name; the old history stays in the store.
        from_search: The name of another search in the same store, whose ended trials this one
            begins with, to widen a space or to change the algorithm: they count towards
            `max_evals`, and the algorithm learns from them. It counts when the search is created;
            later it must be the same, or left out. None: the search begins with nothing.
        retry_failed: Whether to run the trials again that were given up after `max_attempts`.
        max_attempts: A trial during which so many runtimes died is given up: it ends as failed.
        keep_models: How many of the best Keras models that the objective returned are kept.
        seed_training: Whether Python's, NumPy's and Keras's generators are seeded before each
            trial, from `seed` and the trial's number.
        free_memory: Whether Keras gives back, after each trial, what it held.
        points_to_evaluate: Points to try first, a dict by parameter each, a choice by its index.
            Those that the search has tried are not run again.
        progress: Whether to show how far the search is while it runs.
        catch_eval_exceptions: Whether a trial whose objective raises is recorded as an error that
            counts towards `max_evals`. Otherwise the exception ends the run, and the next run
            tries the trial again.
        loss_threshold: The search ends when a loss is below it.
        early_stop_fn: hyperopt's function that ends the search, such as `no_progress_loss(10)`.
        executor: Where trials run: a `concurrent.futures.Executor` (`ThreadPoolExecutor(4)`,
            `loky_executor(4)`, `ray_executor()`, ...) or a `distributed.Client`. None: here, one
            after another.
        width: How many trials run at once; None: as many as the executor says it can.
        trial_timeout: A trial that runs for more than so many seconds ends as failed; the start of
            its worker does not count. None: no limit. Only with `executor`.
        pruner: Ends trials early that report their values by `running_trial().report`. In a Keras
            trial it is a callback of `fit` instead. None: what is reported is recorded only.

    Returns:
        The result, with all trials of all runs. Where `max_time` has ended the run, or a trial was
        interrupted, its `finished` is False, and the same call goes on.

    Raises:
        UsageError: An argument cannot be used; nothing has been written.
        SearchNotFoundError: There is no search of the name `from_search`.
        SeedChangedError: The search was created with another seed.
        SpaceChangedError: The search was created with another space.
        TemplateError: A template cannot be compiled.
        ObjectiveError: The objective or data function does not fit, or returned no loss.
        SearchBusyError: Another runtime holds the search, and `on_busy` is "error".
        SearchTakenOverError: Another runtime took the search over while this one ran.
        ExecutorError: The workers of `executor` died, or none is there; what ended is recorded.

    Example:
        >>> from hyperopt import hp
        >>> result = resume_search(lambda x: (x - 3) ** 2, space=hp.uniform("x", -10, 10),
        ...                        name="parabola", max_evals=20, store="searches")
    """
    began = time.monotonic()
    check_name(name)
    max_evals = whole_number("max_evals", max_evals, least=1)
    loss_threshold = real_number("loss_threshold", loss_threshold)
    if early_stop_fn is not None and not callable(early_stop_fn):
        raise UsageError(f"early_stop_fn must be a function or None, got {early_stop_fn!r}.")
    seconds = _time_left(parse_duration(max_time))
    suggest = find_algorithm(algo)
    workers = find_engine(executor, width, trial_timeout)
    task = _task(objective, data, space, data_args, again=restart)
    from colab_drive_tuner.search.begin_from import origin_of
    from colab_drive_tuner.search.drive_trials import DriveTrials
    from colab_drive_tuner.search.loop.pruning import check_pruner
    from colab_drive_tuner.search.loop.search_spec import SearchSpec
    from colab_drive_tuner.search.run import run_search, untried_points
    from colab_drive_tuner.search.spec.fingerprints import describe_space
    from colab_drive_tuner.search.spec.points import check_points
    from colab_drive_tuner.search.spec.settings import SearchSettings
    from colab_drive_tuner.search.trial_documents import count_ended

    points = check_points(points_to_evaluate, task.space)
    pruner = check_pruner(pruner)
    trials = DriveTrials(
        name,
        store=store,
        # With `restart` the stored seed is not the one that counts.
        seed=None if restart else seed,
        on_busy=on_busy,
        max_attempts=max_attempts,
        keep_models=keep_models,
        seed_training=seed_training,
        free_memory=free_memory,
    )
    history = trials.log.history
    again = retry_failed and any(
        entry.end == TrialEnd.GIVEN_UP for entry in history.trials.values()
    )
    done = history.done
    if restart:
        trials.ask_seed(seed)
    else:
        SearchSettings(seed=seed, space=describe_space(task.space)).check(name, history.settings)
    origin = None
    if from_search is not None:
        origin = origin_of(trials, from_search, task.space, suggest, restart=restart)
    spec = SearchSpec(
        objective,
        task.space,
        suggest,
        max_evals=max_evals,
        show_progress=progress,
        loss_threshold=loss_threshold,
        early_stop_fn=early_stop_fn,
        catch_eval_exceptions=catch_eval_exceptions,
        restart=restart,
        retry_failed=retry_failed,
        points=points,
        origin=origin,
        source=task.source,
        deadline=None if seconds is None else began + seconds,
        workers=workers,
        pruner=pruner,
    )
    stopped = spec.stopped(history.settings)
    new_points = untried_points(trials._dynamic_trials, points)
    if restart or again or (done < max_evals and (new_points or not stopped)):
        function, described = task.prepare()
        keras_wanted = load_keras_for(objective)
        spec = replace(spec, fn=function, data=described, keras_wanted=keras_wanted)
        stopped = run_search(trials, spec)
        done = count_ended(trials._dynamic_trials)
    return SearchResult(trials, done=done, max_evals=max_evals, stopped=stopped, space=task.space)


def _time_left(max_time: float | None) -> float | None:
    """The seconds that a run has: `max_time`, or less where a scheduled run must be over before."""
    until = Variable.DEADLINE.number(float)
    if until is None:
        return max_time
    left = max(1.0, until - time.time())
    return left if max_time is None else min(max_time, left)


def _task(
    objective: Callable[..., Any],
    data: Any,
    space: Any,
    data_args: "DataArguments | None",
    *,
    again: bool,
) -> Task:
    from colab_drive_tuner.search.spec.fingerprints import describe_source

    if not callable(objective):
        raise ObjectiveError(f"The model or objective must be a function, got {objective!r:.60}.")
    check_return_statements(objective)
    if space is None:
        return _templated(objective, data, data_args, again=again)
    if data is not None or data_args is not None:
        raise UsageError(
            f"{'data_args' if data is None else 'data'}= goes with a model function that has "
            "{{...}} templates; an objective with space= takes its data from where it is defined."
        )
    check_space(space)
    raw = getattr(objective, "fmin_pass_expr_memo_ctrl", False)
    if not raw:
        check_signature(objective)

    name = getattr(objective, "__name__", type(objective).__name__)

    def prepare() -> tuple[Callable[[Any], Any], None]:
        return objective if raw else validate_results(objective, name), None

    return Task(space, prepare, describe_source(objective))


def _templated(
    model: Callable[..., Any], data: Any, data_args: "DataArguments | None", *, again: bool
) -> Task:
    from colab_drive_tuner.templates import compile_with_data, load_data

    @cache  # a template may need the data before the search does
    def loaded() -> Any:
        return load_data(data, data_args, again=again)

    compiled = compile_with_data(model, data, loaded)

    def prepare() -> tuple[Callable[[Any], Any], str | None]:
        function = TemplatedObjective(compiled, data, data_args, loaded)
        function.prepare()
        return validate_results(function, compiled.name), function.describe_data()

    return Task(dict(compiled.space), prepare, compiled.fingerprint_source)
