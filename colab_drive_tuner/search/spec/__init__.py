"""The request for a search: its arguments, objective, space and seeds, and their fingerprints."""
