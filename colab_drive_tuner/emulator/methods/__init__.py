"""The methods of the API, v3 and v2."""
