"""Chain of records: their byte format, reading to the end, and creating the next record."""
