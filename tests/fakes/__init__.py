"""Fakes for services that exist only in Google's runtimes; each names the source of its shape."""
