"""Queries: search terms, lists, pages and partial responses."""
