"""Uploads and downloads that are resumed after interruptions and verified by checksums."""
