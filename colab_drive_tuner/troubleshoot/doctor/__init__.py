"""Doctor: looks at everything that a search rests on, and says what to do."""

from colab_drive_tuner.troubleshoot.doctor.context import Finding, Level
from colab_drive_tuner.troubleshoot.doctor.examination import examine

__all__ = ["Finding", "Level", "examine"]
