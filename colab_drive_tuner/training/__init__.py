"""The inside of a Keras trial: seeds, backups of half-done trials, best models, memory.

Nothing here imports Keras until a trial has: the modules are named where they are used.
"""
