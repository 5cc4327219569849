"""The version of this package, where every room can read it, and those of other packages."""

import importlib.metadata

__version__ = "0.1.0"


def installed(package: str) -> str:
    """The version of an installed package; empty: it is not, or is used from a checkout."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
