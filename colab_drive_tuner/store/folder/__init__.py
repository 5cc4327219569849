"""A local folder as a store; each search in it is whole in a folder of its own."""

from colab_drive_tuner.store.folder.store import FolderStore

__all__ = ["FolderStore"]
