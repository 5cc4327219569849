"""API calls and answers, and the resources of both API versions."""
