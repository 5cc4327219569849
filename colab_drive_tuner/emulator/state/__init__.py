"""State: files, accounts, tokens, access rules and the request log."""
