"""A search's trials as its store keeps them: documents, attachments, models and backups."""
