"""Charts of a search as inline SVG."""
