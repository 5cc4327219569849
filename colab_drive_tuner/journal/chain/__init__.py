"""The chain: its records as bytes, reading them to the end, and creating the next one."""
