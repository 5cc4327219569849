"""Doctor: check everything that a search depends on, and advise what to do about problems."""

from colab_drive_tuner.troubleshoot.doctor.context import Finding, Level
from colab_drive_tuner.troubleshoot.doctor.examination import examine

__all__ = ["Finding", "Level", "examine"]
