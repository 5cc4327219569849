"""The loop that runs trials: one at a time, or several on an Executor; when it ends."""
