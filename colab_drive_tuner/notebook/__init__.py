"""Lookup of the running notebook, and its local copy, from which hyperas reads the cells."""
