"""Trials on workers: any `concurrent.futures.Executor`, what travels to it, and how it may end."""
