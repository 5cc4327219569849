"""Leftovers of older runs: found first, and removed once they have been looked at."""

from colab_drive_tuner.troubleshoot.clean.find import find_leftovers
from colab_drive_tuner.troubleshoot.clean.leftovers import Leftover, describe, remove

__all__ = ["Leftover", "describe", "find_leftovers", "remove"]
