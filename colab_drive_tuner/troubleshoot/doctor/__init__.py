"""Doctor: looks at everything that a search rests on, and says what to do."""

from colab_drive_tuner.troubleshoot.doctor.context import OK, PROBLEM, WARNING, Finding
from colab_drive_tuner.troubleshoot.doctor.examination import examine

__all__ = ["OK", "PROBLEM", "WARNING", "Finding", "examine"]
