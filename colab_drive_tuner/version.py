"""The version of this package, where every room can read it and the build takes it from."""

__version__ = "0.1.0"
