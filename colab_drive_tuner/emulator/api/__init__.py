"""API calls and answers, partial responses, and the resources of both API versions."""
