"""Advice on unknown keyword arguments, such as those of hyperopt, hyperas, Optuna or KerasTuner.

A call with such a name, or a misspelt one, raises a `UsageError` that says the name used here. The
function's signature, and with it help and completion, stays unchanged.
"""

import inspect
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import wraps
from typing import ParamSpec, TypeVar

from colab_drive_tuner.errors import UsageError
from colab_drive_tuner.tracebacks import is_of_objective, is_of_package, keep_frames_of_user

_P = ParamSpec("_P")
_R = TypeVar("_R")

_OBJECTIVE = ("objective", "model")
_SEED = ("seed", "rseed")
_NAME = ("name",)
_TOTAL = ("max_evals",)
_PROGRESS = ("progress", "verbose")

_RENAMED: Mapping[str, tuple[str, ...]] = {
    # hyperopt and hyperas
    "fn": _OBJECTIVE, "model": _OBJECTIVE, "timeout": ("max_time",), "rseed": _SEED,
    "verbose": _PROGRESS, "show_progressbar": _PROGRESS, "notebook_name": ("notebook",),
    # Optuna
    "func": _OBJECTIVE, "n_trials": _TOTAL, "study_name": _NAME, "storage": ("store",),
    "sampler": ("algo",), "catch": ("catch_eval_exceptions",), "callbacks": ("early_stop_fn",),
    "gc_after_trial": ("free_memory",), "show_progress_bar": _PROGRESS,
    # KerasTuner
    "hypermodel": _OBJECTIVE, "max_trials": _TOTAL, "project_name": _NAME, "directory": ("store",),
    "overwrite": ("restart",), "hyperparameters": ("space",), "tuner": ("algo",),
    "max_retries_per_trial": ("max_attempts",),
    # Ray Tune
    "trainable": _OBJECTIVE, "num_samples": _TOTAL, "param_space": ("space",),
    "config": ("space",), "time_budget_s": ("max_time",), "search_alg": ("algo",),
    "storage_path": ("store",), "local_dir": ("store",), "max_failures": ("max_attempts",),
    "stop": ("early_stop_fn",), "scheduler": ("pruner",),
    # Weights & Biases
    "method": ("algo",), "parameters": ("space",), "count": _TOTAL, "run_cap": _TOTAL,
    "early_terminate": ("pruner",), "project": _NAME,
    # scikit-learn and scikit-optimize
    "n_iter": _TOTAL, "n_calls": _TOTAL, "random_state": _SEED, "dimensions": ("space",),
    "param_distributions": ("space",), "param_grid": ("space",), "estimator": _OBJECTIVE,
    "warm_start": ("from_search",), "x0": ("points_to_evaluate",), "callback": ("early_stop_fn",),
}  # fmt: skip
"""By argument of another package, its names here; the first that the function has applies."""

_PARALLEL = "pass executor=, such as ThreadPoolExecutor(4) or colab_drive_tuner.loky_executor(4)"
_MINIMIZED = "losses are minimized: return the loss, such as -accuracy, from the objective"
_BEST = "the result has .best_params (what was chosen) and .best_run (a choice's index)"
_MADE_OF = {"space": ", and made of hyperopt's expressions, such as hp.choice('x', [1, 2])"}
_ADVICE: Mapping[str, str] = {
    "rstate": "pass a number as its seed: 3 for numpy.random.default_rng(3)",
    "trials": "name the search by name=, and read the result's .trials",
    "eval_space": _BEST, "return_argmin": _BEST,
    "n_jobs": _PARALLEL, "parallelism": _PARALLEL, "max_concurrent_trials": _PARALLEL,
    "workers": _PARALLEL, "max_workers": _PARALLEL,
    "patience": "pass early_stop_fn=hyperopt.early_stop.no_progress_loss(10), for a patience of 10",
    "direction": _MINIMIZED, "directions": _MINIMIZED, "mode": _MINIMIZED, "metric": _MINIMIZED,
    "maximize": _MINIMIZED,
}  # fmt: skip
"""Advice for arguments that no function here has under any name."""


def explain_keywords(
    elsewhere: str, *, called: str | None = None
) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Decorate a function so that unknown arguments raise a `UsageError` with advice.

    `elsewhere` says where further arguments belong; `called` is what users call the function.
    """

    def decorate(function: Callable[_P, _R]) -> Callable[_P, _R]:
        signature = inspect.signature(function)
        title = called or function.__name__

        @wraps(function)
        def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            unknown = [name for name in kwargs if name not in signature.parameters]
            if unknown:
                problems = [_explain(title, name, signature, elsewhere) for name in unknown]
                raise UsageError("\n".join(problems))
            try:
                return function(*args, **kwargs)
            except Exception as error:
                if is_of_package(error) or is_of_objective(error):
                    keep_frames_of_user(error)
                raise

        return call

    return decorate


def _explain(title: str, name: str, signature: inspect.Signature, elsewhere: str) -> str:
    known = [known for known in signature.parameters if known != "self"]
    what = f"{title}() has no argument {name}=: "
    if name in _ADVICE:
        return f"{what}{_ADVICE[name]}."
    for ours in _RENAMED.get(name, ()):
        if ours in known:
            return f"{what}it is called {ours}= here{_MADE_OF.get(ours, '')}."
    if near := get_close_matches(name.lower(), known, n=1):
        return f"{what}did you mean {near[0]}=?"
    return f"{what}it has {', '.join(known)}. {elsewhere}"
