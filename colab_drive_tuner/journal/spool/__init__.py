"""Spool: items on this machine's disk until the store has acknowledged them."""
