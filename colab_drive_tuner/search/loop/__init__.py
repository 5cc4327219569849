"""The loop that runs trials, one at a time or on an Executor, and the rules that end it."""
