"""Checks of the surroundings and of the searches, each with advice."""
