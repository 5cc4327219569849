"""Trial documents as bytes and back: the records' codec, and pickles of Trials, out and in."""
