"""Searches: the loop that runs trials, hyperopt's Trials recorded in a store, and results."""
