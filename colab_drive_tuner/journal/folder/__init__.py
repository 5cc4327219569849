"""A search's folder: found by name, told apart from moved or doubled ones; its own files."""
