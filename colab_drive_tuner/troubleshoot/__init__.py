"""What can go wrong around a search, and what older runs left behind: look first, then act."""

from colab_drive_tuner.troubleshoot.clean import Leftover, Removed, describe, find_leftovers, remove

__all__ = ["Leftover", "Removed", "describe", "find_leftovers", "remove"]
