"""The trials of a search, recorded in its store: documents, attachments, models and backups."""
