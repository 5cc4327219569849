"""Plain data as bytes and back: every value returns exactly as it was, or is refused."""
