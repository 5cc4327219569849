"""Pictures of a search as inline SVG."""
