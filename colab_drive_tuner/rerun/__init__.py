"""Scheduled reruns: look whether anything is left to do, and if so run the notebook once more."""

from colab_drive_tuner.rerun.local import run_locally
from colab_drive_tuner.rerun.outcome import Outcome, Verdict, look

__all__ = ["Outcome", "Verdict", "look", "run_locally"]
