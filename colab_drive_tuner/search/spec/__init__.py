"""The request for a search: arguments, objective, space, seeds, fingerprints kept of them."""
