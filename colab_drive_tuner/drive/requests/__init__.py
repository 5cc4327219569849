"""Requests to Drive: endpoint, signing, transport, retries and refusals."""
