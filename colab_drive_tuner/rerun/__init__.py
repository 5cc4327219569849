"""Scheduled reruns: look whether anything is left to do, and if so run the notebook once more.

`outcome` says how a search stands, `rerunner` runs its notebook once or until it is finished;
`local`, `colab` and `enterprise` are the places where it can run; `cron`, `systemd` and `github`
have it done every so often.
"""

from colab_drive_tuner.rerun.outcome import NotebookRunError, Outcome, Verdict, look
from colab_drive_tuner.rerun.rerunner import Rerunner, rerun_until_finished
from colab_drive_tuner.rerun.runs import Run, read_runs

__all__ = [
    "NotebookRunError",
    "Outcome",
    "Rerunner",
    "Run",
    "Verdict",
    "look",
    "read_runs",
    "rerun_until_finished",
]
