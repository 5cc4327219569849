"""File contents: storage on disk, multipart bodies and downloads."""
