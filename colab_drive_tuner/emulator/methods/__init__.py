"""Methods of the Drive API, v3 and v2."""
