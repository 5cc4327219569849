"""Google Drive v3, and nothing about tuning: files, folders, and bytes that surely arrive."""

from colab_drive_tuner.drive.client import DriveClient
from colab_drive_tuner.drive.file import DriveFile, Quota

__all__ = ["DriveClient", "DriveFile", "Quota"]
