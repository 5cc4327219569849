"""The outcome of a search: status, result, table of trials, export and import."""
