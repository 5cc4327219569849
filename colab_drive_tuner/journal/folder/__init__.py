"""Folder of a search: lookup by name, creation, duplicates, moved folders, ownership of files."""
