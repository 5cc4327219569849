"""Requests to Drive: address, signature, attempts, and what its refusals mean."""
