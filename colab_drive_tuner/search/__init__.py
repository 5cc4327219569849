"""A search: the loop that runs trials, hyperopt's Trials kept in a store, and what comes out."""
