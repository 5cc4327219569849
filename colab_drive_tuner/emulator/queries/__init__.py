"""Search queries, listings, and the order and pages of lists."""
