"""The HTTP front: sockets, headers, batches, sign-in and admin endpoints."""
