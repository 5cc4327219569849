"""Search queries, listings, paging and partial responses."""
