"""A local Google Drive over HTTP, for tests: Drive v3 and v2, accounts, persistence, faults.

It behaves as the documentation of Google Drive says, for any client that speaks HTTP to it, and
imports nothing of the rest of this package.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .server import DriveEmulator, serve

__all__ = ["DriveEmulator", "serve"]


def __getattr__(name: str) -> Any:
    # Loaded on use, so that the command line can import this package for its help alone.
    if name in __all__:
        from . import server

        return getattr(server, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
