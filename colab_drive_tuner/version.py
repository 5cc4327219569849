"""Version of this package, importable from every layer, and versions of other packages."""

import importlib.metadata

__version__ = "0.1.0"


def installed_version(package: str) -> str:
    """Return a package's version; empty if it is not installed, or used from a checkout."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
