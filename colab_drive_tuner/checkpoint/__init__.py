"""Plain data as bytes and back: the codec of records and backups, and pickles of Trials."""
