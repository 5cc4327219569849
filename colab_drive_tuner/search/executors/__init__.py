"""Trials on workers of any `concurrent.futures.Executor`: payloads, dispatch and failures."""
