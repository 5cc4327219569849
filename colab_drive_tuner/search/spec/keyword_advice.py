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

_P = ParamSpec("_P")
_R = TypeVar("_R")

_OBJECTIVE = ("objective", "model")
_SEED = ("seed", "rseed")
_NAME = ("name",)
_TOTAL = ("max_evals",)
_PROGRESS = ("progress", "verbose")
_PARALLEL = (
    "pass executor=, such as ThreadPoolExecutor(4) or colab_drive_tuner.loky_executor(4); width= "
    "says how many trials run at once"
)
_MINIMIZED = "losses are minimized: return the loss, such as -accuracy, from the objective"
_RESUMED = "a search that exists is always resumed; restart=True begins again"
_BEST = "the result has .best_params (what was chosen) and .best_run (a choice's index)"
_RSTATE = "it is called seed= here, a number: seed=3 for numpy.random.default_rng(3)"

_RENAMED: Mapping[str, tuple[str, ...]] = {
    # hyperopt and hyperas
    "fn": _OBJECTIVE, "model": _OBJECTIVE, "timeout": ("max_time",), "rseed": _SEED,
    "verbose": _PROGRESS, "show_progressbar": _PROGRESS,
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
    # scikit-learn and scikit-optimize
    "n_iter": _TOTAL, "n_calls": _TOTAL, "random_state": _SEED, "dimensions": ("space",),
    "param_distributions": ("space",), "param_grid": ("space",), "estimator": _OBJECTIVE,
    "warm_start": ("from_search",), "x0": ("points_to_evaluate",), "callback": ("early_stop_fn",),
}  # fmt: skip
"""By argument of another package, its names here; the first that the function has applies."""

ADVICE: Mapping[str, str] = {
    "trials": "the search keeps its trials itself: name it by name=, and read them from the "
    "result's .trials; for hyperopt.fmin(trials=...) there is DriveTrials",
    "rstate": _RSTATE,
    "study": "the search is named by name= and kept by store=",
    "load_if_exists": _RESUMED, "resume": _RESUMED,
    "on_change": "a search keeps its space: from_search= begins another search with its trials",
    "functions": "helpers of the notebook or file are visible without it",
    "notebook_name": "no notebook is read: leave it out",
    "keep_temp": "no file is written: leave it out",
    "eval_space": _BEST, "return_argmin": _BEST,
    "return_space": "pass a space= of your own; the result has .best_params",
    "trials_save_file": "every trial is in the store as it ends; export_trials() writes a pickle",
    "max_queue_len": "the algorithm is asked for one trial at a time; hyperopt.fmin with "
    "DriveTrials takes it",
    "pass_expr_memo_ctrl": "set the objective's attribute fmin_pass_expr_memo_ctrl, as hyperopt's "
    "decorator does",
    "allow_trials_fmin": "leave it out",
    "executions_per_trial": "train several times inside the objective and return the mean loss",
    "n_jobs": _PARALLEL, "parallelism": _PARALLEL, "max_concurrent_trials": _PARALLEL,
    "workers": _PARALLEL, "max_workers": _PARALLEL,
    "patience": "pass early_stop_fn=hyperopt.early_stop.no_progress_loss(10), for a patience of 10",
    "direction": _MINIMIZED, "directions": _MINIMIZED, "mode": _MINIMIZED, "metric": _MINIMIZED,
    "maximize": _MINIMIZED,
}  # fmt: skip
"""Advice for arguments that `resume_search` does not have under any name."""

_FMIN = "it is an argument of hyperopt.fmin(..., trials=DriveTrials(name)), or of resume_search()"
_DONE_BY_FMIN = (
    "fn", "space", "algo", "max_evals", "timeout", "loss_threshold", "max_queue_len", "verbose",
    "pass_expr_memo_ctrl", "catch_eval_exceptions", "return_argmin", "show_progressbar",
    "early_stop_fn", "trials_save_file", "points_to_evaluate", "n_trials", "max_trials",
)  # fmt: skip
_RESUME = "resume_search() has it"
TRIALS_ADVICE: Mapping[str, str] = {
    **dict.fromkeys(_DONE_BY_FMIN, _FMIN),
    "rstate": _RSTATE,
    "refresh": "the stored trials are read at once: leave it out",
    "path": "store= says where searches are kept",
    "folder": "store= says where searches are kept",
    "trials": "import_trials() makes a search of a pickle of Trials",
    "from_search": _RESUME,
}
"""Advice for arguments that `DriveTrials` does not have."""

MINIMIZE_ADVICE: Mapping[str, str] = {
    "name": "the search is trials=DriveTrials(name), or trials=session.trials(name)",
    "store": "the search is trials=DriveTrials(name, store=...)",
    "study_name": "the search is trials=DriveTrials(name)",
    "space": "the space is in the model's {{...}} templates; " + _RESUME,
    "timeout": "resume_search() has it, as max_time=",
    "rstate": "it is called rseed= here, a number",
    **dict.fromkeys(
        ("max_time", "points_to_evaluate", "loss_threshold", "early_stop_fn",
         "catch_eval_exceptions", "restart", "from_search", "retry_failed"), _RESUME,
    ),
    **dict.fromkeys(
        ("on_busy", "max_attempts", "keep_models", "seed_training", "free_memory"),
        "DriveTrials(name, ...) has it",
    ),
}  # fmt: skip
"""Advice for arguments that hyperas's `minimize` does not have."""

SETUP_ADVICE: Mapping[str, str] = {
    "name": "a search is named where it runs: resume_search(..., name=...)",
    "store": "set the variable COLAB_DRIVE_TUNER_STORE to keep searches in a local folder, or pass "
    "store= to resume_search()",
    "seed": "resume_search(..., seed=...) has it",
    **dict.fromkeys(
        ("path", "root", "directory", "project", "drive_folder"),
        "folder= is a folder of Drive; for a local one set the variable COLAB_DRIVE_TUNER_STORE",
    ),
    **dict.fromkeys(("notebook_name", "notebook_path"), "it is called notebook= here"),
    **dict.fromkeys(
        ("token", "service_account", "key", "auth", "creds"), "it is called credentials= here"
    ),
}
"""Advice for arguments that `setup` does not have."""


def explain_keywords(
    advice: Mapping[str, str], *, called: str | None = None
) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Decorate a function so that unknown arguments raise a `UsageError` with advice.

    Args:
        advice: What to do instead, by argument.
        called: The name that users call; None: that of the function.
    """

    def decorate(function: Callable[_P, _R]) -> Callable[_P, _R]:
        signature = inspect.signature(function)
        title = called or function.__name__

        @wraps(function)
        def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            try:
                signature.bind(*args, **kwargs)
            except TypeError as error:
                unknown = [name for name in kwargs if name not in signature.parameters]
                problems = [_explain(title, name, signature, advice) for name in unknown]
                raise UsageError("\n".join(problems) or _usage(title, signature, error)) from None
            return function(*args, **kwargs)

        return call

    return decorate


def _explain(title: str, name: str, signature: inspect.Signature, advice: Mapping[str, str]) -> str:
    known = [known for known in signature.parameters if known != "self"]
    what = f"{title}() has no argument {name}=: "
    if name in advice:
        return f"{what}{advice[name]}."
    for ours in _RENAMED.get(name, ()):
        if ours in known:
            return f"{what}it is called {ours}= here."
    if near := get_close_matches(name.lower(), known, n=1):
        return f"{what}did you mean {near[0]}=?"
    return f"{what}it has {', '.join(known)}."


def _usage(title: str, signature: inspect.Signature, error: TypeError) -> str:
    """Explain how to call the function, after too many or too few arguments."""
    parts = [part for key, part in signature.parameters.items() if key != "self"]
    named = [part for part in parts if part.kind is inspect.Parameter.KEYWORD_ONLY]
    required = [part for part in named if part.default is inspect.Parameter.empty]
    call = [part.name for part in parts if part not in named]
    call += [f"{part.name}=..." for part in required or named]
    return (
        f"{title}(): {error}. Call it as {title}({', '.join(call)}); help({title}) lists all "
        "arguments."
    )
