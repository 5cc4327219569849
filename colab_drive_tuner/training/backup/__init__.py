"""Backups of unfinished trials: the Keras callback, the state it saves, and the file format."""
