"""The spool: ends of trials on this machine's disk, until the store has acknowledged them."""
