"""Whole searches: listed, removed, renamed, copied, moved; and their histories brought back."""
