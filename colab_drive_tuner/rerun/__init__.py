"""Scheduled reruns: where a search is unfinished, its notebook is run once more.

`outcome` has the verdict on a search, `rerunner` runs its notebook once or until it is finished,
`lock` keeps two machines from doing so at once, and `runs` is the log. `runners` and `enterprise`
are where it can run; `schedulers` have it done every so often.
"""

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
