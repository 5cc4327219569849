"""Contents: uploads, downloads, and the bytes on disk."""
