"""Support for Keras trials: seeds, backups of unfinished trials, best models, memory.

Keras is imported only once a trial uses it, so callers import these modules where they use them.
"""
