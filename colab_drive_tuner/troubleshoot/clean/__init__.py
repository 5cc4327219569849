"""List the leftovers of older runs, and move them to the trash on request."""

from colab_drive_tuner.troubleshoot.clean.find import find_leftovers
from colab_drive_tuner.troubleshoot.clean.leftovers import Leftover, describe, remove

__all__ = ["Leftover", "describe", "find_leftovers", "remove"]
