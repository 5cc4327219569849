"""Doctor, clean and repair: what can go wrong around a search, and what older runs left behind."""
