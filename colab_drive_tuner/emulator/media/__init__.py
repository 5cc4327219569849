"""File contents: uploads, downloads and storage on disk."""
