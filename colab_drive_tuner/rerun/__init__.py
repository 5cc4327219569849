"""Scheduled reruns: where a search is unfinished, its notebook is run once more.

`outcome` has the verdict on a search, `rerunner` runs its notebook once or until it is finished,
`lock` keeps two machines from doing so at once, and `runs` is the log. `runners` and `enterprise`
are where it can run; `schedulers` have it done every so often.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from colab_drive_tuner.rerun.outcome import NotebookRunError, Outcome, Verdict, read_verdict
    from colab_drive_tuner.rerun.rerunner import Rerunner, rerun_until_finished
    from colab_drive_tuner.rerun.runs import Run, read_runs

__all__ = [
    "NotebookRunError",
    "Outcome",
    "Rerunner",
    "Run",
    "Verdict",
    "read_runs",
    "read_verdict",
    "rerun_until_finished",
]

_MODULES = {
    "NotebookRunError": "outcome",
    "Outcome": "outcome",
    "Rerunner": "rerunner",
    "Run": "runs",
    "Verdict": "outcome",
    "read_runs": "runs",
    "read_verdict": "outcome",
    "rerun_until_finished": "rerunner",
}


def __getattr__(name: str) -> Any:
    # Loaded on use: whoever imports papermill loads this package, for `drive://`, used or not.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
