"""Models that trials return: kept in the store as `.keras` files, and loaded safely."""
