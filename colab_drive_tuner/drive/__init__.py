"""Client for Google Drive v3: files, folders and verified transfers, independent of searches."""

from colab_drive_tuner.drive.client import DriveClient
from colab_drive_tuner.drive.file import DriveFile, Quota

__all__ = ["DriveClient", "DriveFile", "Quota"]
