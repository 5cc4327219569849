"""State of a search: items in records, the history folded from them, codec, pickles of Trials."""
