"""Stand-ins for what only exists in Google's runtimes; each says where its shape comes from."""
