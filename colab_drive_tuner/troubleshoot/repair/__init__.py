"""Repair: rebuild a damaged search from its readable files."""
