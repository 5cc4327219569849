"""Pickles of hyperopt Trials: read from anybody without running anything, and written plainly."""
