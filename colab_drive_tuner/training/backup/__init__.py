"""Backups of half-finished trials: the Keras callback, what it saves, and how it is stored."""
