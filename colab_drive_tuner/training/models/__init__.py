"""The models that trials return: taken out of results, kept in the store, loaded safely."""
