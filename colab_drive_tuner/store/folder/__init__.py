"""Store in a local folder; each search is a self-contained folder in it."""

from colab_drive_tuner.store.folder.store import FolderStore

__all__ = ["FolderStore"]
