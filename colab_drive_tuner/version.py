"""Version of this package, importable from every layer, and versions of other packages."""

__version__ = "0.1.0"


def installed_version(package: str) -> str:
    """Return a package's version; empty if it is not installed, or used from a checkout."""
    from importlib.metadata import PackageNotFoundError, version  # slow to import

    try:
        return version(package)
    except PackageNotFoundError:
        return ""
