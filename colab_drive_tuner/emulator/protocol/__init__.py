"""Calls and answers, and how each version of the API reads and shows a file."""
