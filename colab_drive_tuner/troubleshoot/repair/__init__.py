"""Repair of a search's chain from all that is readable."""
